"""Copying between messages whose fields have the same names."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from google.protobuf.message import Message


def copy_fields(source: Message, target: Message, skip: Container[str] = ()) -> None:
    """Put every field that `source` has, but those named in `skip`, into the field of that name of `target`."""
    for descriptor, value in source.ListFields():
        if descriptor.name not in skip:
            put(target, descriptor.name, value)


def put(target: Message, name: str, value: Any) -> None:
    """Set field `name` to a copy of `value`; a repeated field takes one value more, or all those of another."""
    current = getattr(target, name)
    if not hasattr(current, "MergeFrom"):
        setattr(target, name, value)
    elif isinstance(current, Message):
        current.CopyFrom(value)
    elif hasattr(value, "MergeFrom") and not isinstance(value, Message):
        current.MergeFrom(value)
    else:
        current.append(value)
