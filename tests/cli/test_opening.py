"""Whether it is told, once, that nothing says how pixels become the values of a net's input."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import caffecompat.pycaffe as pycaffe
from tests.cli.records import call

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }\n'
DATA = """layer { name: "data" type: "Data" top: "data" transform_param { crop_size: 6 }
  data_param { source: "gone_lmdb" batch_size: 8 backend: LMDB } }
"""
CONV = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3
  weight_filler { type: "xavier" } } }
"""
SCALED = 'layer { name: "scaled" type: "Power" bottom: "data" top: "data" power_param { scale: 0.1 } }\n'
NOTE = "the prototxt states neither mean nor scale"


@pytest.fixture
def told(tmp_path):
    """How often it is told, when a command runs on a picture or on what else is given."""
    picture = tmp_path / "1.png"
    cv2.imwrite(str(picture), np.full((6, 6, 3), 9, np.uint8))
    net = tmp_path / "net.prototxt"

    def count(text, command, *arguments, given=picture):
        net.write_text(text)
        result = call(command, net, given, "--random-weights", *arguments)
        assert NOTE not in result.stdout
        return result.stderr.count(NOTE)

    return count


@pytest.mark.parametrize(
    "command", [("run",), ("classify",), ("segment",), ("features", "--blob", "conv", "-o", "a.npy")]
)
def test_every_command_on_pictures_tells_it_once(command, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told(INPUT + CONV, *command) == 1


FOUR = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 group: 2 } }
"""


@pytest.mark.parametrize("scaled", ["", SCALED])
@pytest.mark.parametrize(
    "fed",
    [
        'layer { name: "data" type: "Input" top: "data" }',
        'layer { name: "data" type: "Data" top: "data" data_param { source: "gone" batch_size: 8 } }',
    ],
)
def test_the_channels_of_an_unknown_shape_are_those_of_the_weights(fed, scaled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.prototxt").write_text(INPUT.replace("dim: 3", "dim: 4") + scaled + FOUR)
    pycaffe.Net("whole.prototxt", pycaffe.TEST).save("net.caffemodel")
    (tmp_path / "net.prototxt").write_text(fed + scaled + FOUR)
    known = call("verify", "net.prototxt", "-w", "net.caffemodel", "--against", "onnxruntime", code=1)
    assert "(--input-shape data=1,4,H,W)" in known.stderr
    unknown = call("convert", "net.prototxt", "-o", "net.onnx", code=1)
    assert "(--input-shape data=1,C,H,W)" in unknown.stderr


@pytest.mark.parametrize("option", [("--mean", "1,2,3"), ("--scale", 1)])
def test_not_where_it_is_given(option, told):
    assert told(INPUT + CONV, "run", *option) == 0


@pytest.mark.parametrize(
    "net",
    [
        DATA + CONV,
        INPUT + SCALED + CONV,
        INPUT.replace("type:", "transform_param { mean_value: 3 } type:") + CONV,
        INPUT.replace("dim: 3", "dim: 2") + CONV,
    ],
    ids=["a data layer subtracts nothing", "the net scales", "stated", "no picture"],
)
def test_not_where_nothing_is_guessed(net, told, tmp_path):
    array = tmp_path / "in.npy"
    np.save(array, np.zeros((1, 2, 6, 6), np.float32))
    assert told(net, "run", **({"given": array} if "dim: 2 dim: 6" in net else {})) == 0


def test_not_of_arrays(told, tmp_path):
    array = tmp_path / "in.npy"
    np.save(array, np.zeros((1, 3, 6, 6), np.float32))
    assert told(INPUT + CONV, "run", given=array) == 0
