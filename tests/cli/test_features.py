from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat import load
from caffecompat.cli.main import main
from tests.support import shared_file


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def net():
    folder = shared_file("models/lenet_v1")
    return folder / "lenet.prototxt", "-w", folder / "lenet_iter_10000.caffemodel"


@pytest.fixture(scope="module")
def expected(net):
    made = load(net[0], net[2])
    made.keep = {"conv1", "ip1"}
    pixels = []
    for name in ("astronaut", "coffee_qr"):
        grey = cv2.cvtColor(cv2.imread(str(shared_file(f"photos/{name}.png"))), cv2.COLOR_BGR2GRAY)
        pixels.append(cv2.resize(grey, (28, 28)).astype(np.float32)[None])
    made(data=np.stack(pixels))
    return {name: blob.detach().numpy() for name, blob in made.blobs.items()}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_blobs_by_name(net, expected, tmp_path, batch):
    call("features", *net, shared_file("photos"), "--blob", "ip1", "--batch", batch, "-o", tmp_path / "ip1.npy")
    np.testing.assert_allclose(np.load(tmp_path / "ip1.npy"), expected["ip1"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("pool", "reduce"), [("avg", np.mean), ("max", np.max)])
def test_several_blobs_pooled(net, expected, tmp_path, pool, reduce):
    target = tmp_path / "f.npz"
    call("features", *net, shared_file("photos"), "--blob", "conv1", "--blob", "ip1", "--pool", pool, "-o", target)
    with np.load(target) as saved:
        assert [name.rpartition("/")[2] for name in saved["images"].tolist()] == ["astronaut.png", "coffee_qr.png"]
        assert saved["conv1"].shape == (2, 20)
        np.testing.assert_allclose(saved["conv1"], reduce(expected["conv1"], axis=(2, 3)), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(saved["ip1"], expected["ip1"], rtol=1e-4, atol=1e-3)


def test_json_lines(net, expected):
    lines = call("features", *net, shared_file("photos"), "--blob", "ip1").stdout.splitlines()
    assert len(lines) == 2
    np.testing.assert_allclose(json.loads(lines[1])["ip1"], expected["ip1"][1], rtol=1e-4, atol=1e-3)


def test_alexnets_fc7(tmp_path):
    net = shared_file("prototxt/bvlc/bvlc_alexnet__deploy.prototxt")
    target = tmp_path / "fc7.npy"
    call("features", net, "--random-weights", shared_file("photos/astronaut.png"), "--blob", "fc7", "-o", target)
    values = np.load(target)
    assert values.shape == (1, 4096)
    assert (values >= 0).all()  # after the ReLU in place


def test_wrong_usage(net, tmp_path):
    photo = shared_file("photos/astronaut.png")
    assert 'did you mean "ip1"?' in call("features", *net, photo, "--blob", "ip11", code=2).stderr
    assert "--blob" in call("features", *net, photo, code=2).stderr
    many = ("--blob", "ip1", "--blob", "ip2", "-o", tmp_path / "x.npy")
    assert "holds one array" in call("features", *net, photo, *many, code=2).stderr
    assert not list(tmp_path.iterdir())
