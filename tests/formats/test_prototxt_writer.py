from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.errors import CaffeCompatError, Position, UsageError
from caffecompat.formats import parse_text, read_text, save_text, write_text
from caffecompat.formats.parsed import UnknownField
from caffecompat.schema import caffe_pb2
from tests.support import shared_file

Net = caffe_pb2.NetParameter


def test_the_form() -> None:
    layer = caffe_pb2.LayerParameter(name="conv", type="Convolution", top=["a", "b"], phase=caffe_pb2.TEST)
    layer.convolution_param.kernel_size.extend([3, 5])
    layer.convolution_param.bias_term = False
    layer.param.add(lr_mult=0.1, decay_mult=2)
    layer.relu_param.SetInParent()
    assert write_text(Net(name="net", layer=[layer])) == (
        """\
name: "net"
layer {
  name: "conv"
  type: "Convolution"
  top: "a"
  top: "b"
  param {
    lr_mult: 0.1
    decay_mult: 2
  }
  phase: TEST
  convolution_param {
    bias_term: false
    kernel_size: 3
    kernel_size: 5
  }
  relu_param {
  }
}
"""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.001, "0.001"), (1e-05, "1e-05"), (1, "1"), (0.0005, "0.0005"), (1 / 3, "0.33333334"), (0.1, "0.1")),
        *((123456, "123456"), (16777217, "16777216"), (3.4028235e38, "3.4028235e+38"), (1e-45, "1.4013e-45")),
        *((math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"), (-0.0, "-0")),
    ],
)
def test_floats(value: float, text: str) -> None:
    assert write_text(caffe_pb2.SolverParameter(base_lr=value)) == f"base_lr: {text}\n"


@given(st.floats(width=32, allow_nan=False))
def test_floats_read_back_equal(value: float) -> None:
    text = write_text(caffe_pb2.SolverParameter(base_lr=value))
    read = parse_text(text, caffe_pb2.SolverParameter).message.base_lr
    assert struct.pack("f", read) == struct.pack("f", value)


@given(st.floats(allow_nan=False))
def test_doubles_read_back_equal(value: float) -> None:
    text = write_text(caffe_pb2.BlobProto(double_data=[value]))
    assert struct.pack("d", text_format.Parse(text, caffe_pb2.BlobProto()).double_data[0]) == struct.pack("d", value)


def test_strings() -> None:
    assert write_text(Net(name="a\n\t\r\0\x7f\"'\\é\U0001f600")) == 'name: "a\\n\\t\\r\\000\\177\\"\'\\\\é\U0001f600"\n'
    assert write_text(caffe_pb2.Datum(data=b"a\xff0\n")) == 'data: "a\\3770\\n"\n'


TEXT = """\
name: "net"
layer {
  name: "up"
  type: "Convolution"
  convolution_param {
    num_output: 3
    gap: 2
  }
  dense_crf_param {
    zoom_factor: 2
    inner {
      a: 'b' "c"
    }
  }
}
version: 1
"""


def test_unknown_fields_are_written_in_their_messages() -> None:
    parsed = parse_text(TEXT, Net)
    assert len(parsed.unknown) == 3
    assert write_text(parsed.message, parsed.unknown) == TEXT


def test_unknown_bytes_that_are_not_utf8_are_escaped(tmp_path: Path) -> None:
    parsed = parse_text(b'foo: "caf\xe9"', Net)
    save_text(tmp_path / "net.prototxt", parsed.message, parsed.unknown)
    assert (tmp_path / "net.prototxt").read_text() == 'foo: "caf\\xe9"\n'


def test_an_unknown_field_is_never_dropped() -> None:
    unknown = UnknownField(("layer", 1), "gap", "gap: 2", Position(None, 1, 1))
    with pytest.raises(UsageError, match="there is no message layer/1 in which to write the unknown field 'gap'"):
        write_text(Net(layer=[caffe_pb2.LayerParameter()]), [unknown])


def test_every_real_prototxt_reads_back_equal() -> None:
    paths = [path for folder in ("prototxt", "models") for path in shared_file(folder).rglob("*.prototxt")]
    paths.remove(shared_file("prototxt/vgg/VGG_19_layers_train_val.prototxt"))
    for path in paths:
        kind = caffe_pb2.SolverParameter if "solver" in path.name else Net
        parsed = read_text(path, kind)
        text = write_text(parsed.message, parsed.unknown)
        again = parse_text(text, kind)
        assert again.message == parsed.message, path
        assert [field.text for field in again.unknown] == [field.text for field in parsed.unknown], path
        assert text_format.Parse(text, kind(), allow_unknown_field=True) == parsed.message, path


def test_save(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    save_text(path, Net(name="é"))
    assert path.read_bytes() == 'name: "é"\n'.encode()
    assert read_text(path, Net).message.name == "é"
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        save_text(tmp_path / "nowhere" / "net.prototxt", Net())
    with pytest.raises(UsageError):
        save_text(path, Net(), [UnknownField(("layer", 0), "a", "a: 1", Position(None, 1, 1))])
    assert path.read_bytes() == 'name: "é"\n'.encode()
