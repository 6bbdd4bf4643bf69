"""What translated code calls as `__py2__`: operations that Python 2 understood differently, by what they meet."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from typing import Any

# Codecs of Python 2's strings that turn bytes into bytes.
_BYTES_TO_BYTES = ("hex", "base64", "zlib", "bz2", "quopri", "uu")


def div(left: Any, right: Any) -> Any:
    """`left / right`: of whole numbers, and arrays of them, rounded down."""
    if _is_whole(left) and _is_whole(right):
        return left // right
    kind = type(left)
    if hasattr(kind, "__div__") and not hasattr(kind, "__truediv__"):
        return left.__div__(right)
    return left / right


def idiv(left: Any, right: Any) -> Any:
    """What `left /= right` leaves in `left`; an array is changed in place."""
    if _is_whole(left) and _is_whole(right):
        left //= right
        return left
    kind = type(left)
    if hasattr(kind, "__idiv__"):
        return left.__idiv__(right)
    if hasattr(kind, "__div__") and not hasattr(kind, "__truediv__"):
        return left.__div__(right)
    left /= right
    return left


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u", "b")


def keys(mapping: Any) -> Any:
    """`mapping.keys()`, a list."""
    return _listed(mapping.keys())


def values(mapping: Any) -> Any:
    """`mapping.values()`, a list."""
    return _listed(mapping.values())


def items(mapping: Any) -> Any:
    """`mapping.items()`, a list."""
    return _listed(mapping.items())


def _listed(found: Any) -> Any:
    return list(found) if isinstance(found, KeysView | ValuesView | ItemsView) else found


def iterkeys(mapping: Any) -> Any:
    """`mapping.iterkeys()`."""
    return mapping.iterkeys() if hasattr(mapping, "iterkeys") else iter(mapping.keys())


def itervalues(mapping: Any) -> Any:
    """`mapping.itervalues()`."""
    return mapping.itervalues() if hasattr(mapping, "itervalues") else iter(mapping.values())


def iteritems(mapping: Any) -> Any:
    """`mapping.iteritems()`."""
    return mapping.iteritems() if hasattr(mapping, "iteritems") else iter(mapping.items())


def viewkeys(mapping: Any) -> Any:
    """`mapping.viewkeys()`."""
    return mapping.keys()


def viewvalues(mapping: Any) -> Any:
    """`mapping.viewvalues()`."""
    return mapping.values()


def viewitems(mapping: Any) -> Any:
    """`mapping.viewitems()`."""
    return mapping.items()


def sort(sequence: Any, *arguments: Any, **options: Any) -> Any:
    """`sequence.sort(cmp, key, reverse)` of a list; of anything else its own method."""
    if not isinstance(sequence, list):
        return sequence.sort(*arguments, **options)
    names = ("cmp", "key", "reverse")
    sequence.sort(**_sorting(**dict(zip(names, arguments, strict=False)), **options))
    return None


def sorted2(sequence: Any, *arguments: Any, **options: Any) -> list[Any]:
    """`sorted(sequence, cmp, key, reverse)`."""
    names = ("cmp", "key", "reverse")
    return sorted(sequence, **_sorting(**dict(zip(names, arguments, strict=False)), **options))


def _sorting(
    cmp: Callable[[Any, Any], int] | None = None, key: Callable[[Any], Any] | None = None, reverse: Any = False
) -> dict[str, Any]:
    """Python 2's options of sorting as Python 3's."""
    if cmp is None:
        return {"key": key, "reverse": bool(reverse)}
    by = functools.cmp_to_key(cmp)
    return {"key": by if key is None else lambda item: by(key(item)), "reverse": bool(reverse)}


def decode(value: Any, *arguments: Any, **options: Any) -> Any:
    """`value.decode(...)`; text is text already, but for codecs that turn bytes into bytes, such as hex."""
    encoding = next(iter((*arguments, *options.values())), "")
    if encoding in _BYTES_TO_BYTES and isinstance(value, (str, bytes)):
        data = value.encode("latin-1") if isinstance(value, str) else value
        plain: Any = codecs.decode(data, encoding)
        return plain.decode("latin-1")
    return value if isinstance(value, str) else value.decode(*arguments, **options)
