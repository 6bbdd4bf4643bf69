"""`.py`: what is written around the layers, how what repeats is folded, and that names never become code."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError
from caffecompat.export import export
from caffecompat.export.sampling import random_inputs
from caffecompat.export.source.text import literal
from tests.export.onnx_cases import assert_same, run_net
from tests.export.source_cases import (
    assert_tidy,
    calls_of,
    loaded,
    metadata_of,
    run_apart,
    run_source,
    written,
)
from tests.support import make_net

FILLER = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.3 }'


def input_layer(*sizes, name="data"):
    dims = " ".join(f"dim: {size}" for size in sizes)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def conv(name, bottom, outputs, kernel=3, extra="pad: 1"):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
        f"num_output: {outputs} kernel_size: {kernel} {extra} {FILLER} }} }}\n"
    )


def relu(name):
    return f'layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}\n'


def pool(name, bottom):
    window = "pooling_param { kernel_size: 2 stride: 2 }"
    return f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" {window} }}\n'


def compare(net, path, tolerance=1e-5):
    """The file computes what the net does."""
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    inputs = random_inputs(net, shapes, np.random.default_rng(0), pixels=False)
    found, wanted = run_source(path, inputs), run_net(net, inputs)
    if list(found) == [""]:
        found = {next(iter(wanted)): found[""]}
    assert_same(found, wanted, tolerance)


def small():
    return make_net('name: "small"\n' + input_layer(2, 3, 6, 6) + conv("conv", "data", 4) + relu("conv"))


def test_what_goes_with_it(tmp_path):
    """Preprocessing, sources and licence as constants of the code, and whole in the metadata of the parameters."""
    source = tmp_path / "net.prototxt"
    source.write_text("x")
    net = small()
    files = export(net, tmp_path / "m.py", sources=[source], license='CC "BY"\n4.0')
    assert files == [tmp_path / "m.py", tmp_path / "m.safetensors"]
    module = loaded(files[0])
    record = json.loads(net.preprocessing.to_json())
    assert {key: module.PREPROCESSING[key] for key in ("channels", "scale")} == {"channels": "bgr", "scale": 1.0}
    assert module.LICENSE == 'CC "BY"\n4.0'
    assert list(module.SOURCES) == ["net.prototxt"]
    assert len(module.SOURCES["net.prototxt"]) == 64
    assert module.INPUTS == {"data": (2, 3, 6, 6)}
    metadata = metadata_of(files[1])
    assert json.loads(metadata["preprocessing"]) == record
    assert json.loads(metadata["layers"]) == {"conv": "conv"}
    assert metadata["license"] == 'CC "BY"\n4.0'
    assert_tidy(files[0])


def test_it_runs_apart_and_as_a_program(tmp_path, capsys, monkeypatch):
    net = small()
    path = written(net, tmp_path)
    data = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    (found,) = run_apart([(path, [data])])
    assert_same({"conv": found[0]}, run_net(net, {"data": data}))
    np.save(tmp_path / "x.npy", data[:1])
    monkeypatch.setattr("sys.argv", ["model.py", str(tmp_path / "x.npy")])
    loaded(path).main()
    assert capsys.readouterr().out == "conv (1, 4, 6, 6)\n"


def test_from_the_command_line(tmp_path):
    (tmp_path / "net.prototxt").write_text(input_layer(1, 3, 6, 6) + conv("conv", "data", 4))
    done = CliRunner().invoke(main, ["convert", str(tmp_path / "net.prototxt"), "-o", str(tmp_path / "out.py")])
    assert done.exit_code == 0, done.output
    assert "out.py" in done.output
    assert "out.safetensors" in done.output
    assert loaded(tmp_path / "out.py").SOURCES.keys() == {"net.prototxt"}
    refused = ["convert", str(tmp_path / "net.prototxt"), "-o", str(tmp_path / "out.py"), "--half"]
    assert CliRunner().invoke(main, refused).exit_code == 2


def test_neither_file_is_half_written(tmp_path):
    """Where the second cannot be written, the first is as it was."""
    (tmp_path / "m.py").write_text("old")
    (tmp_path / "m.safetensors").mkdir()
    with pytest.raises(CaffeCompatError, match="cannot be written|got a directory"):
        export(small(), tmp_path / "m.py")
    assert (tmp_path / "m.py").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.py", "m.safetensors"]


# --- folding


def test_runs_of_convolutions_are_one_call(tmp_path):
    """As in VGG; the key of each parameter is found by its layer's name."""
    text, bottom = input_layer(1, 3, 16, 16), "data"
    for stage, channels in ((1, 4), (2, 6), (3, 8)):
        for number in range(1, 4):
            dilated = "pad: 2 dilation: 2" if stage == 3 else "pad: 1"
            text += conv(f"conv{stage}_{number}", bottom, channels, extra=dilated) + relu(f"conv{stage}_{number}")
            bottom = f"conv{stage}_{number}"
        text += pool(f"pool{stage}", bottom)
        bottom = f"pool{stage}"
    net = make_net(text)
    path = written(net, tmp_path)
    compare(net, path)
    code = path.read_text()
    assert "self.conv2 = conv_relu(4, 6, 6, 6)\n" in code
    assert "self.conv3 = conv_relu(6, 8, 8, 8, padding=2, dilation=2)\n" in code
    layers = json.loads(metadata_of(path.with_suffix(".safetensors"))["layers"])
    state = loaded(path).load().state_dict()
    for name, key in layers.items():
        torch.testing.assert_close(state[f"{key}.weight"], net.layer(name).weight.detach())
    assert layers["conv2_3"] == "conv2.4"
    assert_tidy(path)


def residual(name, bottom, channels, stride, *, projected):
    """A block of ResNet, each convolution with BatchNorm and Scale."""

    def normalized(layer, source, outputs, extra, active=True):
        text = conv(layer, source, outputs, 3, f"{extra} bias_term: false")
        text += f'layer {{ name: "bn_{layer}" type: "BatchNorm" bottom: "{layer}" top: "{layer}" }}\n'
        text += (
            f'layer {{ name: "scale_{layer}" type: "Scale" bottom: "{layer}" top: "{layer}" '
            "scale_param { bias_term: true } }\n"
        )
        return text + (relu(layer) if active else "")

    text, short = "", bottom
    if projected:
        short = f"{name}_branch1"
        text += normalized(short, bottom, channels, f"pad: 1 stride: {stride}", False)
    text += normalized(f"{name}_branch2a", bottom, channels, f"pad: 1 stride: {stride}")
    text += normalized(f"{name}_branch2b", f"{name}_branch2a", channels, "pad: 1", False)
    text += f'layer {{ name: "{name}" type: "Eltwise" bottom: "{short}" bottom: "{name}_branch2b" top: "{name}" }}\n'
    return text + relu(name)


def test_residual_blocks_are_a_class(tmp_path):
    """BatchNorm with its Scale is one module; blocks that follow each other are an nn.Sequential."""
    text, bottom = input_layer(1, 4, 12, 12), "data"
    for stage, channels in ((2, 4), (3, 6)):
        for letter in "abcd":
            name = f"res{stage}{letter}"
            text += residual(name, bottom, channels, 1, projected=letter == "a")
            bottom = name
    net = make_net(text)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers:
            for name, blob in zip(layer.blob_names, layer.blobs, strict=True):
                if layer.spec.type in ("BatchNorm", "Scale"):
                    blob.copy_(torch.rand(blob.shape, generator=generator) + (1.0 if name == "factor" else 0.5))
    path = written(net, tmp_path)
    compare(net, path)
    code = path.read_text()
    assert code.count("nn.Conv2d(") <= 5
    assert "affine" not in code
    assert "Scale" not in code
    assert "for _ in range(3)" in code
    assert "with a shortcut" in code
    assert_tidy(path)


def test_shared_parameters_are_one_module(tmp_path):
    """As in a siamese net."""
    shared = 'param { name: "w" } param { name: "b" }'
    text = input_layer(1, 3, 6, 6) + input_layer(1, 3, 6, 6, name="other")
    for name, bottom in (("conv", "data"), ("conv_p", "other")):
        text += conv(name, bottom, 4).replace("convolution_param", f"{shared} convolution_param")
    net = make_net(text)
    path = written(net, tmp_path)
    compare(net, path)
    assert path.read_text().count("nn.Conv2d(") == 1
    assert_tidy(path)


def test_what_is_not_shared_alike_is_written_twice(tmp_path):
    shared = 'param { name: "w" }'
    text = input_layer(1, 3, 6, 6)
    text += conv("a", "data", 3).replace("convolution_param", f"{shared} convolution_param")
    text += conv("b", "a", 3, extra="pad: 2 dilation: 2").replace("convolution_param", f"{shared} convolution_param")
    net = make_net(text)
    path = written(net, tmp_path)
    compare(net, path)


def test_values_in_place_and_several_outputs(tmp_path):
    """A blob changed in place, read twice, beside one that is read at once."""
    text = input_layer(1, 3, 6, 6) + conv("c", "data", 4) + relu("c") + pool("p", "c") + conv("d", "c", 4)
    text += 'layer { name: "s" type: "Eltwise" bottom: "c" bottom: "d" top: "s" }'
    net = make_net(text)
    path = written(net, tmp_path)
    compare(net, path)
    assert 'return {"p": p, "s": s}' in path.read_text()
    assert_tidy(path)


# --- names

HOSTILE = [
    'a"); import os; os.system("touch owned"); ("',
    "a\\'); __import__('os').system('touch owned') #",
    "line\nimport os\nos.system('touch owned')",
    '"""\nimport os\n"""',
    "{0} {self} {*}",
    "\x010\x02",
    "__class__",
    "__init__",
    "class",
    "lambda",
    "forward",
    "train",
    "self",
    "x",
    "torch",
    "F",
    "nn",
    "l",
    "print",
    "1x1",
    "ĳ ℮ ｉｍｐｏｒｔ ünïcode 模型",
    "\ud83d\ude00 \u2028 \u0085 \u202e".encode("utf-16", "surrogatepass").decode("utf-16"),
    "a" * 5000,
    " ",
    "%s %(a)s \\n \\",
    "data",
    "PriorBox",
    "conv_relu",
    "Net",
]


def escaped(text):
    """In a prototxt: every byte as three octal digits."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


def hostile_net(names):
    """A chain of layers whose names, and those of their blobs, are these; the net has the first one."""
    text, bottom = f'name: "{escaped(names[0])}"\n' + input_layer(1, 2, 5, 5), "data"
    for number, name in enumerate(names):
        blob = escaped(name) if name != "data" else "data2"
        text += (
            f'layer {{ name: "{escaped(name)}" type: "Convolution" bottom: "{bottom}" top: "{blob}" '
            f"convolution_param {{ num_output: {2 + number % 3} kernel_size: 1 {FILLER} }} }}\n"
            f'layer {{ name: "{escaped(name)}" type: "Sigmoid" bottom: "{blob}" top: "s{blob}" }}\n'
        )
        bottom = f"s{blob}" if number % 2 else blob
    return make_net(text)


FINE = {
    "super", "super().__init__", "nn.Conv2d", "torch.sigmoid", "load_file", "Path", "len", "torch.randn",
    "INPUTS.values", "enumerate", "torch.from_numpy", "numpy.load", "torch.inference_mode", "load", "print", "tuple",
    "outputs.items", "main", "SystemExit",
}  # fmt: skip


@pytest.mark.parametrize("first", range(len(HOSTILE)))
def test_names_never_become_code(first, tmp_path):
    """All of them in one net, each once in the first place, whose name is the net's: only known calls are made."""
    names = HOSTILE[first:] + HOSTILE[:first] if first in (0, 3, 4, 5) else [HOSTILE[first], "other"]
    net = hostile_net(names)
    path = written(net, tmp_path, sources=json.dumps({names[0]: names[0]}), license=names[0])
    tree = ast.parse(path.read_text())
    assert {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} == {
        "sys", "numpy", "torch", "torch.nn.functional",
    } - ({"torch.nn.functional"} if "F." not in path.read_text() else set())  # fmt: skip
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    own = {f"self.{part}" for name in loaded(path).load().state_dict() for part in name.split(".")}
    odd = calls_of(path) - FINE - own - classes
    assert {
        call for call in odd if not call.startswith(("load().", "load()", "model.", "Path(", "torch.from_numpy("))
    } == set()
    module = loaded(path)
    assert [module.LICENSE, *module.SOURCES.items()] == [names[0], (names[0], names[0])]
    compare(net, path)
    assert not (tmp_path / "owned").exists()


def test_a_blob_called_as_an_operator(tmp_path):
    """Its name would hide the function that makes it."""
    text = input_layer(1, 2, 6, 6) + conv("c", "data", 2, extra="")
    text += 'layer { name: "crop" type: "Crop" bottom: "data" bottom: "c" top: "crop" crop_param { offset: 1 } }\n'
    text += conv("d", "crop", 2) + 'layer { name: "s" type: "Eltwise" bottom: "crop" bottom: "d" top: "s" }'
    net = make_net(text)
    compare(net, written(net, tmp_path))


def test_many_layers_of_one_name(tmp_path):
    text, bottom = input_layer(1, 2, 5, 5), "data"
    for number in range(6):
        text += conv("same", bottom, 3).replace('top: "same"', f'top: "c{number}"')
        bottom = f"c{number}"
    net = make_net(text)
    compare(net, written(net, tmp_path))


@pytest.mark.parametrize(
    "value",
    [*HOSTILE, 1, -1, 0.1, 1e-10, 1e300, True, None, (), (1,), (1, (2, "a")), [], {"a": [1]}],
)
def test_literals_mean_the_value(value):
    assert ast.literal_eval(literal(value)) == value


def test_numbers_of_float32_are_short():
    assert [literal(float(np.float32(value))) for value in (0.45, 1e-10, 3, 2.0**-149)] == [
        "0.45",
        "1e-10",
        "3",
        "1e-45",
    ]
    assert literal(float("-inf")) == 'float("-inf")'


def test_a_literal_of_something_else():
    with pytest.raises(TypeError, match="no literal"):
        literal(object())
