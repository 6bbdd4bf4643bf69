from __future__ import annotations

from pathlib import Path

import google.protobuf
import pytest
from google.protobuf import text_format

from caffecompat.errors import FormatError, Position, SchemaError
from caffecompat.formats import parse_text, read_text
from caffecompat.formats.parsed import Node, UnknownField
from caffecompat.schema import caffe_pb2
from tests.support import shared_file

Net = caffe_pb2.NetParameter
# Earlier releases of protobuf take 01 for a float, know no \u and cut \777.
STRICT = int(google.protobuf.__version__.split(".")[0]) >= 7


def prototxts() -> list[Path]:
    """Every prototxt that is not known to be malformed."""
    found = [path for folder in ("prototxt", "models") for path in shared_file(folder).rglob("*.prototxt")]
    return sorted(path for path in found if path.name != "VGG_19_layers_train_val.prototxt")


def kind_of(path: Path) -> type[caffe_pb2.NetParameter] | type[caffe_pb2.SolverParameter]:
    return caffe_pb2.SolverParameter if "solver" in path.name else caffe_pb2.NetParameter


def test_every_real_prototxt_binds_as_protobuf_does() -> None:
    paths = prototxts()
    assert len(paths) >= 70
    for path in paths:
        parsed = read_text(path, kind_of(path))
        expected = text_format.Parse(path.read_bytes(), kind_of(path)(), allow_unknown_field=True)
        assert parsed.message == expected, path
        assert parsed.file == str(path)


def test_only_one_real_prototxt_has_a_field_that_we_do_not_know() -> None:
    unknown = {path.name: read_text(path, kind_of(path)).unknown for path in prototxts()}
    assert {name: [field.text for field in fields] for name, fields in unknown.items() if fields} == {
        "lenet_v1_version1_interim_20140323.prototxt": ["version: 1"]
    }


def test_the_malformed_one_is_refused_at_line_1() -> None:
    path = shared_file("prototxt/vgg/VGG_19_layers_train_val.prototxt")
    with pytest.raises(FormatError) as info:
        read_text(path, Net)
    assert info.value.message == 'expected ":" or "{" after VGG_ILSVRC_19_layers_train_val, got \'.\''
    assert (info.value.file, info.value.line, info.value.column) == (str(path), 1, 31)


SPELLINGS = {
    'name: "a" layer { name: "b" top: "c" top: "d" }': "the usual",
    "name: 'a' layer < name: 'b' top: 'c' top: 'd' >": "single quotes and pointed brackets",
    'name: "a", layer: { name: "b"; top: "c"; top: "d"; };': "separators and a colon before the message",
    'name: "a" layer [ { name: "b" top: ["c", "d"] } ]': "lists",
    'name: "a" layer: [ < name: "b" top: ["c"] top: [] top: ["d"] > ]': "lists in pieces",
    '#x\nname#y\n:# "z"\n"a"\nlayer#{\n{name:"b"top:"c"top:"d"}#': "comments everywhere",
    'name:"\\x61"layer{name:""\'b\'""top:"\\143"top:"\\u0064"}': "escapes and strings in pieces",
    '\ufeffname: "a"\r\nlayer {\r\n  name: "b"\r\n  top: "c"\r\n  top: "d"\r\n}\r\n': "byte order mark and CRLF",
    'name\xa0:\x0b"a"\u2028layer\x85{ name: "b"\ttop: "c"\ftop: "d" }': "all that Unicode calls white space",
}


@pytest.mark.parametrize("text", SPELLINGS, ids=SPELLINGS.values())
def test_spellings(text: str) -> None:
    expected = Net(name="a", layer=[caffe_pb2.LayerParameter(name="b", top=["c", "d"])])
    assert parse_text(text, Net).message == expected
    assert parse_text(text.encode(), Net).message == expected


def test_an_empty_message_is_there() -> None:
    message = parse_text("layer { relu_param {} } state {}", Net).message
    assert message.layer[0].HasField("relu_param")
    assert message.HasField("state")


def test_a_message_may_lack_required_fields() -> None:
    message = parse_text("layer { clip_param { min: 1 } }", Net).message
    assert message.layer[0].clip_param.min == 1


@pytest.mark.parametrize(
    ("word", "value"), [("- 5", -5), ("-0x10", -16), ("017", 15), ("0x1F", 31), ("+7", 7), ("-2147483648", -(1 << 31))]
)
def test_whole_numbers(word: str, value: int) -> None:
    assert parse_text(f"input_dim: {word}", Net).message.input_dim == [value]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1.5f", 1.5),
        ("2.F", 2.0),
        (".5", 0.5),
        ("1e-3", 1e-3),
        ("- .5", -0.5),
        ("-inf", float("-inf")),
        ("inff", float("inf")),
        ("INFINITY", float("inf")),
        ("1e400", float("inf")),
    ],
)
def test_numbers(word: str, value: float) -> None:
    message = parse_text(f"double_data: {word}", caffe_pb2.BlobProto).message
    assert message.double_data == [value]


def test_not_a_number() -> None:
    assert str(parse_text("double_data: nan", caffe_pb2.BlobProto).message.double_data[0]) == "nan"


@pytest.mark.parametrize("word", ["true", "t", "True", "1", "0x1"])
def test_true(word: str) -> None:
    assert parse_text(f"force_backward: {word}", Net).message.force_backward is True


@pytest.mark.parametrize("word", ["false", "f", "False", "0"])
def test_false(word: str) -> None:
    message = parse_text(f"force_backward: {word}", Net).message
    assert message.HasField("force_backward")
    assert message.force_backward is False


@pytest.mark.parametrize("word", ["TEST", "1", "0x1"])
def test_enum_values(word: str) -> None:
    assert parse_text(f"state {{ phase: {word} }}", Net).message.state.phase == caffe_pb2.TEST


@pytest.mark.parametrize(
    ("inside", "value"),
    [
        (r"\a\b\f\n\r\t\v\\\'\"", b"\a\b\f\n\r\t\v\\'\""),
        (r"\0\18\377", b"\0\x018\xff"),
        (r"\xf\xff\x0Ag", b"\x0f\xff\ng"),
        (r"\u00e9\U0001F600", "é\U0001f600".encode()),
        ("é\0", "é\0".encode()),
    ],
)
def test_escapes(inside: str, value: bytes) -> None:
    message = parse_text(f'data: "{inside}"', caffe_pb2.Datum).message
    assert message.data == value
    assert not STRICT or message == text_format.Parse(f'data: "{inside}"', caffe_pb2.Datum())


def test_an_unknown_escape_keeps_its_backslash() -> None:
    # A path of Windows: protobuf's Python reader does the same, with a warning.
    assert parse_text(r'name: "D:\data\Models"', Net).message.name == r"D:\data\Models"


def test_bytes_that_are_not_utf8() -> None:
    text = 'name: "a" # caf\xe9\n'.encode("latin-1")
    assert parse_text(text, Net).message.name == "a"
    assert parse_text(b'data: "\xe9"', caffe_pb2.Datum).message.data == b"\xe9"
    with pytest.raises(SchemaError, match="name of NetParameter: a string that is not UTF-8") as info:
        parse_text(b'\nname: "\xe9"', Net)
    assert (info.value.line, info.value.column) == (2, 7)
    assert info.value.hint == "save the file as UTF-8"


NET = """\
name: "n"
layer {
  top: "a"  top: "b"
\tinput_param { shape { dim: [1,
      2] dim: 3 } }
}
layer { # second
  name: "é" loss_weight: 1
}
input_shape: [ { dim: 1 }, <> ]
"""


def test_places() -> None:
    root = parse_text(NET, Net).root
    first = Node(
        2, 1, {
            "top": [Node(3, 3), Node(3, 13)],
            "input_param": [Node(4, 2, {"shape": [Node(4, 16, {"dim": [Node(4, 30), Node(5, 7), Node(5, 10)]})]})],
        },
    )  # fmt: skip
    second = Node(7, 1, {"name": [Node(8, 3)], "loss_weight": [Node(8, 13)]})
    shapes = [Node(10, 16, {"dim": [Node(10, 18)]}), Node(10, 28)]
    assert root == Node(1, 1, {"name": [Node(1, 1)], "layer": [first, second], "input_shape": shapes})


def test_position_of_a_path() -> None:
    parsed = parse_text(NET, Net, "net.prototxt")
    assert parsed.position("layer", 1, "loss_weight", 0) == Position("net.prototxt", 8, 13)
    assert parsed.position("layer", 1, "convolution_param", 0) == Position("net.prototxt", 7, 1)


def test_places_start_after_the_byte_order_mark() -> None:
    assert parse_text('\ufeffname: "a"', Net).position("name", 0) == Position(None, 1, 1)


def test_unknown_fields_are_kept() -> None:
    parsed = parse_text(
        """\
        layer { name: "a" }
        layer {
          convolution_param { gap: 2, num_output: 3 }
          dense_crf_param < zoom: [1, 2] pad: - 1; name: 'a' "b" inner: [{x: .5f}, {}] >   # gone
        }
        mode: FAST none: []
        """,
        Net,
        "net.prototxt",
    )
    assert parsed.message == Net(
        layer=[
            caffe_pb2.LayerParameter(name="a"),
            caffe_pb2.LayerParameter(convolution_param=caffe_pb2.ConvolutionParameter(num_output=3)),
        ]
    )
    interp = """\
dense_crf_param {
  zoom: 1
  zoom: 2
  pad: -1
  name: 'a' "b"
  inner {
    x: .5f
  }
  inner {
  }
}"""
    file = "net.prototxt"
    assert parsed.unknown == (
        UnknownField(("layer", 1, "convolution_param", 0), "gap", "gap: 2", Position(file, 3, 31)),
        UnknownField(("layer", 1), "dense_crf_param", interp, Position(file, 4, 11)),
        UnknownField((), "mode", "mode: FAST", Position(file, 6, 9)),
        UnknownField((), "none", "none: []", Position(file, 6, 20)),
    )
    assert "dense_crf_param" not in parsed.root.find("layer", 1).fields


FAULTS = {
    # text: (kind, line, column, part of the message, part of the hint)
    'name "a"': (FormatError, 1, 6, "expected \":\" after name, got '\"a\"'", "`name: value`"),
    "layer: 5": (SchemaError, 1, 8, "layer of NetParameter takes a message { ... }, got '5'", None),
    "layer 5": (FormatError, 1, 7, "expected \"{\" after layer, got '5'", None),
    "name:": (FormatError, 1, 6, "name of NetParameter takes a string in quotes, got the end of the text", None),
    "name: }": (FormatError, 1, 7, "got '}'", None),
    'name: "a\n"': (SchemaError, 1, 7, "the quote at its end is missing", None),
    'name: "a\\"': (SchemaError, 1, 7, "the quote at its end is missing", None),
    "name: 'a\"": (SchemaError, 1, 7, "the quote at its end is missing", None),
    'name: "\\xg"': (SchemaError, 1, 7, "the escape \\x lacks its digits", None),
    'name: "\\777"': (SchemaError, 1, 7, "the escape \\777 is more than a byte", None),
    "name: Conv": (SchemaError, 1, 7, "takes a string in quotes, got 'Conv'", 'put it in quotes: "Conv"'),
    "name: ['a']": (SchemaError, 1, 7, "takes a string in quotes, got '['", None),
    "name: {}": (SchemaError, 1, 7, "takes a string in quotes, got '{'", None),
    'layer {\n name: "a"\n': (FormatError, 2, 11, 'expected "}", got the end of the text', "at line 1, column 1"),
    "layer {\n>": (FormatError, 2, 1, "expected \"}\", got '>'", 'the "{" of layer'),
    "layer < }": (FormatError, 1, 9, "expected \">\", got '}'", 'the "<" of layer'),
    "layer {} }": (FormatError, 1, 10, 'a "}" too many', None),
    "layer { : }": (FormatError, 1, 9, "expected the name of a field or \"}\", got ':'", None),
    ";": (FormatError, 1, 1, "expected the name of a field, got ';'", None),
    "name: 'a';;": (FormatError, 1, 11, "expected the name of a field", None),
    "1: 2": (FormatError, 1, 1, "expected the name of a field, got '1'", None),
    "[a.b]: 2": (FormatError, 1, 1, "expected the name of a field, got '['", None),
    "foo bar": (FormatError, 1, 5, 'expected ":" or "{" after foo, got \'bar\'', None),
    "foo: ;": (FormatError, 1, 6, "expected a value, got ';'", None),
    "foo: 'a": (FormatError, 1, 6, "expected a value", "the quote at its end is missing"),
    "foo {\nx: }": (FormatError, 2, 4, "expected a value, got '}'", None),
    "input_dim: [1 2]": (FormatError, 1, 15, 'expected "," or "]" in the list input_dim, got \'2\'', None),
    "input_dim: [1,]": (FormatError, 1, 15, "takes a whole number from -2147483648 to 2147483647, got ']'", None),
    "input_dim [1]": (FormatError, 1, 11, "expected \":\" after input_dim, got '['", None),
    "input_dim: [[1]]": (SchemaError, 1, 13, "got '['", None),
    "input_dim: 2147483648": (SchemaError, 1, 12, "takes a whole number from -2147483648 to 2147483647", None),
    "input_dim: 1.5": (SchemaError, 1, 12, "got '1.5'", None),
    "input_dim: 08": (SchemaError, 1, 12, "got '08'", None),
    "input_dim: '1'": (SchemaError, 1, 12, "got \"'1'\"", "write it without quotes"),
    "layer { loss_weight: 1,5 }": (FormatError, 1, 24, "expected the name of a field or \"}\", got '5'", None),
    "layer { loss_weight: 01 }": (SchemaError, 1, 22, "loss_weight of LayerParameter takes a number, got '01'", None),
    "force_backward: yes": (SchemaError, 1, 17, "takes true or false, got 'yes'", None),
    "force_backward: 2": (SchemaError, 1, 17, "takes true or false, got '2'", None),
    "state { phase: test }": (SchemaError, 1, 16, "phase of NetState takes one of its names", 'did you mean "TEST"?'),
    "state { phase: 7 }": (SchemaError, 1, 16, "got '7'", "it takes one of TRAIN, TEST"),
    'state { phase: "TEST" }': (SchemaError, 1, 16, "got '\"TEST\"'", 'did you mean "TEST"'),
    "name: 'a'\n\n  name: 'b'": (SchemaError, 3, 3, "got it a second time; the first is at line 1", None),
    "state {}\nstate {}": (SchemaError, 2, 1, "state of NetParameter may stand once", "remove one"),
    "state [{}]": (FormatError, 1, 7, "expected \"{\" after state, got '['", None),
}  # fmt: skip


# Protobuf's unescaping warns of \\777 before it refuses it.
@pytest.mark.filterwarnings("ignore:.*invalid octal escape:DeprecationWarning")
@pytest.mark.parametrize("text", FAULTS)
def test_faults(text: str) -> None:
    kind, line, column, message, hint = FAULTS[text]
    with pytest.raises((FormatError, SchemaError)) as info:
        parse_text(text, Net, "net.prototxt")
    error = info.value
    assert message in error.message
    assert (type(error), error.file, error.line, error.column) == (kind, "net.prototxt", line, column)
    assert hint is None or hint in (error.hint or "")
    if STRICT:
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, Net())
