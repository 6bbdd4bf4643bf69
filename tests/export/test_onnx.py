"""ONNX files: names, metadata, sizes that vary, and what is refused; layers are tested beside this."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UnsupportedError, UsageError
from caffecompat.export import export
from caffecompat.export.onnx import registry
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from caffecompat.export.onnx.registry import Emitter, Precision
from caffecompat.layers.neurons import ReLU
from tests.export.onnx_cases import assert_same, run_model, run_net
from tests.support import make_net

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer {
  name: "conv/1" type: "Convolution" bottom: "data" top: "conv" param { name: "w" }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.1 } }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer {
  name: "again" type: "Convolution" bottom: "data" top: "again" param { name: "w" }
  convolution_param { num_output: 4 kernel_size: 3 bias_term: false weight_filler { type: "xavier" } }
}
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "again" top: "sum" }
layer { name: "pool" type: "Pooling" bottom: "sum" top: "pool" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
"""  # noqa: E501
FC = """
layer {
  name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.1 } }
}
"""
RECORD = Preprocessing(channels="rgb", mean=(1.5, 2.0, 3.0), scale=0.5, labels=("cat", "dog"))


@pytest.fixture
def net():
    torch.manual_seed(3)
    return make_net(NET)


def values(*shape):
    return np.random.default_rng(5).standard_normal(shape, np.float32)


def sizes(value):
    return [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]


def test_names(net, tmp_path):
    export(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    graph = model.graph
    assert graph.name == "small"
    assert {node.domain for node in graph.node} == {""}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert [node.name for node in graph.node] == ["conv/1", "relu", "drop", "again", "sum", "pool"]
    assert [node.output[0] for node in graph.node] == ["conv@0", "conv@1", "conv", "again", "sum", "pool"]
    # A shared parameter is there once, under its owner's name.
    assert {tensor.name for tensor in graph.initializer} == {"conv/1.weight", "conv/1.bias"}
    assert [value.name for value in (*graph.input, *graph.output)] == ["data", "pool"]


def test_sizes_that_vary(net, tmp_path):
    data = {"data": values(3, 3, 9, 8)}
    export(net, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [sizes(graph.input[0]), sizes(graph.output[0])] == [["batch", 3, 9, 8], ["batch", 4, 3, 3]]
    assert_same(run_model(tmp_path / "net.onnx", data), run_net(net, data))
    export(net, tmp_path / "net.onnx", dynamic_batch=False)
    assert sizes(onnx.load(tmp_path / "net.onnx").graph.input[0]) == [2, 3, 9, 8]
    export(net, tmp_path / "net.onnx", dynamic_size=True)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert sizes(graph.input[0]) == ["batch", 3, "height", "width"]
    assert sizes(graph.output[0])[:2] == ["batch", 4]
    data = {"data": values(1, 3, 20, 13)}
    assert_same(run_model(tmp_path / "net.onnx", data), run_net(net, data))


def test_a_layer_that_fixes_the_size(tmp_path):
    net = make_net(NET + FC)
    with pytest.raises(UnsupportedError, match="the net fixes the size of its input: expected 36 values") as caught:
        export(net, tmp_path / "net.onnx", dynamic_size=True)
    assert (caught.value.layer, caught.value.line) == ("fc", 17)
    assert "dynamic_size" in caught.value.hint
    with pytest.raises(UsageError, match="no input of pictures"):
        export(make_net(
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
            'layer { name: "y" type: "TanH" bottom: "x" top: "y" }'
        ), tmp_path / "net.onnx", dynamic_size=True)  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_net_that_fixes_the_number_of_images(tmp_path):
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "y" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 2 dim: 3 dim: 2 } } }'
    )
    with pytest.warns(CaffeCompatWarning, match="fixes the number of images: it takes 2"):
        export(net, tmp_path / "net.onnx")
    assert sizes(onnx.load(tmp_path / "net.onnx").graph.input[0]) == [2, 6]


def test_metadata(net, tmp_path):
    source = tmp_path / "small.prototxt"
    source.write_text(NET)
    told = []
    files = export(net, tmp_path / "net.onnx", preprocessing=RECORD, sources=[source], license="BSD", tell=told.append)
    assert files == [tmp_path / "net.onnx"]
    model = onnx.load(tmp_path / "net.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert Preprocessing.from_json(metadata["preprocessing"]) == RECORD
    assert json.loads(metadata["sources"]) == {"small.prototxt": hashlib.sha256(NET.encode()).hexdigest()}
    assert (metadata["license"], metadata["caffecompat_version"]) == ("BSD", caffecompat.__version__)
    assert model.producer_name == "caffecompat"
    assert [text.partition(" differs by ")[0].split()[-1] for text in told] == ["pool"]
    assert str(tmp_path).encode() not in (tmp_path / "net.onnx").read_bytes()


def test_an_input_that_is_changed_in_place_keeps_its_name(tmp_path):
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "a" type: "TanH" bottom: "x" top: "x" }'
        'layer { name: "b" type: "ReLU" bottom: "x" top: "y" }'
    )
    export(net, tmp_path / "net.onnx")
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [value.name for value in graph.input] == ["x"]
    assert [node.output[0] for node in graph.node] == ["x@1", "y"]


def test_float16(net, tmp_path):
    export(net, tmp_path / "net.onnx", half=True)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert {tensor.data_type for tensor in graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}
    assert [value.name for value in (*graph.input, *graph.output)] == ["data", "pool"]
    data = {"data": values(1, 3, 9, 8)}
    assert_same(run_model(tmp_path / "net.onnx", data), run_net(net, data), 5e-3)
    net.layer("conv/1").bias.data[2] = 1e5
    with pytest.raises(UnsupportedError, match="bias has a value of 100000, float16 holds at most 65504") as caught:
        export(net, tmp_path / "net.onnx", half=True)
    assert caught.value.layer == "conv/1"


def test_weights_in_a_file_of_their_own(tmp_path):
    net = make_net(NET + FC)
    options = OnnxOptions(max_bytes=100)
    files = export_onnx(net, tmp_path / "net.onnx", options, {}).files
    assert files == [tmp_path / "net.onnx", tmp_path / "net.onnx.data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    data = {"data": values(1, 3, 9, 8)}
    assert_same(run_model(tmp_path / "net.onnx", data), run_net(net, data))
    weight = next(t for t in onnx.load(tmp_path / "net.onnx").graph.initializer if t.name == "conv/1.weight")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), net.layer("conv/1").weight.detach().numpy())


def test_a_model_that_is_not_the_net_is_not_written(net, tmp_path, monkeypatch):
    target = tmp_path / "net.onnx"
    target.write_text("old")
    registry.emitters()
    wrong = Emitter(lambda layer, at: at.op("Abs", at.bottoms[0]), Precision.HALF)
    monkeypatch.setitem(registry._EMITTERS, ReLU, wrong)
    with pytest.raises(CaffeCompatError, match=r"the model is not the net: blob 'pool' differs by .* is allowed"):
        export(net, target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    export(net, target, verify=False)
    assert onnx.load(target).graph.node[1].op_type == "Abs"


def test_without_onnxruntime(net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.warns(CaffeCompatWarning, match="not verified: onnxruntime is not installed"):
        export(net, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").exists()


def test_without_onnx(net, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match="onnx, which is not installed") as caught:
        export(net, tmp_path / "net.onnx")
    assert "caffecompat[onnx]" in caught.value.hint


@pytest.mark.parametrize("opset", [16, 1000])
def test_an_opset_that_is_not_there(net, tmp_path, opset):
    with pytest.raises(UsageError, match=f"opset must be 17 to .*, got {opset}"):
        export(net, tmp_path / "net.onnx", opset=opset)


@pytest.mark.parametrize("options", [{"opset": 18}, {"half": True}, {"verify": False}, {"dynamic_size": True}])
def test_options_of_other_formats(net, tmp_path, options):
    with pytest.raises(UsageError, match=r"can be chosen for \.onnx(, \.\w+)*( and \.\w+)? only, not for \.pt2"):
        export(net, tmp_path / "net.pt2", **options)


def test_a_net_without_an_output(tmp_path):
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "s" type: "Silence" bottom: "x" }'
    )
    with pytest.raises(UnsupportedError, match="no output"):
        export(net, tmp_path / "net.onnx")


def test_dummy_data(tmp_path):
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 } FILLER } }'
        'layer { name: "y" type: "Eltwise" bottom: "x" bottom: "d" top: "y" }'
    )
    net = make_net(text.replace("FILLER", 'data_filler { type: "constant" value: 3 }'))
    with pytest.warns(CaffeCompatWarning, match="fixes the number of images"):
        export(net, tmp_path / "net.onnx")
    data = {"x": values(2, 3)}
    np.testing.assert_allclose(run_model(tmp_path / "net.onnx", data)["y"], data["x"] + 3, rtol=1e-6)
    net = make_net(text.replace("FILLER", 'data_filler { type: "gaussian" }'))
    with pytest.raises(UnsupportedError, match="draws its values"):
        export(net, tmp_path / "net.onnx")
