"""Python source as ruff formats it: literals, and lines of at most 88 characters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

WIDTH = 88
_INDENT = "    "
# ruff gives the entries of a list, a tuple or a dict a line each, the arguments of a call one together if they fit.
_CALLED = re.compile(r"[\w\])]\($")
_LARGEST = float(np.finfo(np.float32).max)
_OPENING, _CLOSING = "([{", ")]}"


class Raw(str):
    """Source text that stands for itself among the arguments of a call."""


def literal(value: object) -> str:
    """A value as source: whatever a text holds, it stays a text.

    Args:
        value: a text, number, truth value or None, or a sequence or mapping of such. A number that float32 holds is
            written by the fewest digits that mean it.
    """
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(key)}: {literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + (",)" if len(value) == 1 else ")")
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(literal, value)) + "]"
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    raise TypeError(f"no literal of a {type(value).__name__}")


def _string(text: str) -> str:
    body = "".join(c if c.isascii() and c.isprintable() and c != "\\" else _escaped(c) for c in text)
    quote = "'" if body.count('"') > body.count("'") else '"'
    return quote + body.replace(quote, "\\" + quote) + quote


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _number(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    single = np.float32(value) if abs(value) <= _LARGEST else None
    text = repr(float(str(single))) if single is not None and float(single) == value else repr(value)
    return text.removesuffix(".0") if "e" not in text else text


def call(function: str, arguments: Sequence[str]) -> str:
    """A call on one line."""
    return f"{function}({', '.join(arguments)})"


def fitted(text: str, depth: int, before: str = "") -> str:
    """A statement on one line if it fits, or the contents of its last bracket on one or each on its own.

    Args:
        text: an expression on one line, or a whole statement.
        depth: how far it is indented, in steps of four.
        before: what stands before the expression on its first line.
    """
    margin = _INDENT * depth
    line = f"{margin}{before}{text}"
    # Of a function the parameters are split, not the type of its result.
    head, arrow, result = text.partition(" -> ") if text.startswith("def ") else (text, "", "")
    parts = _split(head)
    if len(line.rpartition("\n")[2]) <= WIDTH or parts is None:
        return line
    opened, contents, closed = parts[0], parts[1], parts[2] + arrow + result
    inside = f"{margin}{_INDENT}{', '.join(contents)}"
    if _CALLED.search(opened) and len(inside) <= WIDTH:
        return "\n".join([f"{margin}{before}{opened}", inside, f"{margin}{closed}"])
    comma = "," if len(contents) > 1 or not _CALLED.search(opened) else ""
    inner = [fitted(each + comma, depth + 1) for each in contents]
    return "\n".join([f"{margin}{before}{opened}", *inner, f"{margin}{closed}"])


def assigned(targets: Sequence[str], text: str, depth: int) -> str:
    """An assignment; several targets stand one a line where not even the beginning of the expression fits."""
    before = ", ".join(targets)
    parts = _split(text)
    begin = text if parts is None else parts[0]
    whole = f"{_INDENT * depth}{before} = "
    if len(targets) > 1 and len(whole + text) > WIDTH and len(whole + begin) > WIDTH:
        lines = ["(", *(f"{_INDENT * (depth + 1)}{target}," for target in targets), f"{_INDENT * depth})"]
        before = "\n".join(lines)
    return fitted(text, depth, f"{before} = ")


def _split(text: str) -> tuple[str, list[str], str] | None:
    """What stands before the last outermost bracket, its contents, and what stands from its end on."""
    depth, quote, start, begin, end = 0, "", 0, -1, -1
    commas: list[int] = []
    position = 0
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            if depth == 0:
                start, commas = position, []
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth == 0 and position > start + 1:
                begin, end, found = start, position, commas
        elif character == "," and depth == 1:
            commas.append(position)
        position += 1
    if begin < 0:
        return None
    edges = [begin, *found, end]
    contents = [text[a + 1 : b].strip() for a, b in pairwise(edges)]
    return text[: begin + 1], [each for each in contents if each], text[end:]


def constant(name: str, value: object) -> str:
    """`NAME = value` at the top of a file."""
    return fitted(literal(value), 0, f"{name} = ")


def comment_safe(text: str) -> str:
    """A name from a file for a docstring: printable ASCII on one line, without quotes and backslashes."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in "\\\"'" else " " for c in text)
    return " ".join(plain.split())[:60]


def of(record: Any) -> Any:
    """JSON's values as those to write: lists of numbers become tuples."""
    if isinstance(record, dict):
        return {str(key): of(value) for key, value in record.items()}
    if isinstance(record, list):
        return tuple(of(value) for value in record)
    return record
