"""int8: trained nets keep their accuracy, in both programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.engines import optimize
from caffecompat.engines.calibrating import Calibration
from caffecompat.errors import UsageError
from tests.support import make_net, shared_file


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_lenet(engine):
    folder = shared_file("models/lenet_v1")
    shapes = {"data": (50, 1, 28, 28)}
    net = caffecompat.load(folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel", input_shapes=shapes)
    with np.load(shared_file("data/mnist_10000.npz")) as mnist:
        pictures, labels = mnist["X"][:1100].astype(np.float32) / 256, torch.from_numpy(mnist["y"][100:1100])
    made = optimize(
        net, engine, "int8", example={"data": pictures[:50]}, calibration={"data": pictures[:100]}, cache=False
    )
    found, wanted = [], []
    for start in range(100, 1100, 50):
        data = torch.from_numpy(pictures[start : start + 50])
        found.append(made(data=data)["prob"])
        wanted.append(net(data=data)["prob"])
    found, wanted = torch.cat(found), torch.cat(wanted)
    assert not torch.allclose(found, wanted, atol=1e-4)
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() >= 0.995
    right, before = ((each.argmax(1) == labels).float().mean() for each in (found, wanted))
    assert before > 0.97
    assert right >= before - 0.005


def test_what_is_calibrated_with():
    records = Calibration(shared_file("data/digits/train_lmdb"), limit=40)
    assert (len(records.used), len(records.held_out)) == (40, 350)
    assert not set(records.used) & set(records.held_out)
    with pytest.raises(UsageError, match="have \\[2, 3\\] items"):
        Calibration({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})


def test_without_calibration():
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }'
    )
    with pytest.raises(UsageError, match="int8 needs calibration"):
        optimize(net, "onnxruntime", "int8")
