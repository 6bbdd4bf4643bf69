"""convert --fuse: what is told, and files that Caffe computes the same with."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import caffecompat
from caffecompat.cli.main import main
from caffecompat.export import export
from tests.graph.passes.nets import assert_equal, trained_net, types

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "three" type: "Convolution" bottom: "conv" top: "three"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "three" top: "sum" }
"""


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = trained_net(NET)
    export(made, tmp_path / "net.caffemodel")
    (tmp_path / "net.prototxt").write_text(NET)
    return made


def convert(*arguments, status=0):
    done = CliRunner().invoke(main, ["convert", "net.prototxt", "--weights", "net.caffemodel", *arguments])
    assert done.exit_code == status, done.output
    return done


def test_for_caffe(net):
    done = convert("--fuse", "-o", "fused.prototxt")
    convert("--fuse", "-o", "fused.caffemodel")
    assert 'folded 1 BatchNorm into the layer before: "bn"' in done.stderr
    assert '1 sums of 2 branches became one convolution each: "sum"' in done.stderr
    assert "verified on random input: outputs differ by at most" in done.stderr
    again = caffecompat.load("fused.prototxt", "fused.caffemodel")
    assert types(again) == ["Convolution", "Convolution"]
    assert again.filled == ()
    assert_equal(net, again)


def test_without_verifying(net):
    assert "verified" not in convert("--fuse", "--no-verify", "-o", "fused.safetensors").stderr
    assert "verify can be chosen for .onnx, .xml" in convert("--no-verify", "-o", "net.safetensors", status=2).stderr


def test_onnx(net):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    done = convert("--fuse", "-o", "fused.onnx")
    assert "verified on random input" in done.stderr
    assert "in ONNX Runtime sum differs" in done.stderr


def test_what_cannot_be_verified(net):
    net.layer("three").bias.data.fill_(float("nan"))
    export(net, "net.caffemodel")
    done = convert("--fuse", "-o", "fused.pt", status=1)
    assert "Error: the net's blob 'sum' is not finite on random input" in done.stderr
