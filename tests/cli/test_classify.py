from __future__ import annotations

import csv
import io
import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat import load
from caffecompat.cli.main import main
from caffecompat.cli.predict._classify import ten_crops
from caffecompat.data.preprocessing import Preprocessing
from tests.support import shared_file


def call(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Twelve digits of MNIST as PNG files, one of each class and two more."""
    data = np.load(shared_file("data/mnist_10000.npz"))
    images, labels = (data[name] for name in data.files[:2])
    images = images.reshape(-1, 28, 28)
    folder = tmp_path_factory.mktemp("digits")
    for index in range(12):
        cv2.imwrite(str(folder / f"{index:02d}_{labels.ravel()[index]}.png"), images[index].astype(np.uint8))
    return folder


def lenet(name="lenet"):
    return (
        shared_file(f"models/lenet_v1/{name}.prototxt"),
        "-w",
        shared_file("models/lenet_v1/lenet_iter_10000.caffemodel"),
    )


def test_digits_are_named(digits, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {index}" for index in range(10)))
    result = call("classify", *lenet(), digits, "--scale", 0.00390625, "--top", 1, "--labels", names, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 12
    for row in rows:
        assert row["class"] == row["image"][-5]
        assert row["name"] == f"digit {row['class']}"
        assert float(row["score"]) > 0.9
    assert result.stderr == ""


def test_training_net_gives_the_same_and_tells_what_changed(digits):
    deploy = call("classify", *lenet(), digits, "--scale", 0.00390625, "--format", "jsonl", "--batch", 5)
    train = call("classify", *lenet("lenet_train_test"), digits, "--input-shape", "data=1,1,28,28", "--format", "jsonl")
    first, second = ([json.loads(line) for line in result.stdout.splitlines()] for result in (deploy, train))
    assert [row["top"][0]["class"] for row in first] == [row["top"][0]["class"] for row in second]
    for one, other in zip(first, second, strict=True):
        assert one["image"] == other["image"]
        assert one["top"][0]["score"] == pytest.approx(other["top"][0]["score"], abs=1e-5)
    assert "SoftmaxWithLoss" in train.stderr
    assert "input" in train.stderr


def test_scores_as_an_array_are_those_of_the_net(digits, tmp_path):
    target = tmp_path / "scores.npy"
    result = call("classify", *lenet(), digits, "--scale", 0.00390625, "-o", target, "--batch", 4)
    assert result.stdout == ""
    scores = np.load(target)
    net = load(*lenet()[::2])
    files = sorted(digits.iterdir())
    pixels = np.stack([cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files])[:, None]
    expected = net(data=(pixels * np.float32(0.00390625)).astype(np.float32))["prob"].detach().numpy()
    assert scores.shape == (12, 10)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_ten_crops_by_hand():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    mean = np.random.default_rng(1).uniform(0, 255, (3, 6, 8)).astype(np.float32)
    record = Preprocessing(size=(6, 8), crop=(4, 5), mean_image=mean)
    whole = image.transpose(2, 0, 1).astype(np.float32) - mean
    places = [(0, 0), (0, 3), (2, 0), (2, 3), (1, 1)]
    crops = [whole[:, y : y + 4, x : x + 5] for y, x in places]
    expected = np.stack(crops + [crop[:, :, ::-1] for crop in crops])
    assert np.array_equal(ten_crops(record, image), expected)


def test_oversample_is_the_mean_over_ten_crops(digits, tmp_path):
    target = tmp_path / "scores.npy"
    file = sorted(digits.iterdir())[0]
    options = ("--scale", 0.00390625, "--size", 32, "--oversample", "-o", target)
    call("classify", *lenet(), file, *options)
    net = load(*lenet()[::2])
    record = Preprocessing(channels="gray", scale=0.00390625, size=(32, 32), crop=(28, 28))
    expected = net(data=ten_crops(record, cv2.imread(str(file))))["prob"].detach().numpy().mean(0)
    np.testing.assert_allclose(np.load(target)[0], expected, atol=1e-5)


def test_a_broken_image_stops_or_is_passed_over(digits, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = sorted(digits.iterdir())[0]
    result = call("classify", *lenet(), broken, good, code=1)
    assert "broken.png" in result.stderr
    target = tmp_path / "out.csv"
    result = call("classify", *lenet(), broken, good, "--keep-going", "-o", target, "--top", 2, code=1)
    assert "broken.png" in result.stderr
    assert "1 of 2 files could not be read" in result.stderr
    assert len(target.read_text().splitlines()) == 3


def test_wrong_usage(digits, tmp_path):
    net, _, weights = lenet()
    assert "--random-weights" in call("classify", net, digits, code=2).stderr
    assert "--format npy" in call("classify", net, "-w", weights, digits, "--format", "npy", code=2).stderr
    assert "no output 'prov'" in call("classify", net, "-w", weights, digits, "--blob", "prov", code=2).stderr
    assert "is not a size" in call("classify", net, "-w", weights, digits, "--size", "0x3", code=2).stderr
    assert "no such file" in call("classify", net, "-w", weights, tmp_path / "none.png", code=1).stderr
    assert "none.prototxt" in call("classify", tmp_path / "none.prototxt", "-w", weights, digits, code=1).stderr
    result = call("classify", net, "-w", tmp_path / "none.caffemodel", digits, code=1)
    assert "none.caffemodel" in result.stderr
    assert result.stdout == ""


def test_device_that_is_not_here(digits, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cuda" in call("classify", *lenet(), digits, "--device", "cuda", code=2).stderr


def test_a_detector_is_wrong_usage():
    folder = shared_file("models/wechat_detect")
    command = ["classify", folder / "detect.prototxt", "-w", folder / "detect.caffemodel", "--input-shape", "1,1,64,64"]
    told = call(*command, shared_file("photos/coffee_qr.png"), code=2).stderr
    assert "holds boxes" in told
    assert "caffecompat detect" in told
