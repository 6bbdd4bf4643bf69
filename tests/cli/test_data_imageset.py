"""`caffecompat data imageset`: every record, byte for byte, against Datums that are put together here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import load
from caffecompat.data.source import Reading
from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb

NAMES = ("cat.png", "sub/dog.JPG", "two words.jpeg", "bird.png", "fish.png")
LABELS = (3, 0, 12, -1, 3)


def image(number, height=None, width=None):
    random = np.random.default_rng(number)
    size = (height or 5 + number, width or 9 - number, 3)
    return random.integers(0, 256, size, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Pictures of several sizes and formats, and the list of them."""
    root = tmp_path / "pictures"
    (root / "sub").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        assert cv2.imwrite(str(root / name), image(number))
    lines = [f"{name} {label}\n" for name, label in zip(NAMES, LABELS, strict=True)]
    (tmp_path / "list.txt").write_text("".join(lines))
    return root


def convert(folder, *options, out="db", code=0):
    target = folder.parent / out
    result = call("data", "imageset", folder.parent / "list.txt", target, "--root", folder, *options, code=code)
    return read_lmdb(target) if code == 0 else result


def raw(pixels, label):
    """The bytes of a Datum of (height, width) or (height, width, channels), one value after the other."""
    height, width = pixels.shape[:2]
    planes = [pixels] if pixels.ndim == 2 else [pixels[:, :, channel] for channel in range(pixels.shape[2])]
    data = bytes(int(plane[row, column]) for plane in planes for row in range(height) for column in range(width))
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = len(planes), height, width
    datum.data, datum.label, datum.encoded = data, label, False
    return datum.SerializeToString()


def expected(make):
    return {
        f"{number:08d}_{name}".encode(): make(number, name, label)
        for number, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
    }


def test_raw_records(folder):
    found = convert(folder)
    assert found == expected(lambda number, name, label: raw(cv2.imread(str(folder / name)), label))
    # PNG is without loss, so the very pixels that were made are there.
    assert found[b"00000000_cat.png"] == raw(image(0), 3)


def test_grey_and_resized(folder):
    def make(number, name, label):
        grey = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        return raw(cv2.resize(grey, (7, 4)), label)

    assert convert(folder, "--gray", "-resize_width", 7, "--resize_height=4") == expected(make)


@pytest.mark.parametrize("dialect", ["ssd", "bvlc"])
def test_encoded_are_the_files_themselves(folder, dialect):
    def make(number, name, label):
        datum = caffe_pb2.Datum(data=(folder / name).read_bytes(), label=label, encoded=True)
        if dialect == "ssd":
            datum.channels, (datum.height, datum.width) = 3, image(number).shape[:2]
        return datum.SerializeToString()

    assert convert(folder, "--encoded", "--dialect", dialect) == expected(make)


def test_an_encode_type_keeps_files_of_that_type_and_compresses_others(folder):
    def make(number, name, label):
        data = (folder / name).read_bytes()
        if name.endswith("png"):
            data = cv2.imencode(".jpg", cv2.imread(str(folder / name)))[1].tobytes()
        return caffe_pb2.Datum(data=data, label=label, encoded=True).SerializeToString()

    # It implies --encoded.
    assert convert(folder, "--encode_type", "jpg", "--dialect", "bvlc") == expected(make)


def test_resized_pictures_are_compressed_anew(folder):
    def make(number, name, label):
        pixels = cv2.resize(cv2.imread(str(folder / name)), (8, 6))
        data = cv2.imencode(".png", pixels)[1].tobytes()
        datum = caffe_pb2.Datum(channels=3, height=6, width=8, data=data, label=label, encoded=True)
        return datum.SerializeToString()

    size = ("--resize-width", 8, "--resize-height", 6)
    assert convert(folder, "--encode-type", "png", *size) == expected(make)


def test_shuffled_by_a_seed(folder):
    plain = convert(folder)
    orders = []
    for index, seed in enumerate((1, 1, 2, 3)):
        found = convert(folder, "--shuffle", "--seed", seed, "--workers", index, out=f"db{index}")
        names = [key.split(b"_", 1) for key in found]
        assert [int(number) for number, _ in names] == list(range(len(NAMES)))
        assert sorted(name.decode() for _, name in names) == sorted(NAMES)
        # The label goes with its picture.
        assert sorted(found.values()) == sorted(plain.values())
        by_name = {key.split(b"_", 1)[1]: value for key, value in found.items()}
        assert by_name == {key.split(b"_", 1)[1]: value for key, value in plain.items()}
        orders.append([name for _, name in names])
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) > 1


def test_any_number_of_workers_gives_the_same(folder):
    found = [convert(folder, "--workers", workers, out=f"db{workers}") for workers in (0, 1, 5)]
    assert found[0] == found[1] == found[2]


def test_bad_pictures_are_told_and_passed_over(folder):
    (folder / "bird.png").write_bytes(b"no picture at all")
    (folder / "fish.png").unlink()
    found = convert(folder)
    # The others keep the numbers of their lines.
    assert list(found) == [f"{number:08d}_{name}".encode() for number, name in enumerate(NAMES[:3])]
    told = call("data", "imageset", folder.parent / "list.txt", folder.parent / "again", "--root", f"{folder}/").stderr
    assert f"passed over: {folder}/bird.png" in told
    assert f"passed over: {folder}/fish.png" in told
    assert "2 of 5 images could not be read" in told


def test_strict_stops_and_leaves_nothing(folder):
    (folder / "bird.png").write_bytes(b"no picture at all")
    told = convert(folder, "--strict", code=1).stderr
    assert f"{folder}/bird.png" in told
    assert sorted(path.name for path in folder.parent.iterdir()) == ["list.txt", "pictures"]


def test_none_readable_is_a_fault(folder):
    told = call("data", "imageset", folder.parent / "list.txt", folder.parent / "db", code=1).stderr
    assert "none of its 5 images" in told
    assert not (folder.parent / "db").exists()


def test_check_size(folder):
    told = convert(folder, "--check_size", code=1).stderr
    assert "list.txt:2: sub/dog.JPG" in told
    assert "9x5 pixels" in told
    assert "8x6 pixels" in told
    assert len(convert(folder, "--check-size", "--encoded", "--resize-width", 3, "--resize-height", 3)) == 5


def test_a_database_that_is_there_stays(folder):
    before = convert(folder)
    assert "something already" in convert(folder, "--gray", code=2).stderr
    assert read_lmdb(folder.parent / "db") == before


@pytest.mark.parametrize(
    ("line", "message"),
    [("cat.png many", "'many'"), ("cat.png 1.5", "'1.5'"), ("cat.png 99999999999", "whole number"), ("", "empty list")],
)
def test_a_list_that_is_none(folder, line, message):
    (folder.parent / "list.txt").write_text(f"{line}\n")
    told = convert(folder, code=1).stderr
    assert message in told
    assert "list.txt" in told


def test_wrong_usage(folder):
    assert "belong together" in convert(folder, "--resize_width", 8, code=2).stderr
    assert "--backend" in convert(folder, "--backend", "leveldb", code=2).stderr
    (folder / "nameless").write_bytes((folder / "cat.png").read_bytes())
    (folder.parent / "list.txt").write_text("nameless 1\n")
    assert "--encode_type" in convert(folder, "--encoded", code=2).stderr
    assert "'xyz'" in convert(folder, "--encode_type", "xyz", code=2).stderr
    assert not (folder.parent / "db").exists()


def test_the_documented_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).resolve().parents[2] / "docs" / "data.md"
    example = page.read_text().split("```python\n")[1].split("```")[0]
    exec(compile(example, str(page), "exec"), {})
    assert len(read_lmdb(tmp_path / "numbers_lmdb")) == 10


def test_a_data_layer_reads_what_was_made(folder):
    convert(folder, "--resize-width", 7, "--resize-height", 6)
    net = folder.parent / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 5 '
        "backend: LMDB } }"
    )
    made = load(net, reading=Reading(root=folder.parent, workers=0))
    outputs = made()
    made.close()
    for number, name in enumerate(NAMES):
        pixels = cv2.resize(cv2.imread(str(folder / name)), (7, 6))
        np.testing.assert_array_equal(outputs["data"][number].numpy(), pixels.transpose(2, 0, 1))
    assert outputs["label"].tolist() == list(LABELS)
