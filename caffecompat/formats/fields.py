"""What the reader and the writer of prototxt need to know of a message type's fields, gathered once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from caffecompat.formats import scalars
from caffecompat.schema.plugins import fields_of_plugins

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_SINT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_SINT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_FIXED32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.TYPE_FIXED64: (0, (1 << 64) - 1),
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message type.

    Attributes:
        name: its name.
        owner: the name of the message type.
        repeated: it may stand many times.
        takes: what its value is, in words.
        convert: the value of a word, or None for messages and strings.
        plain: the same for the common words of numbers and strings; it raises ValueError for others.
        quoted: str for a string field, bytes for a bytes field, else None.
        message: the type of its message, or None.
        names: the names of its enum, or ().
        extension: the descriptor by which a message holds it, if a plug-in added it.
    """

    name: str
    owner: str
    repeated: bool
    takes: str
    convert: scalars.Convert | None = None
    plain: scalars.Convert | None = None
    quoted: type | None = None
    message: Descriptor | None = None
    names: tuple[str, ...] = ()
    extension: FieldDescriptor | None = None

    def of(self, message: Any) -> Any:
        """The value of the field in a message."""
        return getattr(message, self.name) if self.extension is None else message.Extensions[self.extension]


# Stands for every field that the schema does not know.
UNKNOWN = Field("", "", True, "a value")


def fields_of(descriptor: Any) -> dict[str, Field]:
    """The fields of the message type of a descriptor by name, those of plug-ins included."""
    return _known(descriptor, tuple(fields_of_plugins(descriptor)))


@cache
def _known(descriptor: Descriptor, added: tuple[FieldDescriptor, ...]) -> dict[str, Field]:
    known = {field.name: _field(field, descriptor.name, _repeated(field)) for field in descriptor.fields}
    known |= {field.name: replace(_field(field, descriptor.name, False), extension=field) for field in added}
    return known


def _repeated(field: FieldDescriptor) -> bool:
    # Old releases of protobuf have `label` only, new ones warn of it.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)  # type: ignore[attr-defined]


def _field(field: FieldDescriptor, owner: str, repeated: bool) -> Field:
    if field.message_type is not None:
        return Field(field.name, owner, repeated, "a message { ... }", message=field.message_type)
    if field.enum_type is not None:
        numbers = {value.name: value.number for value in field.enum_type.values}
        return Field(
            field.name,
            owner,
            repeated,
            "one of its names",
            scalars.enum_value(numbers),
            scalars.enum_value(numbers),
            names=tuple(numbers),
        )
    if field.type == FieldDescriptor.TYPE_BOOL:
        return Field(field.name, owner, repeated, "true or false", scalars.truth, scalars.truth)
    if field.type == FieldDescriptor.TYPE_STRING:
        return Field(field.name, owner, repeated, "a string in quotes", plain=scalars.plain_string, quoted=str)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return Field(field.name, owner, repeated, "a string in quotes", quoted=bytes)
    if field.type in _INTEGERS:
        low, high = _INTEGERS[field.type]
        return Field(
            field.name, owner, repeated, f"a whole number from {low} to {high}", scalars.integer, scalars.integer
        )
    return Field(field.name, owner, repeated, "a number", scalars.real, scalars.real)
