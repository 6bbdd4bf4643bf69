"""The values of protobuf's text format: words to numbers, truth values, enum values and strings.

Every function raises ValueError for a word that is no such value; whoever reads the text knows the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Convert = Callable[[str], object]

_OCTAL_INTEGER = re.compile(r"[+-]?0[0-9]+\Z")
_OCTAL_FLOAT = re.compile(r"-?0[0-9]")
_TRUTH = {"true": True, "t": True, "True": True, "false": False, "f": False, "False": False}

_ESCAPE = re.compile(
    rb"\\(?:(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})|u(?P<short>[0-9a-fA-F]{4})"
    rb"|U(?P<long>[0-9a-fA-F]{8})|(?P<letter>.)|\Z)",
    re.DOTALL,
)
_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b"'": b"'",
    b'"': b'"',
}


def integer(word: str) -> int:
    """A whole number: decimal, hexadecimal `0x1f` or octal `017`."""
    try:
        return int(word, 0)
    except ValueError:
        if _OCTAL_INTEGER.match(word):
            return int(word, 8)
        raise


def real(word: str) -> float:
    """A number with or without a fraction and a suffix `f`; `inf` and `nan`. No octal, no hexadecimal."""
    try:
        value = float(word)
    except ValueError:
        value = _suffixed(word)
    if word[0] in "-0" and _OCTAL_FLOAT.match(word):
        raise ValueError("a leading 0 would make it octal")
    return value


def _suffixed(word: str) -> float:
    """`1.0f`, and `inff`, whose own last letter is an f."""
    try:
        return float(word[:-1] if word[-1:] in ("f", "F") else "")
    except ValueError:
        return float(word.rstrip("fF"))


def truth(word: str) -> bool:
    """`true`, `t`, `True` or 1; `false`, `f`, `False` or 0."""
    value = _TRUTH.get(word)
    if value is None:
        number = integer(word)
        if number not in (0, 1):
            raise ValueError("neither 0 nor 1")
        value = number == 1
    return value


def enum_value(numbers: Mapping[str, int]) -> Convert:
    """A function from a name or number of an enum to its number.

    Args:
        numbers: the number of each name.
    """
    known = frozenset(numbers.values())

    def convert(word: str) -> int:
        value = numbers.get(word)
        if value is None:
            value = int(word, 0)
            if value not in known:
                raise ValueError("no name has this number")
        return value

    return convert


def plain_string(word: str) -> str:
    """A quoted word without escapes."""
    quote = word[:1]
    if quote in ("'", '"') and word[-1] == quote and "\\" not in word and len(word) > 1:
        return word[1:-1]
    raise ValueError("not a plain string")


def string_bytes(word: str) -> bytes:
    r"""The bytes that a quoted word stands for.

    Escapes are those of C, and `\u0041`, `\U00000041`. An escape that is none keeps its backslash, so that
    `"D:\data"` means what its writer meant, as in protobuf's Python reader.
    """
    quote = word[:1]
    if quote not in ("'", '"'):
        raise ValueError("not in quotes")
    if len(word) < 2 or word[-1] != quote:
        raise ValueError("the quote at its end is missing")
    inner = word[1:-1].encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_unescaped, inner) if b"\\" in inner else inner


def _unescaped(match: re.Match[bytes]) -> bytes:
    kind, escape = match.lastgroup, match.group()
    if kind == "letter":
        if escape in (b"\\x", b"\\u", b"\\U", b"\\N"):
            raise ValueError(f"the escape {escape.decode()} lacks its digits")
        return _LETTERS.get(escape[1:], escape)
    if kind is None:
        raise ValueError("the quote at its end is missing")
    if kind in ("short", "long"):
        return chr(int(escape[2:], 16)).encode()
    value = int(escape[1:], 8) if kind == "octal" else int(escape[2:], 16)
    if value > 255:
        raise ValueError(f"the escape {escape.decode()} is more than a byte")
    return bytes([value])
