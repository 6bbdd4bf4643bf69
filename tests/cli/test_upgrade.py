"""upgrade: nets, solvers and weights of any age, told apart by what is in them."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.formats import read_net, read_text, read_weights
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2
from tests.support import shared_file

V1 = """
input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
layers {
  name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 3 kernel_size: 3 fork_field: 4 }
}
"""


def upgrade(*arguments, status=0):
    done = CliRunner().invoke(main, ["upgrade", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


def test_net(tmp_path):
    old, new = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    old.write_text(V1)
    done = upgrade(old, new)
    assert "1 V1 layers became" in done.stderr
    assert "became an Input layer" in done.stderr
    assert f"wrote {new}" in done.stderr
    raw = read_text(new, caffe_pb2.NetParameter)
    assert [layer.type for layer in raw.message.layer] == ["Input", "Convolution"]
    assert not raw.message.layers
    assert not raw.message.input
    assert [field.name for field in raw.unknown] == ["fork_field"]
    assert "in today's form already" in upgrade(new, tmp_path / "again.prototxt").stderr
    assert (tmp_path / "again.prototxt").read_text() == new.read_text()


@pytest.mark.parametrize("name", ["legacy/imagenet_train", "legacy/lenet_test", "vgg/VGG_ILSVRC_16_layers_deploy"])
def test_published_nets_stay_the_same_net(tmp_path, name):
    old, new = shared_file(f"prototxt/{name}.prototxt"), tmp_path / "new.prototxt"
    upgrade(old, new)
    assert read_net(new).message == read_net(old).message
    assert build_graph(read_net(new)).outputs == build_graph(read_net(old)).outputs


def test_solver(tmp_path):
    old, new = tmp_path / "old.prototxt", tmp_path / "new.prototxt"
    old.write_text('net: "net.prototxt"\nbase_lr: 0.1\nsolver_type: NESTEROV\n')
    assert "solver_type became type" in upgrade(old, new).stderr
    message = read_text(new, caffe_pb2.SolverParameter).message
    assert message.type == "Nesterov"
    assert not message.HasField("solver_type")


@pytest.mark.parametrize("text", ['item { name: "cat" label: 1 }', "", 'name: "only"'])
def test_neither(tmp_path, text):
    old = tmp_path / "old.prototxt"
    old.write_text(text)
    assert "expected a net or a solver" in upgrade(old, tmp_path / "new.prototxt", status=1).stderr
    assert not (tmp_path / "new.prototxt").exists()


def v1_weights():
    """A V1 file with the four legacy sizes, as Caffe wrote it before 2014."""
    net = caffe_pb2.NetParameter(name="old")
    conv = net.layers.add(name="conv", type=caffe_pb2.V1LayerParameter.CONVOLUTION)
    conv.blobs.add(num=2, channels=1, height=3, width=2, data=range(12))
    conv.blobs.add(num=1, channels=1, height=1, width=2, data=[7, 8])
    fc = net.layers.add(name="fc", type=caffe_pb2.V1LayerParameter.INNER_PRODUCT)
    fc.blobs.add(num=1, channels=1, height=1, width=5, data=range(5))
    fc.blobs.add(num=1, channels=1, height=1, width=1, data=[9])
    return net.SerializeToString()


def test_weights(tmp_path):
    old, new = tmp_path / "old.caffemodel", tmp_path / "new.caffemodel"
    old.write_bytes(v1_weights())
    assert "4 blobs of four legacy sizes got today's shapes" in upgrade(old, new).stderr
    message = caffe_pb2.NetParameter()
    message.ParseFromString(new.read_bytes())
    assert not message.layers
    assert [(layer.name, layer.type) for layer in message.layer] == [("conv", "Convolution"), ("fc", "InnerProduct")]
    shapes = [[list(blob.shape.dim) for blob in layer.blobs] for layer in message.layer]
    assert shapes == [[[2, 1, 3, 2], [2]], [[1, 5], [1]]]
    assert list(message.layer[0].blobs[0].data) == list(range(12))
    assert not message.layer[0].blobs[0].HasField("num")


def test_published_weights(tmp_path):
    old = shared_file("models/lenet_v1/lenet_iter_10000.caffemodel")
    upgrade(old, tmp_path / "new.caffemodel")
    before, after = read_weights(old), read_weights(tmp_path / "new.caffemodel")
    named = {layer.name: layer.blobs for layer in after.layers}
    assert [blob.array.shape for blob in named["ip1"]] == [(500, 800), (500,)]
    for layer in before.layers:
        for one, other in zip(layer.blobs, named[layer.name], strict=True):
            np.testing.assert_array_equal(one.array.ravel(), other.array.ravel())
            assert not other.legacy


def test_what_cannot_be_read(tmp_path):
    assert "cannot be read" in upgrade(tmp_path / "gone", tmp_path / "new", status=1).stderr
    assert "directory" in upgrade(tmp_path, tmp_path / "new", status=1).stderr
    (tmp_path / "half.caffemodel").write_bytes(v1_weights()[:-3])
    assert "half.caffemodel" in upgrade(tmp_path / "half.caffemodel", tmp_path / "new", status=1).stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["old.prototxt", "link.prototxt"])
def test_what_is_read_is_not_written(tmp_path, name):
    old = tmp_path / "old.prototxt"
    old.write_text(V1)
    (tmp_path / "link.prototxt").symlink_to(old)
    assert "is an input of this command" in upgrade(old, tmp_path / name, status=2).stderr
    assert old.read_text() == V1
    weights = tmp_path / "old.caffemodel"
    weights.write_bytes(v1_weights())
    assert "write to another file" in upgrade(weights, weights, status=2).stderr
    assert weights.read_bytes() == v1_weights()
