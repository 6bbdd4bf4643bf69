"""What plug-ins add to the schema: rows of the table of layer types, and fields of LayerParameter with messages.

A field of a plug-in is an extension of LayerParameter in protobuf's sense: messages hold it as they hold their own
fields, copy, compare and serialise it, and no message class changes. In prototxts it stands under its plain name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError, SchemaError, did_you_mean, quoted
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    from caffecompat.schema.proto_text import Definitions

GROUP = "caffecompat.layers"
# Numbers of the fields in binary files: from the range that proto/caffe.proto keeps for extensions.
FIRST_NUMBER, LAST_NUMBER = 100_000, (1 << 29) - 1

_LAYER = caffe_pb2.LayerParameter.DESCRIPTOR
_FIELDS: dict[str, FieldDescriptor] = {}
# The module that registered a type.
MODULES: dict[str, str] = {}
# The plug-ins that come with the package: their types, each with the module that registers it when the type is met.
BUILT_IN = {
    "EpisodeData": "caffecompat.layers.matching_data",
    "Matching": "caffecompat.layers.matching",
    "MatchingLoss": "caffecompat.layers.matching",
    "QueryContext": "caffecompat.layers.matching_context",
    "SentenceData": "caffecompat.layers.matching_data",
    "SupportContext": "caffecompat.layers.matching_context",
}
_TOP = caffe_pb2.DESCRIPTOR.package

Defined = dict[str, DescriptorProto | EnumDescriptorProto]


def parameters(layer: caffe_pb2.LayerParameter, field: str) -> Message:
    """The message in a field of LayerParameter, one of the schema's or of a plug-in."""
    extension = _FIELDS.get(field)
    message: Message = getattr(layer, field) if extension is None else layer.Extensions[extension]
    return message


def module_of(type_: str) -> str | None:
    """The module of the plug-in that registered a layer type, or None."""
    return MODULES.get(type_)


def fields_of_plugins(message: Descriptor) -> Iterable[FieldDescriptor]:
    """The fields that plug-ins added to a message type."""
    return _FIELDS.values() if message is _LAYER else ()


def field_exists(field: str) -> bool:
    """Whether LayerParameter has a field of this name, its own or a plug-in's."""
    return field in _LAYER.fields_by_name or field in _FIELDS


def add_field(field: str, definitions: Definitions) -> None:
    """Give LayerParameter a field with a message of its own.

    Args:
        field: its name, such as "gain_param".
        definitions: the message and the messages and enums that it uses. Where they hold a LayerParameter, as
            the whole schema of a fork does, its field of this name tells which message it is; else it is
            the one that no other uses.

    Raises:
        SchemaError: there is such a field, the message cannot be told, or its definition is at fault.
    """
    if field_exists(field):
        raise SchemaError(f"LayerParameter has a field {quoted(field)} already")
    if not field.isidentifier():
        raise SchemaError(f"expected the name of a field, got {quoted(field)}")
    number = FIRST_NUMBER + zlib.crc32(field.encode()) % (LAST_NUMBER - FIRST_NUMBER)
    for other in _FIELDS.values():
        if other.number == number:
            raise SchemaError(f"fields {other.name} and {field} get one number in binary files", hint="rename one")
    package = f"caffecompat_plugins.{field}"
    defined = _by_name(definitions.messages, definitions.enums)
    wanted = _wanted(field, definitions, defined)
    file = FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2", dependency=[caffe_pb2.DESCRIPTOR.name]
    )
    _add_with_uses(wanted, file, package, defined, set())
    file.extension.add(
        name=field,
        number=number,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".{package}.{wanted}",
        extendee=f".{_LAYER.full_name}",
    )
    pool: Any = caffe_pb2.DESCRIPTOR.pool
    try:
        pool.AddSerializedFile(file.SerializeToString())
        extension: FieldDescriptor = pool.FindExtensionByName(f"{package}.{field}")
        # Releases of protobuf before 5 parse the field only when its class is there.
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{wanted}"))
    except (TypeError, ValueError, KeyError) as error:
        raise SchemaError(f"the message of {field} is at fault: {str(error).strip()}") from error
    _FIELDS[field] = extension


def _wanted(field: str, definitions: Definitions, defined: Defined) -> str:
    """The name of the message that the field holds."""
    whole = defined.get(_LAYER.name)
    if isinstance(whole, DescriptorProto):
        names = {one.name: one.type_name.rpartition(".")[2] for one in whole.field}
        if names.get(field, "") not in defined:
            hint = did_you_mean(field, names)
            raise SchemaError(f"the LayerParameter given has no field {quoted(field)} with a message", hint=hint)
        return names[field]
    used = {name for one in definitions.messages for name in _uses(one) if name != one.name}
    free = [one.name for one in definitions.messages if one.name not in used]
    if len(free) != 1:
        raise SchemaError(
            f"expected one message that holds {field}, got {', '.join(free) or 'none'}",
            hint=f"say which: message LayerParameter {{ optional ... {field} = 1; }}",
        )
    return free[0]


def _by_name(messages: Iterable[DescriptorProto], enums: Iterable[EnumDescriptorProto]) -> Defined:
    return {**{one.name: one for one in messages}, **{one.name: one for one in enums}}


def _uses(message: DescriptorProto) -> list[str]:
    """The first parts of the names of types that a message's fields have."""
    names = [field.type_name.lstrip(".").split(".")[0] for field in message.field if field.type_name]
    return names + [name for inner in message.nested_type for name in _uses(inner)]


def _add_with_uses(name: str, file: FileDescriptorProto, package: str, defined: Defined, done: set[str]) -> None:
    """Add a definition, and those it uses, with the names of types resolved."""
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        one = defined[name]
        if isinstance(one, EnumDescriptorProto):
            file.enum_type.add().CopyFrom(one)
        else:
            new = file.message_type.add()
            new.CopyFrom(one)
            waiting += _resolve(new, package, (), defined)


def _resolve(message: DescriptorProto, package: str, outer: tuple[Defined, ...], defined: Defined) -> list[str]:
    """Write out the types of a message's fields; the names of the definitions at the top that it uses."""
    inner = _by_name(message.nested_type, message.enum_type)
    scopes: tuple[Defined, ...] = (*outer, {message.name: message}, inner)
    names = []
    for nested in message.nested_type:
        names += _resolve(nested, package, scopes, defined)
    for field in message.field:
        if not field.type_name:
            continue
        first = field.type_name.lstrip(".").split(".")[0]
        local = any(first in scope for scope in scopes) and not field.type_name.startswith(".")
        if not local and first in defined and not field.type_name.startswith("."):
            names.append(first)
            field.type_name = f".{package}.{field.type_name}"
        elif not local:
            field.type_name = _of_the_schema(field)
    return names


def _of_the_schema(field: FieldDescriptorProto) -> str:
    """The full name of a type of caffe.proto, such as FillerParameter or .caffe.PoolingParameter.PoolMethod."""
    name = field.type_name.lstrip(".").removeprefix(f"{_TOP}.")
    first, *rest = name.split(".")
    found: Any = caffe_pb2.DESCRIPTOR.message_types_by_name.get(first)
    for part in rest:
        found = found and (found.nested_types_by_name.get(part) or found.enum_types_by_name.get(part))
    if found is None and not rest:
        found = caffe_pb2.DESCRIPTOR.enum_types_by_name.get(first)
    if found is None:
        raise SchemaError(f"field {field.name} is of an unknown type {quoted(field.type_name)}")
    return f".{found.full_name}"


def load_entry_point(type_: str) -> bool:
    """Import the module that brings a layer type: one of this package's own, or that which an installed package names.

    The group of entry points is `caffecompat.layers`; an entry point's name is the layer type, its value the module.

    Raises:
        CaffeCompatError: the module cannot be imported.
    """
    if type_ in BUILT_IN:
        import_module(BUILT_IN[type_])
        return True
    import importlib.metadata

    found = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == type_]
    for point in found[:1]:
        package = point.dist.name if point.dist is not None else "?"
        try:
            point.load()
        except CaffeCompatError:
            raise
        except Exception as error:
            raise CaffeCompatError(
                f"layer type {quoted(type_)} is brought by package {package}, which fails: "
                f"{type(error).__name__}: {error}",
                hint=f"its entry point: {point.value}",
            ) from error
    return bool(found)
