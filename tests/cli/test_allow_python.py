"""Python layers on the command line: run by those commands that run a net, with --allow-python alone."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main

MODULE = """
import caffe


class TenTimes(caffe.Layer):
    def setup(self, bottom, top):
        self.factor = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff
"""
LAYER = """
layer { name: "ten" type: "Python" bottom: "data" top: "ten"
  python_param { module: "MODULE" layer: "TenTimes" param_str: "10" } }
"""
DEPLOY = 'input: "data" input_shape { dim: 1 dim: 1 dim: 2 dim: 2 }' + LAYER
TRAIN = (
    """
layer { name: "in" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 }
    data_filler { value: 0.3 } data_filler { value: 1 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
    + LAYER.replace('bottom: "data"', 'bottom: "fc"')
    + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ten" bottom: "label" top: "loss" }'
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a module of a name of its own: modules stay imported."""
    monkeypatch.chdir(tmp_path)
    name = f"layers_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "deploy.prototxt").write_text(DEPLOY.replace("MODULE", name))
    (tmp_path / "plain.prototxt").write_text('input: "data" input_shape { dim: 1 dim: 1 dim: 2 dim: 2 }')
    (tmp_path / "train.prototxt").write_text(TRAIN.replace("MODULE", name))
    (tmp_path / "solver.prototxt").write_text(
        'net: "train.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 5 display: 1 snapshot_prefix: "snap"'
    )
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2))
    return tmp_path


def call(*arguments: str):
    from caffecompat.layers.python import _FINDER

    token = _FINDER.set(None)
    try:
        return CliRunner().invoke(main, list(arguments))
    finally:
        _FINDER.reset(token)


def test_run_with_permission(folder):
    result = call("run", "deploy.prototxt", "x.npy", "--random-weights", "--allow-python", "-o", "out.npz")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(folder / "out.npz")["ten"], [[[[0, 10], [20, 30]]]])


def test_verify_with_permission(folder):
    caffe.Net("plain.prototxt", caffe.TEST).save("net.caffemodel")
    data = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    np.savez("reference.npz", **{"input/data": data, "blob/ten": 10 * data})
    arguments = ("verify", "deploy.prototxt", "-w", "net.caffemodel", "--against", "reference.npz")
    result = call(*arguments)
    assert result.exit_code == 1
    assert "Python layers are not run" in result.output
    result = call(*arguments, "--allow-python")
    assert result.exit_code == 0, result.output
    assert "1 of 1 blobs compared, all equal" in result.output


def test_lint_with_permission(folder):
    result = call("lint", "deploy.prototxt", "--allow-python")
    assert "Python layers are not run" not in result.output
    assert result.exit_code == 0, result.output


def test_train_with_permission(folder):
    result = call("train", "solver.prototxt", "--allow-python", "--log", "run.log")
    assert result.exit_code == 0, result.output
    lines = (folder / "run.log").read_text().splitlines()
    losses = [float(line.split("loss = ")[1]) for line in lines if ", loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "deploy.prototxt", "x.npy", "--random-weights"),
        ("train", "solver.prototxt"),
        ("time", "train.prototxt", "--iterations", "1"),
        ("inspect", "deploy.prototxt"),
        ("convert", "deploy.prototxt", "-o", "out.pt"),
    ],
)
def test_without_permission_nothing_is_imported(folder, arguments):
    import sys

    before = set(sys.modules)
    result = call(*arguments)
    assert result.exit_code == 1
    assert "Python layers are not run" in result.output
    assert "--allow-python" in result.output
    assert not [name for name in set(sys.modules) - before if name.startswith("layers_")]


def test_layers_of_python_2_are_translated(folder):
    (folder / "old_layers.py").write_text(
        MODULE.replace("        self.factor", "        print 'set up'\n        self.factor")
    )
    (folder / "deploy.prototxt").write_text(DEPLOY.replace("MODULE", "old_layers"))
    result = call("run", "deploy.prototxt", "x.npy", "--random-weights", "--allow-python", "-o", "out.npz")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(folder / "out.npz")["ten"], [[[[0, 10], [20, 30]]]])
