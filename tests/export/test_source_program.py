"""`python model.py picture`: what the file makes of a picture is what the record says, and it prints what it found."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from caffecompat.data.preprocessing import Preprocessing
from tests.export.source_cases import assert_tidy, calls_of, loaded, metadata_of, run_source, written
from tests.export.test_pt2 import detector
from tests.export.test_source import HOSTILE
from tests.support import make_net

NET = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: {} dim: 24 dim: 32 }} }} }}
layer {{ name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param {{ global_pooling: true pool: AVE }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param {{ num_output: 7
         weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""
LABELS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
RANDOM = np.random.default_rng(0)
RECORDS = [
    Preprocessing(mean=(1.5, 2, 3), size=(24, 32), labels=LABELS),
    Preprocessing(channels="rgb", scale=0.017, mean=(9.0,), size=(30, 40), crop=(24, 32), labels=LABELS * 9),
    Preprocessing(channels="gray", size=(24, 32), interpolation="area", scale=1 / 255),
    Preprocessing(size=(24, 32), resize="fit_large_pad", pad_values=(4.0, 5.0, 6.0)),
    Preprocessing(size=(24, 32), resize="fit_large_pad", pad="mirrored", interpolation="nearest"),
    Preprocessing(size=(26, 33), resize="fit_small", crop=(24, 32), interpolation="cubic"),
    Preprocessing(size=(30, 40), crop=(24, 32), mean_image=RANDOM.random((3, 30, 40), np.float32) * 100, scale=0.5,
                  labels=LABELS),
    Preprocessing(channels="gray", size=(30, 40), crop=(24, 32), mean_image=RANDOM.random((1, 24, 32), np.float32)),
    Preprocessing(),
]  # fmt: skip


def net_for(record):
    torch.manual_seed(0)
    return make_net(NET.format(1 if record.channels == "gray" else 3))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    cv2.imwrite(str(path), RANDOM.integers(0, 255, (41, 70, 3), np.uint8))
    return path


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_a_picture_becomes_the_input(record, picture, tmp_path):
    path = written(net_for(record), tmp_path, preprocessing=record.to_json())
    found = loaded(path).read(str(picture)).numpy()
    np.testing.assert_allclose(found, record.apply([cv2.imread(str(picture))]), rtol=0, atol=1e-6)
    assert found.dtype == np.float32
    assert_tidy(path)


@pytest.mark.parametrize("record", [RECORDS[0], RECORDS[1], RECORDS[2], RECORDS[6]], ids=["25", "63", "none", "mean"])
def test_the_best_classes_are_printed(record, picture, tmp_path, capsys, monkeypatch):
    """By name, from the code or from the parameters' file; without labels by number."""
    path = written(net_for(record), tmp_path, preprocessing=record.to_json())
    monkeypatch.setattr("sys.argv", ["model.py", str(picture)])
    loaded(path).main()
    data = record.apply([cv2.imread(str(picture))])
    ((scores,),) = run_source(path, {"data": data}).values()
    names = record.labels or range(7)
    wanted = [f"{scores[index]:.4f} {names[index]}" for index in np.argsort(-scores)[:5]]
    assert capsys.readouterr().out.splitlines() == wanted


def test_detections_are_printed(tmp_path, capsys, monkeypatch):
    net = detector()
    path = written(net, tmp_path, preprocessing=Preprocessing(labels=("background", "cat", "dog")).to_json())
    module = loaded(path)
    shapes = list(module.INPUTS.values())
    arrays = [RANDOM.standard_normal(shape, np.float32) for shape in shapes]
    paths = [str(tmp_path / f"{place}.npy") for place in range(len(arrays))]
    for file, array in zip(paths, arrays, strict=True):
        np.save(file, array)
    monkeypatch.setattr("sys.argv", ["model.py", *paths])
    module.main()
    ((rows,),) = run_source(path, dict(zip(module.INPUTS, arrays, strict=True))).values()
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == "image label score left top right bottom"
    assert len(lines) == len(rows[0]) > 0
    image, name, score, *box = lines[0].split()
    assert [int(image), name] == [0, ("background", "cat", "dog")[int(rows[0, 0, 1])]]
    np.testing.assert_allclose([float(value) for value in (score, *box)], rows[0, 0, 2:], rtol=0, atol=1e-4)
    assert_tidy(path)


def test_no_picture(tmp_path):
    path = written(net_for(RECORDS[0]), tmp_path, preprocessing=RECORDS[0].to_json())
    with pytest.raises(SystemExit, match="no picture: nothing.png"):
        loaded(path).read("nothing.png")


@pytest.mark.parametrize("labels", [HOSTILE[:20], HOSTILE], ids=["in the code", "beside it"])
def test_labels_never_become_code(labels, tmp_path):
    record = Preprocessing(labels=tuple(labels))
    plain = written(net_for(record), tmp_path, preprocessing=Preprocessing(labels=("a",) * len(labels)).to_json())
    calls = calls_of(plain)
    path = written(net_for(record), tmp_path, "other", preprocessing=record.to_json())
    assert calls_of(path) == calls
    ast.parse(path.read_text())
    module = loaded(path)
    found = module.PREPROCESSING["labels"] if len(labels) <= 25 else module.preprocessing()["labels"]
    assert list(found) == labels
    assert "labels" in metadata_of(path.with_suffix(".safetensors"))["preprocessing"]


def test_a_missing_file_is_one_line(tmp_path):
    """A picture, of which OpenCV would warn too, and the parameters."""
    path = written(net_for(RECORDS[0]), tmp_path, preprocessing=RECORDS[0].to_json())
    parameters, gone = path.with_suffix(".safetensors"), tmp_path / "gone.png"
    assert started(path, gone) == f"there is no such file: {gone}\n"
    parameters.unlink()
    assert started(path) == f"there is no such file: {parameters}\n"
    with pytest.raises(FileNotFoundError, match=re.escape(str(parameters))):
        loaded(path).load()


def started(path, *arguments):
    """What the program says on stderr as it fails."""
    done = subprocess.run([sys.executable, "-I", path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr
