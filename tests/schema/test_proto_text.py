"""The reader of .proto files: against what protoc makes of the same text, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from caffecompat.errors import SchemaError
from caffecompat.schema import caffe_pb2
from caffecompat.schema.proto_text import read_proto

SCHEMA = Path(__file__).resolve().parents[2] / "proto" / "caffe.proto"


def stripped(message: DescriptorProto) -> DescriptorProto:
    """A message as protoc writes it, reduced to what the reader can know: the last part of types' names."""
    new = DescriptorProto()
    new.CopyFrom(message)
    new.ClearField("extension_range")
    for nested in list(new.nested_type):
        nested.CopyFrom(stripped(nested))
    for field in new.field:
        field.ClearField("json_name")
        if field.type_name:
            field.type_name = field.type_name.rpartition(".")[2]
            field.ClearField("type")
        elif field.default_value and field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
            field.default_value = repr(float(np.float32(field.default_value)))
    return new


def test_our_own_schema_reads_as_protoc_compiles_it():
    compiled = FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(compiled)
    read = read_proto(SCHEMA.read_text(), str(SCHEMA))
    assert len(read.messages) == len(compiled.message_type) > 80
    for ours, theirs in zip(read.messages, compiled.message_type, strict=True):
        assert stripped(ours) == stripped(theirs), ours.name
    assert read.enums == list(compiled.enum_type)


def test_words():
    text = r"""
    // a comment
    syntax = "proto2"; package my.own; import "other.proto"; option java_package = "x";
    message A {
      reserved 5, 7 to 9; extensions 100 to max; option deprecated = true;
      /* two
         lines */
      optional string s = 1 [default = "a\"b" 'c', deprecated = true];
      repeated uint32 n = 0x10 [packed = true];
      optional int64 hex = 3 [default = -0x1F]; optional int32 octal = 4 [default = 017];
      optional float f = 6 [default = -1.5e-3];
      optional .my.own.B.Inner inner = 10;;
      message C { enum E { FIRST = -1; SECOND = 2 [deprecated = true]; } required E e = 1 [default = SECOND]; }
    }
    message B { message Inner {} }
    enum Top { ZERO = 0; }
    """
    (first, second), (enum,) = read_proto(text)
    defaults = {field.name: field.default_value for field in first.field}
    assert defaults == {"s": 'a"bc', "n": "", "hex": "-31", "octal": "15", "f": "-1.5e-3", "inner": ""}
    assert [field.number for field in first.field] == [1, 16, 3, 4, 6, 10]
    assert first.field[1].options.packed
    assert first.field[5].type_name == ".my.own.B.Inner"
    assert first.nested_type[0].enum_type[0] == EnumDescriptorProto(
        name="E", value=[{"name": "FIRST", "number": -1}, {"name": "SECOND", "number": 2}]
    )
    assert second.nested_type[0].name == "Inner"
    assert enum.name == "Top"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("message A {\n  optional int32 a = 1\n}", '3:1: expected ";", got'),
        ("message A {\n  int32 a = 1;\n}", "2:3: expected optional, repeated or required, got 'int32'"),
        ("message A { optional int32 a = 0; }", "1:32: expected a number, got '0'"),
        ("message A { optional int32 a = b; }", "expected a number, got 'b'"),
        ("message A { oneof x { int32 a = 1; } }", "got 'oneof'"),
        ("message A { optional group X = 1 {} }", "got 'group'"),
        ("message A { optional map<int32, int32> m = 1; }", "got 'map'"),
        ("message A { extend B { optional int32 x = 1; } }", "got 'extend'"),
        ("service S {}", "expected a message or an enum, got 'service'"),
        ('syntax = "proto3"; message A {}', "expected proto2"),
        ("message A {", "the text ends where more is expected"),
        ("message", "expected a name, got the end"),
        ("message A { optional", "expected a name, got the end"),
        ("message A } ", 'expected "{", got'),
        ("enum E {}", "enum E has no values"),
        ("message A { optional int32 a = 1 [default = ", "the text ends"),
        ("message A { optional int32 a = 1 [default", 'expected "="'),
        ("message A # no comment", "expected a word, got '#'"),
        ("/* never closed", "expected a word, got '/'"),
        ("message A { optional int32 a = 1; optional int32 b = 1; }", "has a field b or number 1 already"),
        ("message A { optional int32 a = 1; optional int32 a = 2; }", "has a field a or number 2 already"),
        ("message A { option x", "the text ends"),
        ("message A { " * 40, "more than 30 deep"),
    ],
)
def test_refused(text, says):
    with pytest.raises(SchemaError) as error:
        read_proto(text, "my.proto")
    assert says in str(error.value)
    assert str(error.value).startswith("my.proto:")
