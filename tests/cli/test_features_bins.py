"""`caffecompat features --format bin`: what the dilation authors' test.py --bin writes, and BinLabelData reads."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.cli.records import call
from tests.cli.test_segment import MEAN, NET, scores_of_the_whole, weights  # noqa: F401
from tests.data.sources.sources import passes, reading_net

# The scores before their Softmax.
BLOB = "c2"


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(6)
    (tmp_path / "net.prototxt").write_text(NET % (26, 34))
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        picture = cv2.resize(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8), (48, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), picture)
        cv2.imwrite(str(tmp_path / "in" / f"{name}_label.png"), rng.integers(0, 4, (32, 48), dtype=np.uint8))
    (tmp_path / "in" / "list.txt").write_text("b.png\na.png\n")
    (tmp_path / "labels.txt").write_text(f"{tmp_path / 'in' / 'b_label.png'} {tmp_path / 'in' / 'a_label.png'}")
    return tmp_path


@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_are_written_whole_in_the_order_of_the_list(files, weights, batch):  # noqa: F811
    arguments = ("features", files / "net.prototxt", "-w", weights, files / "in" / "list.txt", "--blob", BLOB)
    options = ("--mean", ",".join(map(str, MEAN)), "--batch", batch, "--format", "bin", "-o", files / "out")
    call(*arguments, *options)
    listed = (files / "out" / "features.txt").read_text().splitlines()
    assert listed == [str(files / "out" / f"{name}.bin") for name in ("b", "a")]
    for name, path in zip(("b", "a"), listed, strict=True):
        # Two tiles of 8x12 places down and across, the second beyond the picture in part.
        head = np.fromfile(path, "<i4", 5)
        assert head.tolist() == [5, 3, 4, 16, 24]
        values = np.fromfile(path, "<f4", offset=20).reshape(4, 16, 24)
        whole = scores_of_the_whole(weights, cv2.imread(str(files / "in" / f"{name}.png")))
        exponents = np.exp(values - values.max(0))
        assert (exponents / exponents.sum(0)) == pytest.approx(whole, abs=1e-5)


def test_bin_label_data_reads_them(files, weights):  # noqa: F811
    arguments = ("features", files / "net.prototxt", "-w", weights, files / "in" / "list.txt", "--blob", BLOB)
    call(*arguments, "--format", "bin", "-o", files / "out")
    text = """layer { name: "d" type: "BinLabelData" top: "data" top: "label" bin_label_data_param {
      bin_list_path: "out/features.txt" label_list_path: "labels.txt" batch_size: 2 mirror: false
      label_slice { dim: 16 dim: 24 stride: 2 stride: 2 } } }"""
    with reading_net(text, files) as net:
        (tops,) = passes(net, 1)
    for item, name in enumerate(("b", "a")):
        values = np.fromfile(files / "out" / f"{name}.bin", "<f4", offset=20).reshape(4, 16, 24)
        assert np.array_equal(tops["data"][item], values)
        labels = cv2.imread(str(files / "in" / f"{name}_label.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(tops["label"][item, 0], labels[::2, ::2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--blob", BLOB), "give a folder with -o"),
        (("--blob", BLOB, "--blob", "c1", "-o", "out"), "one blob as it is"),
        (("--blob", BLOB, "--pool", "avg", "-o", "out"), "one blob as it is"),
        (("--blob", BLOB, "-o", "o u t"), "white space ends a name"),
        (("--blob", "c3", "-o", "out"), "the net has no blob 'c3'"),
    ],
)
def test_faults(files, weights, monkeypatch, options, message):  # noqa: F811
    monkeypatch.chdir(files)
    arguments = ("features", "net.prototxt", "-w", weights, "in/list.txt", "--format", "bin")
    assert message in call(*arguments, *options, code=2).stderr
    assert not (files / "out" / "features.txt").exists()


def test_batches_are_no_images(files, weights):  # noqa: F811
    arguments = ("features", files / "net.prototxt", "-w", weights, "--batches", 1, "--blob", BLOB)
    assert "is of images" in call(*arguments, "--format", "bin", "-o", files / "out", code=2).stderr
