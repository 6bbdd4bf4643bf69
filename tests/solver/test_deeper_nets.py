"""A deeper net begins from some layers of a shallower one's file."""

from __future__ import annotations

import pytest
import torch

from caffecompat.schema import caffe_pb2
from tests.solver.tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

FIRST = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "target" type: "DummyData" top: "target" dummy_data_param { shape { dim: 2 dim: 5 } } } """
LAST = """layer { name: "fc8" type: "InnerProduct" bottom: "%s" top: "fc8" inner_product_param { num_output: 5
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc8" bottom: "target" top: "loss" }"""


def net(*names):
    layers, bottom = FIRST, "data"
    for name in names:
        layers += f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
          convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }} """
        bottom = name
    return layers + LAST % bottom


def test_the_layers_that_are_kept_and_no_others(tmp_path):
    shallow = tiny(tmp_path / "a", net=net("conv1_1", "conv2_1"))
    shallow.snapshot()
    whole = tmp_path / "a_iter_0.caffemodel"
    kept = caffe_pb2.NetParameter.FromString(whole.read_bytes())
    for index in reversed(range(len(kept.layer))):
        if kept.layer[index].name not in ("conv1_1", "fc8"):
            del kept.layer[index]
    (tmp_path / "start.caffemodel").write_bytes(kept.SerializeToString())
    deep = tiny(tmp_path / "b", net=net("conv1_1", "conv1_2", "conv2_1"))
    deep.net.copy_from(tmp_path / "start.caffemodel")
    for name in ("conv1_1", "fc8"):
        for blob, expected in zip(deep.net.layer(name).blobs, shallow.net.layer(name).blobs, strict=True):
            assert torch.equal(blob, expected)
    assert not torch.equal(deep.net.layer("conv2_1").blobs[0], shallow.net.layer("conv2_1").blobs[0])
