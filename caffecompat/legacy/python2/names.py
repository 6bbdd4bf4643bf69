"""What Python 2 has built in, for the modules that are translated: one table, which is their `__builtins__`."""

from __future__ import annotations

import builtins
import decimal
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, ModuleType
from typing import IO, Any

from caffecompat.legacy.python2 import helpers
from caffecompat.legacy.python2.files import open2
from caffecompat.legacy.python2.translate import HELPER


class _Text(type):
    """The type of names that stand for other types in `isinstance`."""

    stands_for: tuple[type, ...] = (str,)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.stands_for)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.stands_for)


class Unicode(metaclass=_Text):
    """`unicode`: makes a str, and every str is one."""

    def __new__(cls, value: object = "", *decoding: Any, **options: Any) -> str:  # type: ignore[misc]
        """`value` as text; bytes are decoded, as ASCII where no encoding is given."""
        if isinstance(value, bytes):
            return str(value, *(decoding or ("ascii",)), **options)
        return str(value)


class Basestring(metaclass=_Text):
    """`basestring`: every str and every bytes is one."""

    stands_for = (str, bytes)


def _map(function: Callable[..., Any] | None, *sequences: Iterable[Any]) -> list[Any]:
    if len(sequences) == 1:
        return list(sequences[0]) if function is None else [function(item) for item in sequences[0]]
    from itertools import zip_longest

    rows = zip_longest(*sequences)
    return list(rows) if function is None else [function(*row) for row in rows]


def _filter(function: Callable[[Any], Any] | None, sequence: Any) -> Any:
    kept = [item for item in sequence if (item if function is None else function(item))]
    if isinstance(sequence, str):
        return "".join(kept)
    return tuple(kept) if isinstance(sequence, tuple) else kept


def _zip(*sequences: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*sequences, strict=False))


def _range(*bounds: int) -> list[int]:
    return list(range(*bounds))


def _round(number: Any, digits: int = 0) -> Any:
    """Halves go away from zero, and the result is a float."""
    if hasattr(number, "dtype") or not isinstance(number, int | float):
        return round(number, digits)
    if not math.isfinite(number):
        return float(number)
    exact = decimal.Context(prec=1000, rounding=decimal.ROUND_HALF_UP)
    return float(exact.quantize(decimal.Decimal(number), decimal.Decimal(1).scaleb(-digits)))


def _cmp(left: Any, right: Any) -> int:
    return bool(left > right) - bool(left < right)


def _apply(function: Callable[..., Any], arguments: Any = (), options: dict[str, Any] | None = None) -> Any:
    return function(*arguments, **(options or {}))


def _coerce(left: Any, right: Any) -> tuple[Any, Any]:
    kind = type(left + right)
    return kind(left), kind(right)


def _input(prompt: object = "") -> Any:
    frame = sys._getframe(1)
    return eval(builtins.input(prompt), frame.f_globals, frame.f_locals)


def _reload(module: ModuleType) -> ModuleType:
    from caffecompat.legacy.python2.modules import Renamed

    return module if isinstance(module, Renamed) else importlib.reload(module)


def _execfile(path: str | os.PathLike[str], names: dict[str, Any] | None = None, inner: Any = None) -> None:
    from caffecompat.legacy.loading import read_code

    _run_in(sys._getframe(1), read_code(os.fspath(path), python2=True).code, names, inner)


def _exec(source: str | bytes | CodeType | IO[str], names: dict[str, Any] | None = None, inner: Any = None) -> None:
    from caffecompat.legacy.loading import compile_text

    if not isinstance(source, CodeType):
        text = source if isinstance(source, str | bytes) else source.read()
        source = compile_text(text.decode() if isinstance(text, bytes) else text, "<string>", python2=True).code
    _run_in(sys._getframe(1), source, names, inner)


def _run_in(frame: FrameType, code: CodeType, names: dict[str, Any] | None, inner: Any) -> None:
    """Run code with these global and local names; where none are given, with those of the caller."""
    if names is None:
        names, inner = frame.f_globals, frame.f_locals
    # Else Python would take those of Python 3.
    names.setdefault("__builtins__", frame.f_builtins)
    exec(code, names, names if inner is None else inner)


def make_builtins(import2: Callable[..., ModuleType]) -> dict[str, Any]:
    """The table; its `__import__` is `import2`."""
    from functools import reduce

    names = dict(vars(builtins))
    names.update(
        # What there is no more.
        xrange=range,
        unicode=Unicode,
        basestring=Basestring,
        long=int,
        unichr=chr,
        raw_input=builtins.input,
        reduce=reduce,
        cmp=_cmp,
        apply=_apply,
        coerce=_coerce,
        intern=sys.intern,
        buffer=memoryview,
        reload=_reload,
        execfile=_execfile,
        file=open2,
        StandardError=Exception,
        # What gives something else.
        map=_map,
        filter=_filter,
        zip=_zip,
        range=_range,
        round=_round,
        sorted=helpers.sorted2,
        input=_input,
        open=open2,
        exec=_exec,
        __import__=import2,
    )
    names[HELPER] = helpers
    return names
