"""`caffecompat verify`: what departs is named, and pipelines can tell it."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main
from caffecompat.verify.reference import read_reference

RECORDER = Path(__file__).resolve().parents[2] / "converters" / "record_reference.py"
NET = """
input: "data" input_shape { dim: 2 dim: 3 dim: 6 dim: 6 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A net, its weights, and what the recorder makes of them; the drop-in stands for an old Caffe."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    caffe.Net("net.prototxt", caffe.TEST).save("net.caffemodel")
    monkeypatch.setitem(__import__("sys").modules, "caffe", caffe)
    record = runpy.run_path(str(RECORDER))["record"]
    record("net.prototxt", "net.caffemodel", "reference.npz")
    return tmp_path


def verify(*options: str):
    return CliRunner().invoke(main, ["verify", "net.prototxt", "--weights", "net.caffemodel", *options])


def changed(blob: str, change) -> None:
    """Change what was recorded of a blob."""
    with np.load("reference.npz") as arrays:
        kept = dict(arrays)
    kept[f"blob/{blob}"] = change(kept[f"blob/{blob}"])
    np.savez("reference.npz", **kept)


def test_the_recorder(folder):
    reference = read_reference("reference.npz")
    assert list(reference.inputs) == ["data"]
    assert list(reference.blobs) == ["conv", "pool", "fc", "prob"]
    assert reference.blobs["conv"].min() == 0


def test_the_shape_may_be_said_again(folder):
    shape = "x".join(map(str, read_reference("reference.npz").inputs["data"].shape)).replace("x", ",")
    result = verify("--against", "reference.npz", "--input-shape", f"data={shape}")
    assert result.exit_code == 0, result.output
    other = verify("--against", "reference.npz", "--input-shape", "data=1,3,99,99")
    assert other.exit_code == 2
    assert "the recorded answers are to an input 'data' of" in other.output


def test_equal(folder):
    result = verify("--against", "reference.npz", "--json", "result.json", "--junit", "result.xml")
    assert result.exit_code == 0, result.output
    assert "4 of 4 blobs compared, all equal" in result.output
    for name in ("result.json", "result.xml"):
        assert f"wrote {name} ({(folder / name).stat().st_size:,} bytes)" in result.stderr
    content = json.loads((folder / "result.json").read_text())
    assert content["equal"] is True
    assert [(blob["layer"], blob["blob"]) for blob in content["blobs"]] == [
        ("relu", "conv"),
        ("pool", "pool"),
        ("fc", "fc"),
        ("prob", "prob"),
    ]
    suite = ElementTree.parse(folder / "result.xml").getroot()
    assert suite.attrib["tests"] == "4"
    assert suite.attrib["failures"] == "0"


def test_the_first_that_departs(folder):
    changed("pool", lambda values: values + 1e-3 * np.abs(values).max())
    changed("prob", lambda values: 1 - values)
    result = verify("--against", "reference.npz", "--json", "result.json", "--junit", "result.xml")
    assert result.exit_code == 3
    assert 'the first that departs, of layer "pool": blob "pool" differs by' in result.output
    marked = [line.split()[2] for line in result.output.splitlines() if line.startswith("!")]
    assert marked == ["pool", "prob"]
    assert json.loads((folder / "result.json").read_text())["first_departing"] == {"layer": "pool", "blob": "pool"}
    failures = ElementTree.parse(folder / "result.xml").findall(".//failure")
    assert len(failures) == 2
    assert verify("--against", "reference.npz", "--tolerance", "0.01").exit_code == 3
    changed("prob", lambda values: 1 - values)
    assert verify("--against", "reference.npz", "--tolerance", "0.01").exit_code == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_departs(folder, value):
    changed("fc", lambda values: np.where(np.arange(5) == 2, np.float32(value), values))
    result = verify("--against", "reference.npz")
    assert result.exit_code == 3
    assert 'layer "fc"' in result.output


def test_another_shape_departs(folder):
    changed("fc", lambda values: values[:, :4])
    result = verify("--against", "reference.npz")
    assert result.exit_code == 3
    assert 'blob "fc" has shape 2x5, and 2x4 there' in result.output


def test_what_the_other_lacks_is_marked(folder):
    with np.load("reference.npz") as arrays:
        np.savez("reference.npz", **{name: array for name, array in arrays.items() if name != "blob/pool"})
    result = verify("--against", "reference.npz")
    assert result.exit_code == 0
    assert "3 of 4 blobs compared, all equal" in result.output
    assert [line.split()[2] for line in result.output.splitlines() if line.startswith("?")] == ["pool"]


def test_against_caffe(folder):
    result = verify("--against", "caffe")
    assert result.exit_code == 0, result.output
    np.save("x.npy", np.ones((2, 3, 6, 6), np.float32))
    assert verify("--against", "caffe", "--input", "x.npy").exit_code == 0


@pytest.mark.parametrize("program", ["onnxruntime", "openvino"])
def test_against_programs_that_read_onnx(folder, program):
    result = verify("--against", program)
    assert result.exit_code == 0, result.output
    assert "4 of 4 blobs compared, all equal" in result.output


def test_refusals(folder, monkeypatch):
    assert verify("--against", "torch").exit_code == 2
    assert verify("--against", "reference.npz", "--input", "x.npy").exit_code == 2
    assert CliRunner().invoke(main, ["verify", "net.prototxt", "--against", "reference.npz"]).exit_code == 2
    Path("broken.npz").write_bytes(Path("reference.npz").read_bytes()[:300])
    result = verify("--against", "broken.npz")
    assert result.exit_code == 1
    assert "broken.npz: not a .npy or .npz file of numbers" in result.output
    np.savez("other.npz", x=np.zeros(3))
    assert "expected arrays called input/NAME and blob/NAME" in verify("--against", "other.npz").output
    np.savez("pickled.npz", **{"input/data": np.array([{}], object)})
    assert verify("--against", "pickled.npz").exit_code == 1
    monkeypatch.setitem(__import__("sys").modules, "caffe", None)
    result = verify("--against", "caffe")
    assert result.exit_code == 1
    assert "there is no caffe to compare with" in result.output


def test_a_reference_that_is_not_there(folder):
    result = verify("--against", "refrence.npz")
    assert result.exit_code == 1
    assert result.stderr == 'Error: refrence.npz: there is no such file\n  did you mean "reference.npz"?\n'
