"""`caffecompat time`: layers whose time is known, and gradients held against those of the whole net."""

from __future__ import annotations

import json
import re

import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.cli.timing import Timer, made_up
from caffecompat.layers import base
from caffecompat.schema import LAYER_TYPES
from caffecompat.schema import plugins as schema_plugins
from tests.cli.records import call
from tests.support import make_net, shared_file

FORWARD, BACKWARD = 0.02, 0.03
SLEEPER = f"""
import time
import torch
import caffecompat

class Slow(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        time.sleep({FORWARD})
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        time.sleep({BACKWARD})
        return gradient

@caffecompat.layer("Sleeper")
class Sleeper(caffecompat.Layer):
    def shapes(self, *bottoms):
        return bottoms

    def forward(self, x):
        return Slow.apply(x)
"""
SLEEPY = """
name: "sleepy"
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "before" type: "Sleeper" bottom: "data" top: "before" }
layer { name: "ip" type: "InnerProduct" bottom: "before" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "after" type: "Sleeper" bottom: "ip" top: "ip" }
layer { name: "label" type: "DummyData" top: "label" dummy_data_param { shape { dim: 2 dim: 2 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TRAIN } }
"""


@pytest.fixture
def _types_as_before():
    """Take the types that a plug-in registers out again."""
    registries = (LAYER_TYPES, base._REGISTRY, schema_plugins.MODULES)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture
def sleepy(tmp_path, _types_as_before):
    # A plug-in's name counts once in a process.
    plugin = tmp_path / f"{tmp_path.name}.py"
    plugin.write_text(SLEEPER)
    (tmp_path / "net.prototxt").write_text(SLEEPY)
    return tmp_path / "net.prototxt", "--plugin", plugin


def test_each_layer_has_its_own_time(sleepy, tmp_path):
    target = tmp_path / "times.json"
    shown = call("time", *sleepy, "--iterations", 4, "--json", target)
    found = json.loads(target.read_text())
    assert (found["phase"], found["iterations"], found["device"]) == ("TRAIN", 4, "cpu")
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert list(layers) == ["data", "before", "ip", "after", "label", "loss"]
    # In milliseconds; nothing but the sleepers takes long.
    for name in ("before", "after"):
        assert 1000 * FORWARD <= layers[name]["forward_ms"] < 5000 * FORWARD
    assert 1000 * BACKWARD <= layers["after"]["backward_ms"] < 5000 * BACKWARD
    # There is nothing to learn below the inner product.
    assert layers["before"]["backward_ms"] == 0
    assert 0 < layers["ip"]["backward_ms"] < 1000 * FORWARD
    assert found["forward_ms"] >= sum(layer["forward_ms"] for layer in found["layers"])
    assert found["backward_ms"] >= sum(layer["backward_ms"] for layer in found["layers"])
    assert found["forward_backward_ms"] == pytest.approx(found["forward_ms"] + found["backward_ms"])
    assert layers["after"]["percent"] == pytest.approx(
        100 * (layers["after"]["forward_ms"] + layers["after"]["backward_ms"]) / found["forward_backward_ms"]
    )
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["layer", "type", "forward", "ms", "backward", "ms", "percent"]
    assert [line.split()[0] for line in lines[1:7]] == list(layers)
    assert f"Average Forward pass: {found['forward_ms']:.6g} ms." in lines
    assert f"Average Backward pass: {found['backward_ms']:.6g} ms." in lines
    assert f"Average Forward-Backward: {found['forward_backward_ms']:.6g} ms." in lines
    assert "Initial loss: " in shown.stderr


def test_nothing_goes_backward_without_a_loss(sleepy, tmp_path):
    target = tmp_path / "times.json"
    call("time", *sleepy, "--phase", "TEST", "--iterations", 1, "--json", target)
    found = json.loads(target.read_text())
    assert found["phase"] == "TEST"
    assert [layer["backward_ms"] for layer in found["layers"]] == [0] * 5


def test_gradients_layer_by_layer_are_those_of_the_whole_net():
    """With a blob that two layers read, one that a layer reads twice, in-place layers, and two losses."""
    net = make_net(
        """
        layer { name: "data" type: "Input" top: "data" top: "label"
          input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } shape { dim: 2 dim: 4 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4
          kernel_size: 3 weight_filler { type: "xavier" } } }
        layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
        layer { name: "twice" type: "Eltwise" bottom: "conv" bottom: "conv" top: "twice"
          eltwise_param { operation: PROD } }
        layer { name: "ip" type: "InnerProduct" bottom: "twice" top: "ip" inner_product_param { num_output: 4
          weight_filler { type: "xavier" } } }
        layer { name: "side" type: "InnerProduct" bottom: "conv" top: "side" inner_product_param { num_output: 4
          weight_filler { type: "xavier" } } }
        layer { name: "one" type: "EuclideanLoss" bottom: "ip" bottom: "label" top: "one" loss_weight: 0.5 }
        layer { name: "two" type: "EuclideanLoss" bottom: "side" bottom: "label" top: "two" loss_weight: 2 }
        """,
        "TRAIN",
    )
    fed = made_up(net)
    outputs = net(**{key.name: value for key, value in fed.items()})
    loss = net.loss(outputs)
    conv = net.layer("conv")
    whole = torch.autograd.grad(loss, conv.blobs)
    found = []
    grad = torch.autograd.grad

    def spy(tops, inputs, diffs, **options):
        gradients = grad(tops, inputs, diffs, **options)
        if any(blob is conv.blobs[0] for blob in inputs):
            found.extend(gradients)
        return gradients

    timer = Timer(net, fed, torch.device("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", spy)
        assert timer.run() == pytest.approx(float(loss.detach()), rel=1e-5)
    assert len(found) == 2
    for ours, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3 * float(theirs.abs().max()))


def test_a_net_whose_data_are_not_there_is_fed():
    net = shared_file("models/lenet_v1/lenet_train_test.prototxt")
    told = call("time", "--model", net, "--iterations", 1, "--input-shape", "4,1,28,28").stderr
    assert 'layer "mnist"' in told
    assert "data 4x1x28x28, label 4" in told
    missing = call("time", "--model", net, "--iterations", 1, code=1).stderr
    assert "--input-shape" in missing


def test_the_fault_of_another_layer_is_told(tmp_path):
    """Not the size that fed data would need."""
    net = shared_file("golden/training/adam/train_val.prototxt").read_text()
    own = 'layer { name: "own" type: "Python" bottom: "data" top: "own" python_param { module: "m" layer: "L" } }'
    (tmp_path / "net.prototxt").write_text(f"{net}\n{own}\n")
    told = call("time", tmp_path / "net.prototxt", "--root", shared_file("data"), code=1).stderr
    assert 'layer "own"' in told
    assert "--allow-python" in told
    assert "--input-shape" not in told


def test_data_layers_read_what_is_there():
    net = shared_file("golden/training/adam/train_val.prototxt")
    told = call("time", net, "--iterations", 2, "--root", shared_file("data")).stderr
    assert "fed" not in told
    assert "made-up" not in told
    loss = float(re.search(r"Initial loss: (\S+)", told)[1])
    # Fresh weights of ten classes know nothing: about log(10).
    assert 1.5 < loss < 4


@pytest.mark.parametrize(
    ("net", "made"),
    [
        ("models/lenet_v1/lenet.prototxt", "data 64x1x28x28"),
        ("golden/training/ssd_shapes/train.prototxt", "label 1x1x1x8"),
    ],
)
def test_published_nets_take_made_up_values(net, made, tmp_path):
    target = tmp_path / "times.json"
    assert made in call("time", shared_file(net), "--iterations", 1, "--json", target).stderr
    layers = json.loads(target.read_text())["layers"]
    assert any(layer["forward_ms"] > 0 for layer in layers)


def test_wrong_usage(tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(SLEEPY)
    assert CliRunner().invoke(main, ["time"]).exit_code == 2
    assert call("time", net, "--iterations", 0, code=2)
    assert "Sleeper" in call("time", net, code=1).stderr
    assert "input of this command" in call("time", net, "--json", net, code=2).stderr


def test_an_engine_runs_a_net_in_phase_test(tmp_path):
    """Unless its layers make a net in TRAIN only, as those of SSD's training prototxts do."""
    net = tmp_path / "net.prototxt"
    input_ = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }'
    pool = 'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { kernel_size: 2 } %s }'
    power = 'layer { name: "power" type: "Power" bottom: "pool" top: "power" include { phase: TRAIN } }'
    net.write_text(input_ + pool % "" + power)
    engine = ("--engine", "torch", "--iterations", 1)
    told = call("time", net, *engine, "--phase", "TRAIN", code=2).stderr
    assert "--engine runs a net in phase TEST, not in TRAIN" in told
    assert "phase TRAIN" not in call("time", net, *engine).stderr
    net.write_text(input_ + pool % "include { phase: TRAIN }" + power.replace("include { phase: TRAIN }", ""))
    assert "in phase TRAIN only" in call("time", net, *engine).stderr
    assert "unknown" in call("time", net, *engine, "--phase", "TEST", code=1).stderr
