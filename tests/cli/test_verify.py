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
    assert "reference.npz has an input 'data' of 2x3x6x6, not of 1x3x99x99" in other.output


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


@pytest.mark.parametrize("program", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [1, 3])
def test_another_batch_than_the_prototxt_states(folder, program, batch):
    """The other program's model is built for the input that is given."""
    np.save("x.npy", np.random.default_rng(0).uniform(-1, 1, (batch, 3, 6, 6)).astype(np.float32))
    result = verify("--against", program, "--input", "x.npy", "--json", "result.json")
    assert result.exit_code == 0, result.output
    assert "4 of 4 blobs compared, all equal" in result.output
    assert json.loads((folder / "result.json").read_text())["blobs"][0]["shape"] == [batch, 4, 4, 4]


@pytest.mark.parametrize("program", ["onnxruntime", "openvino", "opencv", "caffe"])
@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((1, 3, 2, 2), 'layer "conv" refuses it: a kernel that reaches over (3, 3) does not fit the bottom'),
        ((1, 2, 6, 6), 'layer "conv" refuses it: expected shape (4, 2, 3, 3) for blob 0 (weight), got (4, 3, 3, 3)'),
        ((1, 3, 8, 8), 'layer "fc" refuses it: expected shape (5, 36) for blob 0 (weight), got (5, 16)'),
        ((6, 6), 'layer "conv" refuses it: '),
    ],
)
def test_a_shape_that_the_net_does_not_take(folder, program, shape, why):
    """Whatever it is to be compared with, the net refuses it first: with the file, the blob and the layer."""
    np.save("x.npy", np.zeros(shape, np.float32))
    result = verify("--against", program, "--input", "x.npy")
    got = "x".join(map(str, shape))
    assert result.exit_code == 1
    first, hint = result.stderr.splitlines()
    assert (
        first == f"Error: x.npy: input 'data': expected 2x3x6x6, as the net states, or what its layers take; got {got}"
    )
    assert why in hint


def test_recorded_answers_to_a_shape_that_the_net_does_not_take(folder):
    with np.load("reference.npz") as arrays:
        np.savez("reference.npz", **{**arrays, "input/data": np.zeros((1, 3, 2, 2), np.float32)})
    result = verify("--against", "reference.npz")
    assert result.exit_code == 1
    assert "reference.npz: input 'data': expected 2x3x6x6" in result.stderr


def test_inputs_by_name(folder):
    values = np.ones((1, 3, 6, 6), np.float32)
    np.savez("x.npz", data=values)
    assert verify("--against", "onnxruntime", "--input", "x.npz").exit_code == 0
    other = verify("--against", "onnxruntime", "--input", "x.npz", "--input-shape", "data=2,3,6,6")
    assert other.exit_code == 2
    assert "--input-shape: x.npz has an input 'data' of 1x3x6x6, not of 2x3x6x6" in other.stderr
    np.savez("y.npz", dat=values)
    unknown = verify("--against", "onnxruntime", "--input", "y.npz")
    assert unknown.exit_code == 2
    assert "y.npz: the net has no input 'dat'; its inputs are data\n  did you mean" in unknown.stderr


TWO = """
input: "a" input_shape { dim: 2 dim: 3 } input: "b" input_shape { dim: 2 dim: 3 }
layer { name: "c" type: "DummyData" top: "c"
  dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "constant" value: 5 } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" bottom: "c" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 1 } } }
"""


@pytest.mark.parametrize("program", ["onnxruntime", "openvino", "caffe"])
def test_what_the_net_makes_itself_is_not_fed(folder, program):
    (folder / "net.prototxt").write_text(TWO)
    caffe.Net("net.prototxt", caffe.TEST).save("net.caffemodel")
    result = verify("--against", program)
    assert result.exit_code == 0, result.output
    assert "2 of 2 blobs compared, all equal" in result.output
    np.savez("x.npz", a=np.ones((2, 3), np.float32))
    missing = verify("--against", program, "--input", "x.npz")
    assert missing.exit_code == 2
    assert missing.stderr == "Error: x.npz: there is no array for input 'b'\n"


def test_what_the_other_program_refuses(folder, monkeypatch):
    """The error names the net, and no option that this command lacks."""
    import onnxruntime

    class Refusing(onnxruntime.InferenceSession):
        def run(self, *_):
            raise RuntimeError("no memory")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Refusing)
    result = verify("--against", "onnxruntime")
    assert result.exit_code == 1
    told = "net.prototxt: ONNX Runtime refuses the model: no memory\n  compare with another program: see --against\n"
    assert result.stderr == f"Error: {told}"


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
