"""`--engine` on commands: the same results as the plain net, what is told, and what cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
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
    assert "'c1' is none" in run(files, "--engine", "torch", "--blob", "c1", code=2).stderr
    assert "opencv does not compute in int8" in run(files, "--engine", "opencv", "--precision", "int8", code=1).stderr


def test_time(files, tmp_path):
    options = ("--phase", "TEST", "--engine", "torch", "--iterations", 2, "--json", tmp_path / "t.json")
    result = call("time", files / "net.prototxt", "-w", files / "net.caffemodel", *options)
    figures = json.loads((tmp_path / "t.json").read_text())
    assert figures["engine"] == "torch"
    assert figures["forward_ms"] > 0
    assert f"Average Forward pass: {figures['forward_ms']:.6g} ms." in result.stdout
