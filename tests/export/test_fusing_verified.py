"""fuse verified: no parameters of a net hide a fault of the passes, and what is told was found."""

from __future__ import annotations

import re

import pytest
import torch

import caffecompat
from caffecompat import Net
from caffecompat.errors import CaffeCompatError
from caffecompat.export import fusing
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.graph.passes import fused
from caffecompat.zoo import ask, find_model, make
from tests.export.test_fusing import SMALL, apart, fuse
from tests.export.test_pt2 import DETECTOR
from tests.graph.passes.nets import trained_net
from tests.support import make_net

NARROW = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "c_bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "c_scale" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "d" type: "Convolution" bottom: "c" top: "d" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "d_bn" type: "BatchNorm" bottom: "d" top: "d" }
layer { name: "fc" type: "InnerProduct" bottom: "d" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def break_pass(monkeypatch, name, index):
    """Let a blob that comes of fusing be a little too large."""

    def wrong(graph, blobs):
        graph, blobs, notes = fused(graph, blobs)
        broken = list(blobs[name])
        broken[index] = broken[index] * 1.01
        return graph, {**blobs, name: broken}, notes

    monkeypatch.setattr(fusing, "fused", wrong)


@pytest.mark.parametrize(("name", "index"), [("c", 0), ("c", 1), ("d", 0), ("d", 1), ("fc", 0)])
def test_a_net_without_weights_hides_no_fault(monkeypatch, name, index):
    """All its parameters are 0, so its output is the same whatever the layers before do: random ones show it."""
    net = make_net(NARROW)
    assert apart(fuse(net)[1]) < 1e-5
    break_pass(monkeypatch, name, index)
    with pytest.raises(CaffeCompatError, match="blob 'fc' with random parameters differs by"):
        caffecompat.fuse(net)


def test_every_kernel_of_a_zoo_net_without_weights(monkeypatch):
    """A published net as it is written, whose prototxt names no fillers."""
    model = find_model("repvgg-a0")
    message = make(model, ask(model, width=0.125, size=32)).nets["deploy"]
    net = Net(build_graph(Parsed(message), "TEST"))
    net.fill()
    new, notes = fuse(net)
    assert apart(notes) < 1e-5
    kernels = [layer.spec.name for layer in new.layers if layer.spec.type == "Convolution"]
    assert len(kernels) == 22
    for name in kernels[::7]:
        break_pass(monkeypatch, name, 0)
        with pytest.raises(CaffeCompatError, match="with random parameters differs by"):
            caffecompat.fuse(net)


def test_what_softmax_reads_is_compared(monkeypatch):
    """Where one class is far above the others its output is 1 and 0, whatever goes before."""
    net = trained_net(NARROW)
    net.layer("fc").bias.data[0] = 1000
    data = torch.zeros(1, 3, 8, 8)
    assert net(data=data)["prob"].tolist() == [[1, 0, 0, 0, 0]]
    break_pass(monkeypatch, "c", 0)
    with pytest.raises(CaffeCompatError, match=r"blob 'fc' differs by"):
        caffecompat.fuse(net)


def test_random_parameters_that_are_not_finite():
    """What was not proved is not said."""
    text = SMALL + 'layer { name: "e" type: "Power" bottom: "fc" top: "e" power_param { power: 0.5 } }\n'
    net = trained_net(text)
    net.layer("fc").weight.data.abs_()
    net.layer("fc").bias.data.abs_()
    _, notes = fuse(net)
    assert re.fullmatch(
        r"verified on random input: outputs differ by at most \d\.\de-\d\d of their magnitude; "
        r"with random parameters the net's blob 'e' is not finite .*",
        notes[-1],
    )


def test_boxes_of_infinite_size():
    """Offsets decode by exp; what they are is compared, whatever comes of them."""
    text = DETECTOR.replace("THRESHOLD", "0").replace("NMS", "0.45").replace("ETA", "1")
    first, loc, rest = text.partition('layer { name: "loc"')
    net = trained_net(first + 'layer { name: "bn" type: "BatchNorm" bottom: "features" top: "features" }' + loc + rest)
    net.layer("loc").bias.data.fill_(1e3)
    with torch.no_grad():
        assert not net(data=torch.zeros(1, 3, 12, 16))["out"].isfinite().all()
    assert apart(fuse(net)[1]) < 1e-5


def test_what_recurrent_layers_carry_is_not_left_by_verifying():
    """The first pass of a fused net begins with a state of 0, as that of the net does."""
    text = """
layer { name: "x" type: "Input" top: "x" top: "cont" input_param {
        shape { dim: 2 dim: 1 dim: 3 } shape { dim: 2 dim: 1 } } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "drop" }
layer { name: "lstm" type: "LSTM" bottom: "drop" bottom: "cont" top: "h" recurrent_param { num_output: 4 } }
"""
    net = trained_net(text)
    new, notes = fuse(net)
    assert apart(notes) < 1e-5
    given = {"x": torch.ones(2, 1, 3), "cont": torch.ones(2, 1)}
    with torch.no_grad():
        torch.testing.assert_close(new(**given)["h"], net(**given)["h"])
