"""convert: prototxts of every purpose to files of every format, and what it says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import caffecompat
from caffecompat.cli.main import main
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.formats import read_net, read_weights
from tests.support import shared_file

TRAIN_VAL = """
name: "tiny"
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 12 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "gone_lmdb" batch_size: 32 backend: LMDB }
}
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 12 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "gone_lmdb" batch_size: 8 backend: LMDB }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } }
}
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train_val.prototxt").write_text(TRAIN_VAL)
    return tmp_path


def convert(*arguments, status=0):
    done = CliRunner().invoke(main, ["convert", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


def test_train_val(folder):
    torch.manual_seed(1)
    done = convert("train_val.prototxt", "-o", "net.caffemodel")
    for text in (
        '"accuracy" dropped out',
        'Softmax: output "prob"',
        '"data" (Data) became input "data"',
        '"label" is not',
    ):
        assert text in done.stderr
    assert "no weights: the parameters came from the net's fillers" in done.stderr
    assert "input  data  1x3x12x12" in done.stdout
    assert "output prob  1x5" in done.stdout
    assert f"wrote net.caffemodel ({(folder / 'net.caffemodel').stat().st_size:,} bytes)" in done.stderr
    record = Preprocessing.from_json((folder / "net.preprocessing.json").read_text())
    assert (record.mean, record.net_size, record.channels) == ((104.0, 117.0, 123.0), (12, 12), "bgr")


def test_every_format_computes_the_same(folder):
    torch.manual_seed(1)
    convert("train_val.prototxt", "-o", "net.caffemodel")
    convert("train_val.prototxt", "-o", "net.prototxt")
    net = caffecompat.load("net.prototxt", "net.caffemodel")
    data = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32))
    with torch.no_grad():
        expected = net(data=data)["prob"]
    for name in ("net.pt", "net.safetensors"):
        convert("train_val.prototxt", "-w", "net.caffemodel", "-o", name)
    net.load_state_dict(torch.load("net.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(net(data=data)["prob"], expected)


def test_default_output_is_a_program(folder):
    done = convert("train_val.prototxt")
    assert "wrote train_val.pt2" in done.stderr
    program = torch.export.load(folder / "train_val.pt2").module()
    assert program(data=torch.zeros(1, 3, 12, 12))["prob"].shape == (1, 5)


def test_embedded_preprocessing(folder):
    convert("train_val.prototxt", "-o", "plain.caffemodel")
    convert("train_val.prototxt", "-o", "plain.prototxt")
    convert("train_val.prototxt", "-w", "plain.caffemodel", "-o", "net.pt2", "--embed-preprocessing", "--scale", "0.5")
    extra = {"preprocessing": "", "preprocessing_embedded": ""}
    program = torch.export.load(folder / "net.pt2", extra_files=extra).module()
    assert json.loads(extra["preprocessing_embedded"]) is True
    assert Preprocessing.from_json(extra["preprocessing"]).scale == 0.5
    rgb = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3), dtype=np.uint8)
    bgr = rgb[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    data = (bgr - np.float32([104, 117, 123]).reshape(1, 3, 1, 1)) * np.float32(0.5)
    with torch.no_grad():
        expected = caffecompat.load("plain.prototxt", "plain.caffemodel")(data=torch.from_numpy(data))["prob"]
        torch.testing.assert_close(program(data=torch.from_numpy(rgb))["prob"], expected)


def test_input_shape(folder):
    assert "input  data  1x3x20x30" in convert("train_val.prototxt", "-o", "a.pt", "--input-shape", "1,3,20,30").stdout
    assert "input  data  2x3x9x9" in convert("train_val.prototxt", "-o", "a.pt", "--input-shape", "data=2,3,9,9").stdout
    assert "inputs are: data" in convert("train_val.prototxt", "--input-shape", "dat=2,3,9,9", status=2).stderr
    assert "not a shape" in convert("train_val.prototxt", "--input-shape", "3xthree", status=2).stderr
    assert "not a shape" in convert("train_val.prototxt", "--input-shape", "1,-3,5,5", status=2).stderr
    assert "not a shape" in convert("train_val.prototxt", "--input-shape", "9" * 5000, status=2).stderr


def test_size_that_is_stated_nowhere(folder):
    (folder / "open.prototxt").write_text(TRAIN_VAL.replace("crop_size: 12", ""))
    done = convert("open.prototxt", status=1)
    assert 'open.prototxt:8:1: layer "data"' in done.stderr
    assert "--input-shape data=1,3,H,W" in done.stderr


def test_phase_of_a_training_file(folder):
    """SSD's training prototxts have a data layer for TRAIN only."""
    text = (
        TRAIN_VAL[: TRAIN_VAL.index('layer {\n  name: "data"', 30)]
        + TRAIN_VAL[TRAIN_VAL.index('layer {\n  name: "conv"') :]
    )
    (folder / "train.prototxt").write_text(text)
    done = convert("train.prototxt", "-o", "net.prototxt")
    assert "in phase TRAIN only: that phase was taken" in done.stderr
    assert not any(layer.include for layer in read_net("net.prototxt").message.layer)
    assert "unknown bottom" in convert("train.prototxt", "--phase", "TEST", status=1).stderr


def test_weights_of_another_net(folder):
    """Not one layer by the same name: the result would be the fillers' alone."""
    convert("train_val.prototxt", "-o", "net.caffemodel")
    renamed = TRAIN_VAL.replace('name: "fc"', 'name: "fc_new"').replace('name: "conv"', 'name: "conv_new"')
    (folder / "other.prototxt").write_text(renamed)
    done = convert("other.prototxt", "-w", "net.caffemodel", "-o", "other.pt", status=1)
    assert "net.caffemodel: expected weights of the net's layers, such as 'conv_new'" in done.stderr
    assert "such as 'conv'\n  are they of another net?" in done.stderr
    assert not (folder / "other.pt").exists()


def test_weights_that_are_missing_or_left_over(folder):
    convert("train_val.prototxt", "-o", "net.caffemodel")
    (folder / "other.prototxt").write_text(TRAIN_VAL.replace('name: "fc"', 'name: "fc_new"'))
    done = convert("other.prototxt", "-w", "net.caffemodel", "-o", "other.pt")
    assert "not in net.caffemodel, left to their fillers: fc_new" in done.stderr
    assert "in net.caffemodel, but not in the net: fc\n" in done.stderr


def test_unknown_field(folder):
    (folder / "fork.prototxt").write_text(TRAIN_VAL.replace("kernel_size: 3", "kernel_size: 3 hint: 7"))
    assert "--ignore-field hint" in convert("fork.prototxt", status=1).stderr
    done = convert("fork.prototxt", "--ignore-field", "hint", "-o", "net.prototxt")
    assert "hint" in done.stderr
    assert "hint: 7" in (folder / "net.prototxt").read_text()


def test_recipe(folder):
    done = convert("train_val.prototxt", "-o", "net.caffemodel", "--recipe", "fc_to_conv", "--set", "suffix=_map")
    assert "changed by the recipe fc_to_conv" in done.stderr
    assert "output prob  1x5x1x1" in done.stdout
    assert "fc_map" in [layer.name for layer in read_weights("net.caffemodel").layers]
    convert("train_val.prototxt", "-o", "net.prototxt", "--recipe", "bgr_to_rgb")
    (line,) = (
        line for line in (folder / "net.prototxt").read_text().splitlines() if line.startswith("# preprocessing:")
    )
    record = Preprocessing.from_json(line.partition(": ")[2])
    assert (record.channels, record.mean) == ("rgb", (123.0, 117.0, 104.0))
    assert "no recipe 'fc'" in convert("train_val.prototxt", "--recipe", "fc", status=2).stderr
    assert "give --recipe" in convert("train_val.prototxt", "--set", "a=b", status=2).stderr
    assert "NAME=VALUE" in convert("train_val.prototxt", "--recipe", "fc_to_conv", "--set", "a", status=2).stderr


def test_onnx(folder):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(1)
    done = convert("train_val.prototxt", "-o", "net.onnx", "--half", "--opset", "18", "--fixed-batch")
    assert "in ONNX Runtime fc differs by " in done.stderr
    assert "wrote net.onnx" in done.stderr
    told = convert("train_val.prototxt", "-o", "a.onnx", "--dynamic-size", status=1).stderr
    assert "fixes the size of its input" in told
    assert "--recipe fc_to_conv" in told
    assert not (folder / "a.onnx").exists()
    convert("train_val.prototxt", "-o", "a.onnx", "--dynamic-size", "--recipe", "fc_to_conv", "--no-verify")
    assert (folder / "a.onnx").exists()
    assert "opset must be 17 to" in convert("train_val.prototxt", "-o", "a.onnx", "--opset", "9", status=2).stderr
    message = convert("not_even_read.prototxt", "-o", "a.pt", "--half", status=2).stderr
    assert "half can be chosen for .onnx and .xml only, not for .pt" in message


def test_an_input_is_not_overwritten(folder):
    convert("train_val.prototxt", "-o", "net.caffemodel")
    before = (folder / "net.caffemodel").read_bytes()
    assert (
        "is an input" in convert("train_val.prototxt", "-w", "net.caffemodel", "-o", "net.caffemodel", status=2).stderr
    )
    assert "is an input" in convert("train_val.prototxt", "-o", "./train_val.prototxt", status=2).stderr
    assert (folder / "net.caffemodel").read_bytes() == before


def test_wrong_usage(folder):
    assert "no format" in convert("train_val.prototxt", "-o", "net.tflite", status=2).stderr
    embedding = ("-o", "a.pt", "--embed-preprocessing")
    assert "embedded in .pt2 only" in convert("not_even_read.prototxt", *embedding, status=2).stderr


def test_files_that_are_not_there(folder):
    assert "Error: gone.prototxt: " in convert("gone.prototxt", status=1).stderr
    assert "Error: gone.caffemodel: " in convert("train_val.prototxt", "-w", "gone.caffemodel", status=1).stderr
    assert not (folder / "train_val.pt2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deploy", "test", "train"])
def test_ssd300(folder, kind):
    """The three files of one net are converted alike; train says nothing of choosing boxes."""
    source = shared_file(f"prototxt/ssd/SSD300_VOC0712/{kind}.prototxt")
    done = convert(source, "-o", "ssd.prototxt")
    assert "input  data  1x3x300x300" in done.stdout
    outputs = {"mbox_loc": "1x34928", "mbox_conf": "1x183372", "mbox_priorbox": "1x2x34928"}
    for name, shape in (outputs if kind == "train" else {"detection_out": "1x1x1x7"}).items():
        assert f"output {name}  {shape}" in done.stdout
    assert ("became input" in done.stderr) == (kind != "deploy")
    layers = read_net("ssd.prototxt").message.layer
    assert [layer.type for layer in layers][:2] == ["Input", "Convolution"]
    assert sum(layer.type == "Convolution" for layer in layers) == 35


SHAPES = {
    "siamese": "1,2,28,28",
    "lenet": "1,1,28,28",
    "cifar": "1,3,32,32",
    "train_context": "1,21,90,90",
}


@pytest.mark.slow
def test_all_published_prototxts(folder):
    """Whatever their purpose and age; those that state no size say so, and take one."""
    asked = []
    for path in sorted(shared_file("prototxt").rglob("*.prototxt")):
        if "solver" in path.name or path.name == "VGG_19_layers_train_val.prototxt":
            continue
        done = CliRunner().invoke(main, ["convert", str(path), "-o", "net.prototxt"])
        if done.exit_code and "states no input size" in done.stderr:
            asked.append(path.name)
            shape = next(shape for word, shape in SHAPES.items() if word in str(path).rpartition("prototxt/")[2])
            done = convert(path, "-o", "net.prototxt", "--input-shape", shape)
        assert done.exit_code == 0, (path, done.stderr)
        layers = read_net("net.prototxt").message.layer
        assert layers[0].type == "Input"
        assert not any(layer.type.endswith("Loss") or layer.type in ("Data", "Accuracy") for layer in layers), path
    assert len(asked) == 9, asked


@pytest.mark.parametrize("name", ["torch", "numpy", "argparse", "json", "cv2"])
def test_source_that_would_hide_what_it_imports_is_refused(folder, name):
    result = convert("train_val.prototxt", "-o", f"{name}.py", status=2)
    assert f"hides Python's module {name}" in result.stderr
    assert not (folder / f"{name}.py").exists()


@pytest.mark.parametrize(("name", "told"), [("9bad-name.py", True), ("class.py", True), ("good_name.py", False)])
def test_source_that_cannot_be_imported_is_told(folder, name, told):
    result = convert("train_val.prototxt", "-o", name, "--no-verify")
    assert ("no name for `import`" in result.stderr) is told


def test_source_of_unknown_mean_and_scale_is_told(folder):
    plain = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }'
    ip = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }'
    (folder / "plain.prototxt").write_text(plain + ip)
    words = "states neither mean nor scale"
    assert words in convert("plain.prototxt", "-o", "one.py", "--no-verify").stderr
    for asked in (("plain.prototxt", "--scale", 1), ("plain.prototxt", "--mean", "1,2,3"), ("train_val.prototxt",)):
        assert words not in convert(*asked, "-o", "other.py", "--no-verify").stderr
    assert words in convert("plain.prototxt", "-o", "other.pt2", "--embed-preprocessing").stderr
    assert words not in convert("plain.prototxt", "-o", "net.caffemodel").stderr
