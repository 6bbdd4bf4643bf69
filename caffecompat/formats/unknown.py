"""Warnings about what a file says and we pass over: never silent, never a flood."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from caffecompat.errors import CaffeCompatWarning, Position, did_you_mean, quoted
from caffecompat.formats.fields import fields_of
from caffecompat.formats.parsed import UnknownField
from caffecompat.schema import caffe_pb2

MAX_WARNINGS = 20


def warn(message: str, position: Position | None = None) -> None:
    """Emit a `CaffeCompatWarning` that names the place."""
    warnings.warn(f"{position}: {message}" if position else message, CaffeCompatWarning, stacklevel=3)


def warn_unknown(fields: Sequence[UnknownField], root: str) -> None:
    """Report fields that the schema does not know and that are passed over, each once; of very many, the first.

    Args:
        fields: the fields.
        root: the name of the message type that their paths start from.
    """
    for field in fields[:MAX_WARNINGS]:
        hint = hint_of(field, root)
        warn(f"unknown field {quoted(field.name)} is ignored" + (f"\n  {hint}" if hint else ""), field.position)
    if len(fields) > MAX_WARNINGS:
        warn(f"{len(fields) - MAX_WARNINGS} more unknown fields are ignored", fields[MAX_WARNINGS].position)


def hint_of(field: UnknownField, root: str) -> str | None:
    """Which forks define the field, or which known field of the message it stands in resembles it."""
    # The table of forks is read only when there is something to say about them.
    from caffecompat.formats.known_forks import unknown_field_hint

    message = caffe_pb2.DESCRIPTOR.message_types_by_name.get(root)
    for name in field.path[::2]:
        known = fields_of(message).get(str(name)) if message else None
        message = known.message if known else None
    if message is not None and message.file is not caffe_pb2.DESCRIPTOR:
        return did_you_mean(field.name, message.fields_by_name)
    return unknown_field_hint(field.name, message.name) if message else None
