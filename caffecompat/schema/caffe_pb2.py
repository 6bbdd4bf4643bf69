"""The message classes of caffe.proto, in a descriptor pool of their own.

It looks like a module that protoc generated (messages, enum values, `_LAYERPARAMETER`), and is none:
generated code is pinned to the protobuf releases near its compiler, a serialised descriptor is not;
and generated code registers itself in the process-wide pool, where a second caffe.proto is an error.
`caffe_pb2.pyi` beside this file gives the types.
"""

from importlib import resources as _resources

from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor_pool as _descriptor_pool
from google.protobuf import message_factory as _message_factory
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper

_POOL = _descriptor_pool.DescriptorPool()
_SET = _descriptor_pb2.FileDescriptorSet.FromString((_resources.files(__package__) / "caffe.desc").read_bytes())
for _file in _SET.file:
    _POOL.AddSerializedFile(_file.SerializeToString())
DESCRIPTOR = _POOL.FindFileByName("caffe.proto")


def _publish() -> None:
    names = globals()
    for enum in DESCRIPTOR.enum_types_by_name.values():
        names[enum.name] = _enum_type_wrapper.EnumTypeWrapper(enum)
        names["_" + enum.name.upper()] = enum
        names.update({value.name: value.number for value in enum.values})
    for message in DESCRIPTOR.message_types_by_name.values():
        cls = _message_factory.GetMessageClass(message)
        # Pickle finds a class by the module it names.
        cls.__module__ = __name__
        names[message.name] = cls
        names["_" + message.name.upper()] = message
        for enum in message.enum_types:
            names[f"_{message.name}_{enum.name}".upper()] = enum


_publish()
