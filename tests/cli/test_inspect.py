"""inspect and recipes: what they print."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.formats import write_caffemodel
from caffecompat.schema import caffe_pb2
from tests.support import shared_file

NET = """
name: "tiny"
input: "data" input_shape { dim: 2 dim: 3 dim: 9 dim: 8 }
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride: 2 }
}
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "fc" top: "loss" include { phase: TRAIN } }
"""


def inspect(*arguments, status=0):
    done = CliRunner().invoke(main, ["inspect", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_table(tmp_path):
    lines = inspect(net(tmp_path)).stdout.splitlines()
    assert lines[0] == "tiny, phase TEST"
    assert lines[1:3] == ["inputs: data 2x3x9x8", "outputs: fc 2x5"]
    conv = next(line.split() for line in lines if line.startswith("conv"))
    assert conv == ["conv", "Convolution", "2x4x4x4", "76", "1,152", "356", "3x2", "2"]
    assert lines[-1].split() == ["total", "401", "1,472", "750"]


def test_json(tmp_path):
    told = json.loads(inspect(net(tmp_path), "--json", "--phase", "train").stdout)
    assert told["inputs"] == {"data": [2, 3, 9, 8]}
    assert told["outputs"] == {"loss": []}
    assert told["totals"] == {
        name: sum(layer[name] for layer in told["layers"]) for name in ("parameters", "multiply_adds", "memory_access")
    }
    conv = told["layers"][1]
    assert (conv["receptive_field"], conv["stride"], conv["tops"]) == ([3, 2], [2.0, 2.0], {"conv": [2, 4, 4, 4]})


def test_weights(tmp_path):
    """By numpy, in double precision; a layer that the file lacks has no row."""
    layers = [{"name": "conv", "type": "Convolution"}, {"name": "other", "type": "Scale"}]
    values = np.random.default_rng(0).normal(1, 3, (4, 3, 3, 2)).astype(np.float32)
    bias = np.array([1, np.inf, 2, 3], np.float32)
    path = tmp_path / "w.caffemodel"
    write_caffemodel(path, caffe_pb2.NetParameter(layer=layers), [[values, bias], [bias]])
    told = json.loads(inspect(net(tmp_path), "--weights", path, "--json").stdout)
    blobs = {layer["name"]: layer["blobs"] for layer in told["layers"]}
    weight, infinite = blobs["conv"]
    assert (weight["blob"], weight["shape"]) == ("weight", [4, 3, 3, 2])
    double = values.astype(np.float64)
    expected = [double.mean(), double.std(), double.min(), double.max()]
    assert [weight[name] for name in ("mean", "deviation", "least", "greatest")] == pytest.approx(expected, rel=1e-5)
    assert (infinite["mean"], infinite["least"]) == (None, 1)
    assert not blobs["fc"]
    lines = inspect(net(tmp_path), "-w", path).stdout.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["conv", "Convolution", "weight", "4x3x3x2"],
        ["conv", "Convolution", "bias", "4"],
    ]


def test_weights_of_another_net(tmp_path):
    path = tmp_path / "w.caffemodel"
    write_caffemodel(path, caffe_pb2.NetParameter(layer=[{"name": "x"}]), [[np.ones(3, np.float32)]])
    assert "they are of another net" in inspect(net(tmp_path), "-w", path, status=1).stderr


def test_input_shape(tmp_path):
    assert "outputs: fc 7x5" in inspect(net(tmp_path), "--input-shape", "7,3,5,5").stdout


def test_phase_of_a_training_file(tmp_path):
    """As `convert` does: a net that phase TEST leaves without its data is taken in phase TRAIN."""
    path = net(tmp_path)
    data = 'layer { name: "data" type: "Input" top: "data" include { phase: TRAIN } '
    data += "input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }"
    path.write_text(NET.replace('input: "data" input_shape { dim: 2 dim: 3 dim: 9 dim: 8 }', data))
    done = inspect(path)
    assert done.stdout.startswith("tiny, phase TRAIN\n")
    assert "in phase TRAIN only: that phase was taken" in done.stderr
    assert "unknown bottom" in inspect(path, "--phase", "TEST", status=1).stderr


def test_faults(tmp_path):
    assert "Error: " in inspect(tmp_path / "gone.prototxt", status=1).stderr
    path = net(tmp_path)
    path.write_text(NET.replace('bottom: "conv"', 'bottom: "cnv"'))
    assert 'net.prototxt:8:1: layer "fc": ' in inspect(path, status=1).stderr


def test_vgg16():
    told = json.loads(inspect(shared_file("prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt"), "--json").stdout)
    assert told["totals"]["parameters"] == 138_357_544
    assert told["totals"]["multiply_adds"] == 15_470_264_320


def test_recipes_are_listed_without_torch():
    code = "import sys; from caffecompat.cli.main import main; main(['recipes'], standalone_mode=False)"
    code += "; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "fc_to_conv" in done.stdout
    assert "bgr_to_rgb.py" in done.stdout
