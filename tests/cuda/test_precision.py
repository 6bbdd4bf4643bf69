"""Whatever runs nets here computes in float32 on a GPU, though PyTorch as installed rounds to TF32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import caffecompat.pycaffe as caffe
from caffecompat.export import export
from tests.cli.records import call
from tests.solver.tiny import tiny
from tests.support import make_net

# Of the largest value: sums of 1,296 terms in float32 were 4e-6 away; TF32 rounds each term by up to 5e-4.
EXACT = 1e-5
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 64 dim: 20 dim: 20 } } }\n'
NET = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 4 dim: 64 dim: 20 dim: 20 }
  data_filler { type: "gaussian" } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 64 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "zero" type: "DummyData" top: "zero" dummy_data_param { shape { dim: 4 dim: 64 dim: 18 dim: 18 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "conv" bottom: "zero" top: "loss" }
"""


def stepped(tmp_path, precision):
    """How far a step's convolution and its weights' gradient are from those in float64, in parts of the largest."""
    solver = tiny(tmp_path / "x", net=NET, device="cuda", precision=precision)
    net = solver.net
    net.keep = "all"
    weight = net.layer("conv").blobs[0].detach().cpu().double().requires_grad_()
    solver.step(1)
    data = net.blobs["data"].cpu().double()
    top = functional.conv2d(data, weight)
    (gradient,) = torch.autograd.grad((top.square().sum() / 8), weight)
    pairs = ((net.blobs["conv"].detach(), top.detach()), (net.layer("conv").blobs[0].grad, gradient))
    return [float((ours.cpu() - exact).abs().max() / exact.abs().max()) for ours, exact in pairs]


def test_a_solver(tmp_path):
    assert max(stepped(tmp_path, "float32")) < EXACT
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason="has no TF32")
def test_tf32_where_it_is_asked_for(tmp_path):
    assert min(stepped(tmp_path, "tf32")) > 3 * EXACT
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"


def test_pycaffe(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(f"force_backward: true {NET}")
    caffe.set_mode_gpu()
    try:
        net = caffe.Net(str(path), caffe.TRAIN)
        net.forward()
        net.backward()
        data, weight = (torch.from_numpy(x.data.copy()).double() for x in (net.blobs["data"], net.params["conv"][0]))
        weight.requires_grad_()
        top = functional.conv2d(data, weight)
        (gradient,) = torch.autograd.grad(top.square().sum() / 8, weight)
        for ours, exact in ((net.blobs["conv"].data, top.detach()), (net.params["conv"][0].diff, gradient)):
            assert np.abs(ours - exact.numpy()).max() < EXACT * float(exact.abs().max())
    finally:
        caffe.set_mode_cpu()


def test_a_command(tmp_path):
    text = INPUT + NET[NET.index('layer { name: "conv"') : NET.index('layer { name: "zero"')]
    net = make_net(text)
    (tmp_path / "net.prototxt").write_text(text)
    export(net, tmp_path / "net.caffemodel")
    data = np.random.default_rng(1).normal(size=(4, 64, 20, 20)).astype(np.float32)
    np.save(tmp_path / "in.npy", data)
    exact = functional.conv2d(torch.from_numpy(data).double(), net.layer("conv").blobs[0].detach().double()).numpy()
    given = ("-w", tmp_path / "net.caffemodel", tmp_path / "in.npy", "-o", tmp_path / "out.npz")
    call("run", tmp_path / "net.prototxt", *given, "--device", "cuda")
    with np.load(tmp_path / "out.npz") as saved:
        assert np.abs(saved["conv"] - exact).max() < EXACT * np.abs(exact).max()
