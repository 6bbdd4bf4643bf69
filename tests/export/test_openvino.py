"""OpenVINO files: names, texts, sizes that vary, detections, and that nothing is reported to anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.export import export
from caffecompat.export.onnx import registry
from caffecompat.export.onnx.registry import Emitter, Precision
from caffecompat.export.openvino.runtime import Session, load_openvino
from caffecompat.layers.neurons import ReLU
from tests.export.onnx_cases import assert_same, run_net
from tests.export.test_onnx import NET, values
from tests.export.test_pt2 import detector
from tests.support import make_net, shared_file


@pytest.fixture
def net():
    torch.manual_seed(3)
    return make_net(NET)


def test_names_and_texts(net, tmp_path):
    record = Preprocessing(channels="rgb", mean=(1.5, 2.0, 3.0), scale=0.5, labels=('a "<&>\n', "dog"))
    (tmp_path / "w").write_text("weights")
    told = []
    path = tmp_path / "net.xml"
    made = export(net, path, preprocessing=record, license="BSD", sources=[tmp_path / "w"], tell=told.append)
    assert made == [path, tmp_path / "net.bin"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.bin", "net.xml", "w"]
    assert [text.partition(" differs by ")[0] for text in told] == ["in OpenVINO pool"]
    model = load_openvino().Core().read_model(str(path))
    texts = {name: model.get_rt_info(["caffecompat", name]).value for name in ("preprocessing", "sources", "license")}
    assert Preprocessing.from_json(texts["preprocessing"]) == record
    assert list(json.loads(texts["sources"])) == ["w"]
    assert texts["license"] == "BSD"
    assert [value.get_names() for value in (*model.inputs, *model.outputs)] == [{"data"}, {"pool"}]
    assert {"conv/1", "relu", "again", "sum"} <= {node.get_friendly_name() for node in model.get_ops()}
    assert str(tmp_path).encode() not in path.read_bytes()


def test_sizes_that_vary(tmp_path):
    net = make_net(NET.replace("dim: 9 dim: 8", "dim: 19 dim: 18"))
    path = tmp_path / "net.xml"
    for options, shape in (({}, (3, 3, 19, 18)), ({"dynamic_size": True}, (1, 3, 20, 13))):
        export(net, path, **options)
        data = {"data": values(*shape)}
        assert_same(Session(path).run(data), run_net(net, data))
    export(net, path, dynamic_batch=False)
    with pytest.raises(CaffeCompatError, match="OpenVINO cannot run the model"):
        Session(path).run({"data": values(3, 3, 19, 18)})


def test_float16_weights(tmp_path):
    torch.manual_seed(3)
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 300 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" '
        'inner_product_param { num_output: 200 weight_filler { type: "xavier" } } }'
    )
    net = make_net(text)
    sizes = {}
    for half in (False, True):
        export(net, tmp_path / "net.xml", half=half)
        sizes[half] = (tmp_path / "net.bin").stat().st_size
    assert sizes[True] < 0.6 * sizes[False]
    data = {"x": values(2, 300)}
    assert_same(Session(tmp_path / "net.xml").run(data), run_net(net, data), 1e-3)


def test_a_model_that_is_not_the_net_is_not_written(net, tmp_path, monkeypatch):
    path = tmp_path / "net.xml"
    path.write_text("old")
    registry.emitters()
    wrong = Emitter(lambda layer, at: at.op("Abs", at.bottoms[0]), Precision.HALF)
    monkeypatch.setitem(registry._EMITTERS, ReLU, wrong)
    with pytest.raises(CaffeCompatError, match="the model is not the net: blob 'pool' differs by .* in OpenVINO 20"):
        export(net, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["net.xml"]
    export(net, path, verify=False)
    assert (tmp_path / "net.bin").exists()


@pytest.mark.parametrize("missing", ["openvino", "onnx"])
def test_without_a_package(net, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UnsupportedError, match=f"package {missing}, which is not installed") as caught:
        export(net, tmp_path / "net.xml")
    assert "caffecompat[openvino]" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_detections(tmp_path):
    """Row for row, among them equal scores: the rows keep the order of the prior boxes."""
    net = detector()
    for layer in net.layers:
        if layer.spec.name == "conf":
            layer.weight.data.zero_()
            layer.bias.data.copy_(torch.tensor([0.0, 2.0, 1.0]).repeat(3))
    export(net, tmp_path / "net.xml")
    data = {"data": values(2, 3, 12, 16)}
    found, wanted = Session(tmp_path / "net.xml").run(data), run_net(net, data)
    assert wanted["out"].shape[2] == 14
    assert len(set(wanted["out"][0, 0, :, 2].tolist())) == 1
    assert_same(found, wanted)


def test_a_real_detector(tmp_path):
    folder = shared_file("models/wechat_detect")
    net = caffecompat.load(
        folder / "detect.prototxt", folder / "detect.caffemodel", input_shapes={"data": (1, 1, 96, 128)}
    )
    export(net, tmp_path / "net.xml")
    data = {"data": np.random.default_rng(0).random((2, 1, 96, 128), np.float32)}
    assert_same(Session(tmp_path / "net.xml").run(data), run_net(net, data), 1e-4)


def test_nothing_is_reported(tmp_path):
    """Neither by a connection nor by the number that openvino leaves in the home directory for it."""
    code = """
import sys, socket
def refuse(*arguments, **keywords):
    print("a connection was tried", file=sys.stderr)
    raise OSError
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from caffecompat.export.openvino.runtime import load_openvino
load_openvino().Core()
assert "openvino_telemetry" not in sys.modules
"""
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    environment.pop("CI", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())
