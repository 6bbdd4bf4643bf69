"""What the original's notebooks do with pycaffe, on small nets: net surgery, learning LeNet, fine-tuning."""

from __future__ import annotations

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.pycaffe.proto import caffe_pb2
from tests.solver.runs import TRAINING

L, P = caffe.layers, caffe.params

FC = """
input: "data" input_shape { dim: 1 dim: 2 dim: 6 dim: 6 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } bias_filler { value: 0.5 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
CONVOLUTIONAL = FC.replace('"fc" type: "InnerProduct"', '"fc-conv" type: "Convolution"').replace(
    "inner_product_param { num_output: 5", "convolution_param { num_output: 5 kernel_size: 4"
)


def test_filters_are_edited_in_place(write):
    """Net surgery, first part: a Gaussian and two Sobel filters instead of what was learned."""
    text = (
        'name: "convolution" input: "data" input_shape { dim: 1 dim: 1 dim: 100 dim: 100 }'
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param '
        '{ num_output: 3 kernel_size: 5 weight_filler { type: "gaussian" std: 0.01 } } }'
    )
    net = caffe.Net(write(text), caffe.TEST)
    image = np.random.RandomState(0).rand(36, 48).astype(np.float32)
    net.blobs["data"].reshape(1, 1, *image.shape)
    net.blobs["data"].data[...] = image[np.newaxis, np.newaxis]
    net.forward()
    first = net.blobs["conv"].data[0, 0]
    mean = first.mean()
    net.params["conv"][1].data[0] = 1.0
    net.forward()
    np.testing.assert_allclose(net.blobs["conv"].data[0, 0].mean(), mean + 1, rtol=1e-5)
    sobel = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)
    net.params["conv"][0].data[1:] = 0.0
    net.params["conv"][0].data[1, 0, 1:-1, 1:-1] = sobel
    net.params["conv"][0].data[2, 0, 1:-1, 1:-1] = sobel.T
    net.forward()
    shifted = [[image[i : i + 30, j : j + 40] for j in range(1, 4)] for i in range(1, 4)]
    wanted = sum(sobel[i, j] * shifted[i][j] for i in range(3) for j in range(3))
    np.testing.assert_allclose(net.blobs["conv"].data[0, 1, :30, :40], wanted, atol=1e-5)


def test_inner_products_become_convolutions(write, tmp_path):
    """Net surgery, second part: the parameters are transplanted, and the net then maps a larger picture."""
    weights = str(tmp_path / "fc.caffemodel")
    caffe.Net(write(FC), caffe.TEST).save(weights)
    net = caffe.Net(write(FC), weights, caffe.TEST)
    full = caffe.Net(write(CONVOLUTIONAL), weights, caffe.TEST)
    fc = {name: (net.params[name][0].data, net.params[name][1].data) for name in ("fc",)}
    conv = {name: (full.params[name][0].data, full.params[name][1].data) for name in ("fc-conv",)}
    conv["fc-conv"][0].flat = fc["fc"][0].flat
    conv["fc-conv"][1][...] = fc["fc"][1]
    full.save(str(tmp_path / "full.caffemodel"))
    picture = np.random.RandomState(1).randn(1, 2, 8, 9).astype(np.float32)
    full.blobs["data"].reshape(*picture.shape)
    full.reshape()
    found = full.forward_all(data=picture)["prob"]
    assert found.shape == (1, 5, 3, 4)
    for row in range(3):
        for column in range(4):
            net.blobs["data"].data[...] = picture[:, :, row : row + 6, column : column + 6]
            np.testing.assert_allclose(found[:, :, row, column], net.forward()["prob"], rtol=1e-4, atol=1e-6)
    again = caffe.Net(write(CONVOLUTIONAL), str(tmp_path / "full.caffemodel"), caffe.TEST)
    np.testing.assert_array_equal(again.params["fc-conv"][0].data, full.params["fc-conv"][0].data)


def lenet(lmdb: str, batch_size: int, learn: bool = True) -> str:
    rates = {} if learn else {"param": [{"lr_mult": 0}, {"lr_mult": 0}]}
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch_size, backend=P.Data.LMDB, source=lmdb, transform_param={"scale": 1.0 / 255}, ntop=2
    )
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=8, weight_filler={"type": "xavier"}, **rates)
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.fc1 = L.InnerProduct(n.pool1, num_output=32, weight_filler={"type": "xavier"}, **rates)
    n.relu1 = L.ReLU(n.fc1, in_place=True)
    n.score = L.InnerProduct(n.relu1, num_output=10, weight_filler={"type": "xavier"})
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return str(n.to_proto())


def solver_file(folder, name: str, train: str, test: str) -> str:
    s = caffe_pb2.SolverParameter()
    s.train_net = str(folder / f"{name}_train.prototxt")
    (folder / f"{name}_train.prototxt").write_text(train)
    (folder / f"{name}_test.prototxt").write_text(test)
    s.test_net.append(str(folder / f"{name}_test.prototxt"))
    s.test_interval = 1000
    s.test_iter.append(1)
    s.base_lr, s.momentum, s.weight_decay = 0.05, 0.9, 5e-4
    s.lr_policy = "inv"
    s.gamma, s.power = 0.0001, 0.75
    s.max_iter, s.display, s.snapshot = 10000, 1000, 5000
    s.random_seed = 3
    s.snapshot_prefix = str(folder / name)
    s.solver_mode = caffe_pb2.SolverParameter.CPU
    path = folder / f"{name}_solver.prototxt"
    path.write_text(str(s))
    return str(path)


@pytest.fixture
def digits():
    lmdb = next((TRAINING / "digits").glob("*lmdb*"), None)
    assert lmdb is not None
    return str(lmdb)


def test_learning_lenet_and_fine_tuning(digits, tmp_path):
    solver = caffe.get_solver(solver_file(tmp_path, "lenet", lenet(digits, 64), lenet(digits, 100)))
    assert isinstance(solver, caffe.SGDSolver)
    assert solver.net.blobs["score"].data.shape == (64, 10)
    assert next((name, blobs[0].data.shape) for name, blobs in solver.net.params.items()) == ("conv1", (8, 1, 5, 5))
    solver.net.forward()
    test_net = solver.test_nets[0]
    test_net.forward()
    assert 0 < solver.net.blobs["data"].data.max() <= 1
    assert set(test_net.blobs["label"].data) <= set(range(10))
    before = solver.net.params["conv1"][0].data.copy()
    solver.step(1)
    # The diff after a step is what the update took away.
    np.testing.assert_allclose(
        before - solver.net.params["conv1"][0].diff, solver.net.params["conv1"][0].data, atol=1e-7
    )
    losses = np.zeros(80)
    output = np.zeros((80, 8, 10))
    for it in range(80):
        solver.step(1)
        losses[it] = solver.net.blobs["loss"].data
        test_net.forward(start="conv1")
        output[it] = test_net.blobs["score"].data[:8]
    assert losses[-10:].mean() < 0.4 * losses[:5].mean()
    # The test net took the parameters once, when its first test came, before the first step.
    test_net.share_with(solver.net)
    test_net.forward()
    accuracy = (test_net.blobs["score"].data.argmax(1) == test_net.blobs["label"].data).mean()
    assert accuracy > 0.85

    weights = str(tmp_path / "weights.lenet.caffemodel")
    solver.net.save(weights)
    tuned = caffe.get_solver(solver_file(tmp_path, "tuned", lenet(digits, 64, learn=False), lenet(digits, 100)))
    tuned.net.copy_from(weights)
    frozen = tuned.net.params["fc1"][0].data.copy()
    tuned.step(5)
    np.testing.assert_array_equal(tuned.net.params["fc1"][0].data, frozen)
    assert np.abs(tuned.net.params["score"][0].data - solver.net.params["score"][0].data).max() > 0
    assert tuned.net.blobs["loss"].data < losses[:5].mean()
    assert tuned.iter == 5
