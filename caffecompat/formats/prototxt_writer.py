"""Messages written as prototxt, as protobuf prints them, with the fields that the schema does not know."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Sequence

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffecompat.errors import UsageError, quoted
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.fields import fields_of
from caffecompat.formats.parsed import Path, UnknownField

_ESCAPES = {code: f"\\{code:03o}" for code in (*range(32), 127)}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord('"'): '\\"', ord("\\"): "\\\\"}
_BYTE_ESCAPES = _ESCAPES | {code: f"\\{code:03o}" for code in range(128, 256)}


def write_text(message: Message, unknown: Sequence[UnknownField] = ()) -> str:
    """A message as prototxt.

    Args:
        message: the message.
        unknown: fields that the schema does not know, each written at the end of the message at its path.

    Returns:
        The text: fields by number, two spaces for each level, floats as short as they read back equal.

    Raises:
        UsageError: an unknown field's path leads to no message.
    """
    left: dict[Path, list[UnknownField]] = {}
    for field in unknown:
        left.setdefault(field.path, []).append(field)
    lines = list(_lines(message, (), left))
    for path, fields in left.items():
        place = "/".join(map(str, path))
        raise UsageError(f"there is no message {place} in which to write the unknown field {quoted(fields[0].name)}")
    return "".join(f"{line}\n" for line in lines)


def save_text(path: str | os.PathLike[str], message: Message, unknown: Sequence[UnknownField] = ()) -> None:
    """Write a message to a prototxt file, whole or not at all; the arguments are those of `write_text`.

    Raises:
        CaffeCompatError: the file cannot be written.
        UsageError: an unknown field's path leads to no message.
    """
    text = write_text(message, unknown)
    with atomic_write(path) as file:
        file.write(text.encode())


def _lines(message: Message, path: Path, left: dict[Path, list[UnknownField]]) -> Iterator[str]:
    """The lines of a message at `path`; the unknown fields written are taken out of `left`."""
    known = fields_of(message.DESCRIPTOR)
    for field, content in message.ListFields():
        for index, value in enumerate(content if known[field.name].repeated else [content]):
            if isinstance(value, Message):
                yield f"{field.name} {{"
                yield from (f"  {line}" for line in _lines(value, (*path, field.name, index), left))
                yield "}"
            else:
                yield f"{field.name}: {_value(field, value)}"
    for unknown in left.pop(path, ()):
        yield from unknown.text.split("\n")


def _value(field: FieldDescriptor, value: bool | int | float | str | bytes) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(int(value))
        return known.name if known is not None else str(value)
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, bytes):
        return f'"{value.decode("latin-1").translate(_BYTE_ESCAPES)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return next((text for text in _digits(value, 6, 9) if _float32(text) == value), f"{value:.9g}")
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return next((text for text in _digits(value, 15, 17) if float(text) == value), f"{value:.17g}")
    return str(value)


def _digits(value: float, least: int, enough: int) -> Iterator[str]:
    """The number with more and more digits, starting with as many as Google's printer tries first."""
    return (f"{value:.{count}g}" for count in range(least, enough))


def _float32(text: str) -> float:
    """The single-precision number that a text stands for."""
    try:
        value: float = struct.unpack("f", struct.pack("f", float(text)))[0]
    except OverflowError:
        return math.copysign(math.inf, float(text))
    return value
