"""The parameters of a plug-in's layer stated as a dataclass, as descriptors."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
)
from google.protobuf.message import Message

from caffecompat.errors import SchemaError, quoted
from caffecompat.schema.proto_text import LABELS, SCALARS, Definitions

# Python's own sizes: a float is a double, an int has 64 bits.
_TYPES = {float: SCALARS["double"], int: SCALARS["int64"], bool: SCALARS["bool"], str: SCALARS["string"]}
_TYPES[bytes] = SCALARS["bytes"]


def read_dataclass(cls: type) -> Definitions:
    """A dataclass as a message, with the dataclasses and enums that it uses.

    `float`, `int`, `bool`, `str`, `bytes`, enums of whole numbers, dataclasses and messages of the schema become
    optional fields with their defaults; `X | None` is a field without a default; `list[X]` is repeated. Fields are
    numbered in their order.

    Raises:
        SchemaError: a field of another type, or a default that a message cannot have.
    """
    found: dict[str, DescriptorProto | EnumDescriptorProto] = {}
    _message(cls, found)
    messages = [one for one in found.values() if isinstance(one, DescriptorProto)]
    return Definitions(messages, [one for one in found.values() if isinstance(one, EnumDescriptorProto)])


def _message(cls: type, found: dict[str, DescriptorProto | EnumDescriptorProto]) -> None:
    if cls.__name__ in found:
        return
    message = found[cls.__name__] = DescriptorProto(name=cls.__name__)
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise SchemaError(f"dataclass {cls.__name__}: {error}", hint="its types must be names of its module") from error
    for number, field in enumerate(dataclasses.fields(cls), start=1):
        new = message.field.add(name=field.name, number=number)
        try:
            _fill(new, hints[field.name], found)
            _put_default(new, field)
        except TypeError as error:
            raise SchemaError(
                f"field {field.name} of dataclass {cls.__name__}: {error}",
                hint="float, int, bool, str, bytes, enums, dataclasses, messages; X | None; list[X]",
            ) from None


def _fill(new: FieldDescriptorProto, hint: Any, found: dict[str, DescriptorProto | EnumDescriptorProto]) -> None:
    """The label and type of a field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    new.label = LABELS["optional"]
    if origin in (list, tuple) and arguments and arguments[1:] in ((), (Ellipsis,)):
        new.label, hint = LABELS["repeated"], arguments[0]
    elif origin in (typing.Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        (hint,) = (one for one in arguments if one is not type(None))
    if hint in _TYPES:
        new.type = _TYPES[hint]
    elif not isinstance(hint, type):
        raise TypeError(f"no field can be of type {quoted(hint)}")
    elif dataclasses.is_dataclass(hint):
        new.type_name = hint.__name__
        _message(hint, found)
    elif issubclass(hint, Message):
        new.type_name = f".{hint.DESCRIPTOR.full_name}"
    elif issubclass(hint, enum.IntEnum):
        new.type_name = hint.__name__
        values = [EnumValueDescriptorProto(name=value.name, number=value.value) for value in hint]
        found[hint.__name__] = EnumDescriptorProto(name=hint.__name__, value=values)
    else:
        raise TypeError(f"no field can be of type {hint.__name__}")


def _put_default(new: FieldDescriptorProto, field: dataclasses.Field[Any]) -> None:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        made: Any = type(value)
        if dataclasses.is_dataclass(value) and value == made():
            return
    if value in (dataclasses.MISSING, None) or (new.label == LABELS["repeated"] and not value):
        return
    if new.label == LABELS["repeated"] or not isinstance(value, (bool, int, float, str, bytes)):
        raise TypeError(f"a message cannot have {quoted(value)} as a default")
    if isinstance(value, enum.Enum):
        new.default_value = value.name
    elif isinstance(value, bool):
        new.default_value = "true" if value else "false"
    elif isinstance(value, bytes):
        new.default_value = "".join(f"\\{byte:03o}" for byte in value)
    elif isinstance(value, float):
        new.default_value = "nan" if math.isnan(value) else repr(value)
    else:
        new.default_value = str(value)
