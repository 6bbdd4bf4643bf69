"""Exports: what other programs read from the files is what the net has."""

from __future__ import annotations

import hashlib
import json
import threading

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, UsageError
from caffecompat.export import SUFFIXES, export, settling
from caffecompat.export.suffixes import suffix_of
from caffecompat.formats import read_net
from caffecompat.schema import caffe_pb2
from tests.support import make_net

NET = """
name: "small"
input: "data"
input_dim: 2 input_dim: 3 input_dim: 9 input_dim: 8
layer {
  name: "conv.1" type: "Convolution" bottom: "data" top: "conv"
  param { name: "w" } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.1 } }
}
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" include { phase: TEST } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "again" type: "Convolution" bottom: "data" top: "again"
  param { name: "w" }
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false weight_filler { type: "xavier" } }
}
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "again" top: "sum" }
layer {
  name: "fc" type: "InnerProduct" bottom: "sum" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } }
}
"""  # noqa: E501
RECORD = Preprocessing(channels="rgb", mean=(1.5, 2.0, 3.0), scale=0.5, labels=("cat", "dog"))


@pytest.fixture
def prototxt(tmp_path):
    path = tmp_path / "small.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def net(prototxt):
    torch.manual_seed(3)
    made = caffecompat.load(prototxt)
    made.layer("bn").set_blob(0, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    made.layer("bn").set_blob(1, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    made.layer("bn").set_blob(2, torch.tensor([2.0]))
    return made


@pytest.fixture
def data():
    return torch.from_numpy(np.random.default_rng(5).standard_normal((2, 3, 9, 8)).astype(np.float32))


def result(net, data):
    with torch.no_grad():
        return net(data=data)["fc"]


def test_safetensors(net, tmp_path, prototxt):
    path = tmp_path / "net.safetensors"
    assert export(net, path, preprocessing=RECORD, sources=[prototxt]) == [path]
    loaded = safetensors.torch.load_file(path)
    state = net.state_dict()
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["aliases"]) == {"again.weight": "conv_1.weight"}
    assert set(loaded) == set(state) - {"again.weight"}
    for key, tensor in loaded.items():
        assert torch.equal(tensor, state[key])
    assert Preprocessing.from_json(metadata["preprocessing"]) == RECORD
    assert json.loads(metadata["sources"]) == {"small.prototxt": hashlib.sha256(NET.encode()).hexdigest()}
    assert metadata["caffecompat_version"] == caffecompat.__version__


def test_safetensors_without_alignment(prototxt, tmp_path):
    """Weights mapped from a file, whose values lie at odd addresses."""
    made = caffecompat.load(prototxt)
    export(made, tmp_path / "net.caffemodel")
    mapped = caffecompat.load(prototxt, tmp_path / "net.caffemodel")
    export(mapped, tmp_path / "net.safetensors")
    loaded = safetensors.torch.load_file(tmp_path / "net.safetensors")
    assert torch.equal(loaded["fc.weight"], made.state_dict()["fc.weight"])


def test_state_dict(net, tmp_path, prototxt, data):
    path = tmp_path / "net.pt"
    export(net, path, preprocessing=RECORD)
    state = torch.load(path, weights_only=True)
    assert Preprocessing.from_json(state._metadata["caffecompat"]["preprocessing"]) == RECORD
    other = caffecompat.load(prototxt)
    assert not torch.equal(result(other, data), result(net, data))
    other.load_state_dict(state)
    assert torch.equal(result(other, data), result(net, data))
    assert "caffecompat" not in getattr(net.state_dict(), "_metadata", {})


def test_caffemodel(net, tmp_path):
    path = tmp_path / "net.caffemodel"
    beside = tmp_path / "net.preprocessing.json"
    assert export(net, path, preprocessing=RECORD) == [path, beside]
    assert Preprocessing.from_json(beside.read_text()) == RECORD
    message = caffe_pb2.NetParameter()
    message.ParseFromString(path.read_bytes())
    assert message.name == "small"
    assert not message.layers
    assert not message.input
    layer = {layer.name: layer for layer in message.layer}
    assert [layer.type for layer in message.layer][:3] == ["Input", "Convolution", "BatchNorm"]
    weight = layer["conv.1"].blobs[0]
    assert list(weight.shape.dim) == [4, 3, 3, 3]
    np.testing.assert_array_equal(np.float32(weight.data), net.state_dict()["conv_1.weight"].numpy().ravel())
    assert list(layer["bn"].blobs[2].data) == [2.0]
    assert len(layer["again"].blobs) == 1


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_round_trip(net, tmp_path, data, suffix):
    if suffix.endswith("h5"):
        pytest.importorskip("h5py")
    weights = tmp_path / f"net{suffix}"
    export(net, weights)
    export(net, tmp_path / "net.prototxt", preprocessing=RECORD)
    again = caffecompat.load(tmp_path / "net.prototxt", weights)
    assert again.filled == ()
    assert torch.equal(result(again, data), result(net, data))


def test_prototxt(net, tmp_path):
    path = tmp_path / "net.prototxt"
    export(net, path, preprocessing=RECORD)
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("# preprocessing: "))
    assert Preprocessing.from_json(line.partition(": ")[2]) == RECORD
    message = read_net(path).message
    assert [list(shape.dim) for shape in message.layer[0].input_param.shape] == [[2, 3, 9, 8]]
    assert not any(layer.include for layer in message.layer)
    assert message.layer[1].param[0].name == "w"


def test_prototxt_has_the_shapes_that_were_given(prototxt, tmp_path):
    path = tmp_path / "wide.prototxt"
    export(caffecompat.load(prototxt, input_shapes={"data": (1, 3, 20, 30)}), path)
    assert list(read_net(path).message.layer[0].input_param.shape[0].dim) == [1, 3, 20, 30]


@pytest.mark.parametrize("name", ["net", "net.tflite", ".pt2", "net.h5"])
def test_unknown_suffix(net, tmp_path, name):
    with pytest.raises(UsageError, match="no format") as caught:
        export(net, tmp_path / name)
    assert all(suffix in caught.value.hint for suffix in SUFFIXES)


def test_suffix_is_the_longest(tmp_path):
    assert suffix_of(tmp_path / "a.b.caffemodel.h5") == ".caffemodel.h5"
    assert suffix_of(tmp_path / "A.PT2") == ".pt2"


def test_embedding_needs_a_graph(net, tmp_path):
    with pytest.raises(UsageError, match="embedded in .pt2 only"):
        export(net, tmp_path / "net.pt", embed_preprocessing=True)
    assert not (tmp_path / "net.pt").exists()


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix not in (".pt2", ".caffemodel.h5")])
def test_folder_that_does_not_exist(net, tmp_path, suffix):
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        export(net, tmp_path / "no" / f"net{suffix}")


def test_source_that_cannot_be_read(net, tmp_path):
    target = tmp_path / "net.pt"
    with pytest.raises(CaffeCompatError, match="cannot read"):
        export(net, target, sources=[tmp_path / "gone.caffemodel"])
    assert not target.exists()


def test_a_copy_of_a_training_net_does_not_copy_what_reads_its_data(monkeypatch):
    """Nets on a GPU are copied for their export; threads and open databases cannot be."""
    net = make_net('layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 1 dim: 2 } } }')
    net.layers[0].reader = threading.Lock()
    monkeypatch.setattr(settling, "place_of", lambda net: torch.device("cuda"))
    assert settling.on_cpu(net).layers[0].reader is None
    assert net.layers[0].reader is not None
