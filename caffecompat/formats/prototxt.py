"""Prototxt, protobuf's text format, read into messages of the schema, with the places of all fields.

It accepts what protobuf's own reader accepts and binds it to an equal message. Beyond that it keeps the
fields that the schema does not know, and a byte order mark, comments in any encoding and `- 1` are no fault.
"""

from __future__ import annotations

import os
from typing import Any

from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.parsed import M, Parsed
from caffecompat.formats.prototxt_errors import not_prototxt
from caffecompat.formats.prototxt_reader import Reader
from caffecompat.formats.text_file import read_bytes
from caffecompat.formats.tokens import MAX_BYTES, Tokens, decode
from caffecompat.schema import LAYER_TYPES
from caffecompat.schema.plugins import load_entry_point


def parse_text(text: str | bytes, message_type: type[M], file: str | None = None) -> Parsed[M]:
    """Read prototxt from memory.

    Args:
        text: the prototxt; bytes are UTF-8.
        message_type: the type of the whole, such as `caffe_pb2.NetParameter`.
        file: the path that errors are to name.

    Raises:
        FormatError: it is not prototxt.
        SchemaError: a value that its field cannot hold, or a field that may stand once stands twice.
    """
    source = decode(text, file)
    try:
        parsed = _read(source, message_type, file)
    except CaffeCompatError as error:
        raise not_prototxt(source, file) or error from None
    brought = [name for name in sorted(_unknown_types(parsed)) if load_entry_point(name)]
    if brought:
        return _read(source, message_type, file)
    return parsed


def _read(source: str, message_type: type[M], file: str | None) -> Parsed[M]:
    message = message_type()
    reader = Reader(Tokens(source, file), message)
    root = reader.read()
    return Parsed(message, root, tuple(reader.unknown), file)


def _unknown_types(parsed: Parsed[M]) -> set[str]:
    """The layer types that the schema does not know and whose layers have fields that it does not know."""
    types = set()
    for field in parsed.unknown:
        if field.path[-2:-1] == ("layer",):
            message: Any = parsed.message
            for name, index in zip(field.path[::2], field.path[1::2], strict=True):
                value = getattr(message, str(name))
                message = value if isinstance(value, Message) else value[index]
            types.add(getattr(message, "type", ""))
    return types - set(LAYER_TYPES)


def read_text(path: str | os.PathLike[str], message_type: type[M]) -> Parsed[M]:
    """Read a prototxt file.

    Args:
        path: the file.
        message_type: the type of the whole, such as `caffe_pb2.NetParameter`.

    Raises:
        FormatError: the file cannot be read, or is not prototxt.
        SchemaError: a value that its field cannot hold, or a field that may stand once stands twice.
    """
    return parse_text(read_bytes(path, MAX_BYTES), message_type, os.fspath(path))
