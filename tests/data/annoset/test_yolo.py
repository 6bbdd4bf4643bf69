"""YOLO's texts, folders and data.yaml: the last against PyYAML where it is there."""

from __future__ import annotations

import time

import pytest

from caffecompat.data.annoset.yolo import find_yolo, read_yolo_text, yolo_labels
from caffecompat.data.annoset.yolo_config import MAX_BYTES, read_config
from caffecompat.errors import FormatError, UsageError


def test_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.5 0.25\n\n12 0.25 0.75 0.125 0.5\r\n1 0.1 0.9 0.4 0.2 0.3 0.5\n")
    marked = read_yolo_text(path)
    assert marked.fractions
    assert [box.name for box in marked.boxes] == ["0", "12", "1"]
    assert marked.boxes[0].corners == (0.25, 0.375, 0.75, 0.625)
    assert marked.boxes[1].corners == (0.1875, 0.5, 0.3125, 1)
    # An outline.
    assert marked.boxes[2].corners == (0.1, 0.2, 0.4, 0.9)
    path.write_text("")
    assert list(read_yolo_text(path).boxes) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cat 0.5 0.5 0.5 0.5", "expected a class, got 'cat'"),
        ("-1 0.5 0.5 0.5 0.5", "expected a class"),
        ("1.0 0.5 0.5 0.5 0.5", "expected a class"),
        ("0 0.5 0.5 0.5", "4 numbers after the class, got 3"),
        ("0 0.5 0.5 0.5 0.5 0.9", "4 numbers after the class, got 5"),
        ("0 0.5 0.5 0.5 x", "expected numbers"),
        ("0", "4 numbers after the class, got 0"),
    ],
)
def test_wrong_texts(tmp_path, line, message):
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.5 0.5\n{line}\n")
    with pytest.raises(FormatError, match=message) as caught:
        read_yolo_text(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)


CONFIGS = [
    "path: ../d # where\ntrain: images/train\nval: [images/val, more/val]\ntest:\nnc: 2\nnames: ['a', \"b c\"]\n",
    "train: a\nval: b\nnames:\n  0: cat\n  1: 'a dog'\n  2: \"x # y\"  # a comment\n",
    "train: a\nnames:\n- cat\n- dog\nval: b\nroboflow:\n  workspace: x\n  version: 1\n",
    "# c\n---\ntrain: a\nnames:\n\n  - cat # c\n  # c\n  - it's\n",
    "train:\n  - a\n  - b/c\nnames: {0: cat, 1: 'dog'}\n",
    "train: a\nnames: [\n  'cat',\n  'dog'\n]\nnc: 2\nval: null\n",
    "train: a\nnames: []\ndownload: |\n  import os\n  # x: y\n  print('a')\nval: b\n",
]


def test_config(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(CONFIGS[0])
    found = read_config(path)
    assert (found.path, list(found.names)) == ("../d", ["a", "b c"])
    assert found.splits == {"train": ["images/train"], "val": ["images/val", "more/val"]}
    path.write_text(CONFIGS[1])
    assert list(read_config(path).names) == ["cat", "a dog", "x # y"]


@pytest.mark.parametrize("text", CONFIGS, ids=range(len(CONFIGS)))
def test_config_as_yaml_has_it(tmp_path, text):
    yaml = pytest.importorskip("yaml")
    path = tmp_path / "data.yaml"
    path.write_text(text)
    expected = yaml.safe_load(text)
    found = read_config(path)
    names = expected["names"]
    assert list(found.names) == [str(n) for n in (names.values() if isinstance(names, dict) else names)]
    assert found.path == expected.get("path", "")
    for key in ("train", "val", "test"):
        value = expected.get(key)
        assert list(found.splits.get(key, ())) == (
            [] if value is None else value if isinstance(value, list) else [value]
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b\n", "a ] at its end"),
        ("names: {0: a, 2: b}\n", "numbered from 0"),
        ("names:\n  0: a\n  2: b\n", "numbered from 0"),
        ("names:\n  a: b\n", "expected `- name`"),
        ("names: {a: b}\n", "expected pairs"),
        ("names: [a b] c\n", "a ] at its end"),
        ("names: ['a' b]\n", "apart by commas"),
        ("names: *a\n", "a simple value"),
        ("names: !!python/object:os.system [a]\n", "a simple value"),
        ("nonsense\n", "expected `key: value`"),
        ("{a: b}\n", "expected `key: value`"),
        (b"\xff", "UTF-8"),
        (b"a" * (MAX_BYTES + 1), "at most"),
        ("names: [" + '"\\' * 100_000, "at its end"),
        ("names: " + "[" * 200_000 + "]" * 200_000, "apart by commas"),
        ("names: [\n" + "[\n" * 200_000, "at its end"),
        ("names: a" + " " * 400_000 + "]", "a simple value"),
        ("names: [a" + "'" * 400_000 + "]", ""),
        ("\n" * 400_000 + "x", "expected `key: value`"),
    ],
    ids=range(19),
)
def test_config_that_is_none(tmp_path, text, message):
    path = tmp_path / "data.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    if message:
        with pytest.raises(FormatError, match=message) as caught:
            read_config(path)
        assert caught.value.file == str(path)
    else:
        read_config(path)
    assert time.process_time() - start < 3


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.5 0.5\n" if path.suffix == ".txt" else "")


def listed(found):
    return {split.name: [(entry.name, entry.listed) for entry in split.entries] for split in found.splits}


def test_folders(tmp_path):
    fill(tmp_path, "images/train/b.jpg", "images/train/a.PNG", "images/val/c.jpg", "labels/train/a.txt")
    fill(tmp_path, "labels/val/c.txt")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    found = find_yolo(tmp_path)
    assert list(found.names) == ["cat", "dog"]
    assert listed(found) == {
        "train": [("images/train/a.PNG", "labels/train/a.txt"), ("images/train/b.jpg", "")],
        "val": [("images/val/c.jpg", "labels/val/c.txt")],
    }
    assert found.splits[0].entries[1].marks is None


def test_images_and_texts_side_by_side(tmp_path):
    fill(tmp_path, "a.jpg", "a.txt", "sub/b.jpg", "sub/b.txt")
    assert listed(find_yolo(tmp_path, "all")) == {"all": [("a.jpg", "a.txt"), ("sub/b.jpg", "sub/b.txt")]}


def test_data_yaml(tmp_path):
    fill(
        tmp_path, "set/train/images/a.jpg", "set/train/labels/a.txt", "set/valid/images/b.jpg", "set/valid/labels/b.txt"
    )
    # As Roboflow writes it, though the folders are beside the file.
    (tmp_path / "set" / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnames: ['x']\n")
    expected = {
        "train": [("train/images/a.jpg", "train/labels/a.txt")],
        "val": [("valid/images/b.jpg", "valid/labels/b.txt")],
    }
    for place in (tmp_path / "set", tmp_path / "set" / "data.yaml"):
        found = find_yolo(place)
        assert list(found.names) == ["x"]
        assert listed(found) == expected


def test_data_yaml_with_lists(tmp_path):
    fill(tmp_path, "images/a.jpg", "labels/a.txt", "images/b.jpg", "labels/b.txt")
    (tmp_path / "train.txt").write_text("./images/b.jpg\n\nimages/a.jpg\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: train.txt\nnames: {0: x}\n")
    assert listed(find_yolo(tmp_path)) == {
        "train": [("images/b.jpg", "labels/b.txt"), ("images/a.jpg", "labels/a.txt")]
    }


def test_nothing_there(tmp_path):
    with pytest.raises(FormatError, match="no such folder or data.yaml"):
        find_yolo(tmp_path / "none")
    with pytest.raises(FormatError, match="no image in it"):
        find_yolo(tmp_path)
    fill(tmp_path, "a.jpg")
    with pytest.raises(FormatError, match="no image has a text"):
        find_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("train: nowhere\nnames: [a]\n")
    with pytest.raises(FormatError, match="'nowhere' is not there"):
        find_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [a]\n")
    with pytest.raises(FormatError, match="names no images"):
        find_yolo(tmp_path)


def test_labels():
    assert yolo_labels(["a", "b"]) == {"0": 1, "1": 2}
    with pytest.raises(UsageError, match="classes are not known"):
        yolo_labels([])
