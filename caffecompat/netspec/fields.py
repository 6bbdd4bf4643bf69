"""Python values put into messages: which message a layer's parameter belongs in, and how a value becomes a field's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from caffecompat.errors import SchemaError, did_you_mean, quoted
from caffecompat.formats.fields import Field, fields_of
from caffecompat.schema import LAYER_TYPES, LayerType, caffe_pb2, layer_type

_SUFFIX, _MESSAGE_SUFFIX = "_param", "Parameter"


class UnknownFieldError(SchemaError, AttributeError):
    """A parameter that the layer does not have, or a constant that is not known."""


class FieldValueError(SchemaError, TypeError, ValueError):
    """A value that its field cannot hold."""


class _Constants:
    """The enum values of one message type, as attributes."""

    def __init__(self, message: type[Message]) -> None:
        self._values = {value.name: value.number for enum in message.DESCRIPTOR.enum_types for value in enum.values}
        self._name = message.DESCRIPTOR.name

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._values:
            raise UnknownFieldError(f"{self._name} has no constant {quoted(name)}", hint=_way_out(name, self._values))
        return self._values[name]

    def __dir__(self) -> list[str]:
        return list(self._values)


class Parameters:
    """`params.Pooling.MAX` is the constant MAX of PoolingParameter."""

    def __getattr__(self, name: str) -> _Constants:
        if name.startswith("__"):
            raise AttributeError(name)
        message = getattr(caffe_pb2, name + _MESSAGE_SUFFIX, None)
        if message is None:
            known = [other.removesuffix(_MESSAGE_SUFFIX) for other in caffe_pb2.DESCRIPTOR.message_types_by_name]
            raise UnknownFieldError(f"there is no {quoted(name + _MESSAGE_SUFFIX)}", hint=did_you_mean(name, known))
        return _Constants(message)


params = Parameters()


def param_name_dict() -> dict[str, str]:
    """The fields of LayerParameter that hold parameters, by the types of their messages.

    Both without their ends: "LRN" has "lrn", "Data" has "data"; not each type of message belongs to a type of layer.
    """
    return {
        field.message_type.name.removesuffix(_MESSAGE_SUFFIX): field.name.removesuffix(_SUFFIX)
        for field in caffe_pb2.LayerParameter.DESCRIPTOR.fields
        if field.message_type is not None and field.name.endswith(_SUFFIX)
    }


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Set a field of a message to a Python value.

    A dict fills a message, a list adds to a repeated field, a single value is added to a repeated field; an array is
    taken as a list. A message itself may stand for a dict. An empty dict or list sets nothing.

    Raises:
        UnknownFieldError: there is no such field.
        FieldValueError: the field cannot hold the value.
    """
    known = fields_of(proto.DESCRIPTOR)
    if name not in known:
        raise UnknownFieldError(f"{proto.DESCRIPTOR.name} has no field {quoted(name)}", hint=_way_out(name, known))
    if hasattr(val, "tolist"):
        val = val.tolist()
    field, several = known[name], isinstance(val, Sequence) and not isinstance(val, (str, bytes))
    if field.repeated:
        for one in val if several else [val]:
            if field.message is not None:
                _fill(field, field.of(proto).add(), one)
            else:
                _set(field, one, field.of(proto).append)
    elif several:
        raise _misfit(field, val)
    elif field.message is not None:
        _fill(field, field.of(proto), val)
    else:
        _set(field, val, lambda value: setattr(proto, name, value))


def _fill(field: Field, message: Message, value: Any) -> None:
    if isinstance(value, Mapping):
        for name, one in value.items():
            assign_proto(message, name, one)
    elif isinstance(value, type(message)):
        message.CopyFrom(value)
    else:
        raise _misfit(field, value)


def _set(field: Field, value: Any, put: Callable[[Any], None]) -> None:
    try:
        # Newer releases of protobuf refuse a bool in a field of numbers, older ones took it.
        put(int(value) if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _misfit(field, value) from error


def _misfit(field: Field, value: object) -> FieldValueError:
    takes = f"one of {', '.join(field.names)}" if field.names else field.takes
    takes = "a dict" if field.message is not None else takes
    return FieldValueError(f"expected {takes} for {field.name} of {field.owner}, got {quoted(value)}")


def holder(layer: caffe_pb2.LayerParameter, name: str) -> Message:
    """Where a parameter belongs: in the layer itself, or in one of the messages that its type reads.

    What ends in `param` is looked for in the layer first, anything else in the type's own message.
    """
    own, others = _parameters(layer)
    places = [layer, *own, *others] if name.endswith("param") else [*own, layer, *others]
    for place in places:
        if name in fields_of(place.DESCRIPTOR):
            return place
    known = [field for place in (*own, *others, layer) for field in fields_of(place.DESCRIPTOR)]
    hint = did_you_mean(name, known)
    if hint is None and layer.type not in LAYER_TYPES:
        hint = did_you_mean(layer.type, LAYER_TYPES) or "state them in a *_param of the layer"
    if hint is None:
        fields = [field for place in own for field in fields_of(place.DESCRIPTOR)]
        hint = f"its parameters: {', '.join(sorted(fields)) or 'none'}"
    raise UnknownFieldError(f"layers of type {quoted(layer.type)} have no parameter {quoted(name)}", hint=hint)


def _parameters(layer: caffe_pb2.LayerParameter) -> tuple[list[Message], list[Message]]:
    """The message of a layer's type, if it has one, and the further messages that it reads."""
    row = _row(layer.type)
    fields = fields_of(layer.DESCRIPTOR)
    messages = [] if row is None else [fields[name].of(layer) for name in row.params]
    return messages[:1], messages[1:]


def _row(name: str) -> LayerType | None:
    try:
        return layer_type(name)
    except SchemaError:
        return None


def _way_out(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known) or f"it has {', '.join(sorted(known))}"
