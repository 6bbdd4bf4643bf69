"""Hostile layers: what `load` and a pass make of them is a net or a CaffeCompatError, soon and in little memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from caffecompat import load
from caffecompat.errors import (
    MAX_MESSAGE,
    CaffeCompatError,
    SchemaError,
    ShapeError,
    UnsupportedError,
    WeightsError,
)
from caffecompat.export import export
from tests.attacks.mutate import layers
from tests.attacks.mutate_layers import alone


def load_one(folder: Path, kind: str, fields: str, *shapes: tuple[int, ...], phase: str = "TEST"):
    path = folder / "hostile.prototxt"
    path.write_text(alone(kind, fields, shapes))
    start = time.process_time()
    try:
        return load(path, phase=phase)
    finally:
        assert time.process_time() - start < 1


def refused(folder: Path, kind: str, fields: str, *shapes: tuple[int, ...]) -> CaffeCompatError:
    with pytest.raises(CaffeCompatError) as caught:
        load_one(folder, kind, fields, *shapes)
    error = caught.value
    assert error.file == str(folder / "hostile.prototxt")
    assert error.line == 1 + len(shapes)
    assert error.layer == "l"
    assert len(str(error)) < MAX_MESSAGE + 1000
    return error


def test_a_sample_of_hostile_layers():
    # The whole: python -m tests.attacks.mutate --layers 20000
    outcome = layers(400)
    assert outcome.accepted > 100
    assert sum(outcome.refused.values()) > 100
    assert outcome.slowest < 5


def many(value: str, count: int) -> str:
    return "[" + ", ".join([value] * count) + "]"


@pytest.mark.parametrize(
    ("kind", "fields", "shapes"),
    [
        ("InnerProduct", "inner_product_param { num_output: 50000 }", [(1, 40000)]),
        ("InnerProduct", 'inner_product_param { num_output: 40000 weight_filler { type: "xavier" } }', [(1, 40000)]),
        ("Embed", "embed_param { num_output: 2147483647 input_dim: 1 }", [(1, 1)]),
    ],
)
def test_fillers_do_not_fill_all_of_memory(tmp_path, kind, fields, shapes):
    error = refused(tmp_path, kind, fields, *shapes)
    assert isinstance(error, WeightsError)
    assert "no weights" in error.message


def test_fillers_of_many_layers_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr("caffecompat.net.net.MAX_FILLED", 100)
    fields = "inner_product_param { num_output: 9 bias_term: false }"
    load_one(tmp_path, "InnerProduct", fields, (1, 11))
    path = tmp_path / "two.prototxt"
    second = f"layer {{ name: 'm' type: 'InnerProduct' bottom: 'x0' top: 'z' {fields} }}"
    path.write_text(alone("InnerProduct", fields, ((1, 11),)) + "\n" + second)
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert caught.value.layer == "m"


@pytest.mark.parametrize(
    ("kind", "fields", "shapes"),
    [
        ("Reshape", f"reshape_param {{ shape {{ dim: {many('9223372036854775807', 50000)} dim: -1 }} }}", [(1, 1)]),
        ("PriorBox", f"prior_box_param {{ min_size: {many('30', 10000)} }}", [(1, 1, 2, 2), (1, 3, 9, 9)]),
        (
            "PriorBox",
            f"prior_box_param {{ min_size: 3 flip: true aspect_ratio: {[1 + i / 1000 for i in range(9000)]} }}",
            [(1, 1, 2, 2), (1, 3, 9, 9)],
        ),
        ("PriorBox", "prior_box_param { min_size: 3 aspect_ratio: 1e-45 }", [(1, 1, 2, 2), (1, 3, 9, 9)]),
        ("LRN", "lrn_param { local_size: 200000001 }", [(1, 1, 2, 2)]),
        ("BatchNorm", "batch_norm_param { eps: -1 }", [(1, 2, 3, 3)]),
        ("BatchNorm", "batch_norm_param { eps: nan }", [(1, 2, 3, 3)]),
        ("Convolution", "convolution_param { num_output: 2 kernel_size: 1 }", [(1, 0, 3, 3)]),
        ("Convolution", "convolution_param { num_output: 2 kernel_size: 4294967295 pad: 4294967295 }", [(1, 1, 3, 3)]),
        ("Deconvolution", "convolution_param { num_output: 2 kernel_size: 2 group: 3 }", [(1, 2, 3, 3)]),
        ("DetectionOutput", "detection_output_param { num_classes: 2 }", [(1, 8), (1, 4), (1, 2, 8, 3)]),
        ("DetectionOutput", "detection_output_param { num_classes: 0 }", [(1, 8), (1, 4), (1, 2, 8)]),
        ("DetectionEvaluate", "detection_evaluate_param { num_classes: 4294967295 }", [(1, 1, 3, 7), (1, 1, 2, 8)]),
        ("DummyData", "dummy_data_param { shape { dim: 2147483647 } }", []),
        ("PriorBox", "prior_box_param { min_size: 3 }", [(1, 1, 2, 2), (1, 3, 0, 9)]),
        ("Tile", "tile_param { tiles: 2147483647 }", [(1, 2)]),
        ("Slice", "slice_param { slice_point: [1, 2, 3] }", [(1, 4)]),
    ],
)
def test_absurd_parameters(tmp_path, kind, fields, shapes):
    assert isinstance(refused(tmp_path, kind, fields, *shapes), (SchemaError, ShapeError))


def test_huge_dummy_data_takes_no_memory_until_it_is_asked_for(tmp_path):
    net = load_one(tmp_path, "DummyData", "dummy_data_param { shape { dim: 1073741824 } }")
    assert net.blob_shapes[net.graph.last["y"]] == (2**30,)


def test_an_eps_of_nothing_trains(tmp_path):
    net = load_one(tmp_path, "BatchNorm", "batch_norm_param { eps: 0 }", (2, 3, 4, 4), phase="TRAIN")
    top = net(x0=torch.arange(96.0).reshape(2, 3, 4, 4))["y"]
    torch.testing.assert_close(top.std((0, 2, 3), correction=0), torch.ones(3))


def test_boxes_beyond_all_numbers_warn_of_nothing(tmp_path):
    net = load_one(tmp_path, "PriorBox", "prior_box_param { min_size: 3 step: 3e38 }", (1, 1, 2, 2), (1, 3, 9, 9))
    assert net(x0=torch.zeros(1, 1, 2, 2), x1=torch.zeros(1, 3, 9, 9))["y"].shape == (1, 2, 16)


def test_an_index_beyond_the_table(tmp_path):
    net = load_one(tmp_path, "Embed", "embed_param { num_output: 2 input_dim: 3 }", (2,))
    with pytest.raises(ShapeError, match="Embed failed on x0") as caught:
        net(x0=torch.tensor([0.0, 3.0]))
    assert caught.value.layer == "l"


def test_a_program_does_not_write_out_a_million_steps(tmp_path):
    net = load_one(tmp_path, "RNN", "recurrent_param { num_output: 1 }", (1_000_000, 1, 1), (1_000_000, 1))
    with pytest.raises(UnsupportedError, match="1000000 time steps") as caught:
        export(net, tmp_path / "rnn.pt2")
    assert caught.value.layer == "l"


@pytest.mark.parametrize("command", ["inspect", "convert"])
def test_names_from_files_stay_short_and_printable_on_the_terminal(tmp_path, command):
    path = tmp_path / "hostile.prototxt"
    name = r"\033[31mred\n" + 5000 * "x"
    path.write_text(
        f'name: "{name}" layer {{ name: "{name}" type: "Data" top: "{name}" data_param {{ batch_size: 1 }}'
        " transform_param { crop_size: 2 } }"
        f'layer {{ name: "{name}" type: "ReLU" bottom: "{name}" top: "{name}y" }}'
    )
    output = ["-o", str(tmp_path / "out.safetensors")] if command == "convert" else []
    arguments = [sys.executable, "-m", "caffecompat", command, str(path), *output]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "\033" not in shown
    assert len(shown) < 5000


def test_names_command_no_terminal(tmp_path):
    path = tmp_path / "hostile.prototxt"
    name = r"\033[31mred\n\033[1m"
    path.write_text(
        f'input: "a" input_shape {{ dim: 2 }} input: "{name}" input_shape {{ dim: 3 }}'
        f'layer {{ name: "{name}" type: "Eltwise" bottom: "a" bottom: "{name}" top: "y" }}'
    )
    with pytest.raises(ShapeError) as caught:
        load(path)
    assert str(caught.value).isprintable()
    assert r"\x1b[31mred\n" in str(caught.value)
