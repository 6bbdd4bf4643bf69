"""`--engine` on commands: the same results as the plain net, what is told, and what cannot be."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from tests.engines.engine_nets import CLASSIFIER


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    (folder / "net.prototxt").write_text(CLASSIFIER)
    np.save(folder / "in.npy", np.random.default_rng(0).standard_normal((2, 3, 21, 18), np.float32))
    # Weights by which no two classes are so near that int8 takes the other.
    torch.manual_seed(0)
    call("convert", folder / "net.prototxt", "-o", folder / "net.caffemodel")
    return folder


def run(files, *options, code=0):
    command = ["run", files / "net.prototxt", "-w", files / "net.caffemodel", files / "in.npy"]
    return call(*command, *options, code=code)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_an_engine_gives_what_the_net_gives(files, engine, tmp_path):
    run(files, "-o", tmp_path / "plain.npz")
    run(files, "-o", tmp_path / "engine.npz", "--engine", engine)
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "engine.npz") as made:
        assert plain.files == made.files == ["prob"]
        np.testing.assert_allclose(made["prob"], plain["prob"], atol=1e-5)


def test_wrong_usage(files):
    assert "goes with --engine" in run(files, "--precision", "bfloat16", code=2).stderr
    told = run(files, "--engine", "opencv", "--precision", "bfloat16", code=2).stderr
    assert "opencv does not compute in bfloat16" in told
    # Before it asks for pictures that would not help.
    told = run(files, "--engine", "compile", "--precision", "int8", code=2).stderr
    assert "compile does not compute in int8" in told
    assert "--calibration" not in told
    assert "'c1' is none" in run(files, "--engine", "torch", "--blob", "c1", code=2).stderr


def test_int8(files, tmp_path):
    """Within the steps of eight bits of the plain net, calibrated with a folder of pictures."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(1)
    for number in range(8):
        cv2.imwrite(str(pictures / f"{number}.png"), rng.integers(0, 256, (21, 18, 3), np.uint8))
    picture = pictures / "0.png"
    command = ("run", files / "net.prototxt", "-w", files / "net.caffemodel", picture, "--scale", "0.01", "-o")
    call(*command, tmp_path / "plain.npz")
    int8 = ("--engine", "onnxruntime", "--precision", "int8")
    told = call(*command, tmp_path / "int8.npz", *int8, "--calibration", pictures).stderr
    assert "mean" not in told
    assert "int8 beside float32, on 2 items that took no part in calibration:\n  same top-1 100.00%, " in told
    assert "largest difference 0.0" in told
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "int8.npz") as made:
        assert 0 < np.abs(made["prob"] - plain["prob"]).max() < 0.05
    told = call(*command, tmp_path / "one.npz", *int8, "--calibration", picture).stderr
    assert told.startswith("int8 is calibrated with 1 item\nmeasuring what int8 costs, on 1 item\n")
    assert "int8 beside float32, on 1 item that it was calibrated with too:\n" in told
    assert "figures of so few items say little" in told
    other = ("--engine", "opencv", "--precision", "int8", "--calibration", pictures)
    assert "opencv does not compute in int8" in run(files, *other, code=2).stderr
    assert "needs --calibration" in call(*command, tmp_path / "no.npz", *int8, code=2).stderr
    told = call(*command, tmp_path / "no.npz", "--engine", "torch", "--calibration", pictures, code=2).stderr
    assert "goes with --precision int8" in told
    told = call(*command, tmp_path / "no.npz", *int8, "--calibration", tmp_path / "none", code=1).stderr
    assert str(tmp_path / "none") in told


def test_time(files, tmp_path):
    options = ("--phase", "TEST", "--engine", "torch", "--iterations", 2, "--json", tmp_path / "t.json")
    result = call("time", files / "net.prototxt", "-w", files / "net.caffemodel", *options)
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["engine"] == "torch"
    assert figures["forward_ms"] > 0
    assert f"Average Forward pass: {figures['forward_ms']:.6g} ms." in result.stdout


def test_time_of_int8_says_what_it_costs(files, tmp_path):
    """A folder for each of 7 classes: the labels are taken, and the drop is what the two accuracies differ by."""
    rng = np.random.default_rng(2)
    for number in range(28):
        path = tmp_path / "pictures" / str(number % 7) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (21, 18, 3), np.uint8))
    options = ("--engine", "openvino", "--precision", "int8", "--calibration", tmp_path / "pictures")
    more = ("--phase", "TEST", "--iterations", 1, "--json", tmp_path / "t.json")
    told = call("time", files / "net.prototxt", "-w", files / "net.caffemodel", *options, *more).stderr
    accuracy = json.loads((tmp_path / "t.json").read_text())["accuracy"]
    assert accuracy["items"] == 7
    assert accuracy["drop"]["top-1"] == accuracy["float32"]["top-1"] - accuracy["int8"]["top-1"]
    assert set(accuracy["agreement"]) == {"same top-1", "largest difference"}
    assert f"top-1: float32 {100 * accuracy['float32']['top-1']:.2f}%" in told
