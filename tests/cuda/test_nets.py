"""Whole published nets on a GPU, against what the original computed."""

from __future__ import annotations

import pytest
import torch

from caffecompat import load
from tests.layers.test_nets import NETS, compare
from tests.support import make_net, shared_file

CONVOLUTION = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 64 dim: 20 dim: 20 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 64 kernel_size: 3 weight_filler { type: "xavier" } } }
"""


@pytest.mark.usefixtures("exact")
@pytest.mark.filterwarnings("ignore:.*save_output_param is ignored:caffecompat.errors.CaffeCompatWarning")
@pytest.mark.parametrize("name", NETS)
def test_as_recorded(name):
    compare(name, "cuda")


def test_a_net_moves_there_and_back():
    net = make_net(CONVOLUTION)
    data = torch.randn(4, 64, 20, 20)
    before = net(data=data)["conv"]
    with torch.no_grad():
        there = net.to("cuda")(data=data.to("cuda"))["conv"]
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), before, atol=1e-2, rtol=0)
    assert net.to("cpu")(data=data)["conv"].equal(before)


def test_weights_are_taken_by_a_net_that_is_there():
    folder = shared_file("models/mtcnn")
    net = load(folder / "det1.prototxt").to("cuda")
    net.copy_from(folder / "det1.caffemodel")
    expected = load(folder / "det1.prototxt", folder / "det1.caffemodel")
    for item, other in zip(net.learnable, expected.learnable, strict=True):
        assert item.tensor.device.type == "cuda"
        assert item.tensor.cpu().equal(other.tensor)
