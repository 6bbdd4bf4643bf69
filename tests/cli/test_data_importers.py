"""`caffecompat data yolo`, `labelme` and `csv`: the drawn set in each form gives the original's annotations."""

from __future__ import annotations

import json
import os

import pytest
from google.protobuf import text_format

from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb
from tests.data.annoset.shapes import NAMES, recorded

COUNT = 12


def message(record):
    return caffe_pb2.AnnotatedDatum.FromString(record)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Some recorded pictures: name, record, and their boxes (class, corners in pixels, difficult) in their order."""
    found = []
    for key, value in list(recorded("test", tmp_path_factory.mktemp("r")).items())[20 : 20 + COUNT]:
        record = message(value)
        boxes = []
        for group in record.annotation_group:
            for item in group.annotation:
                size = (record.datum.width, record.datum.height) * 2
                corners = (item.bbox.xmin, item.bbox.ymin, item.bbox.xmax, item.bbox.ymax)
                corners = [round(value * side) for value, side in zip(corners, size, strict=True)]
                boxes.append((NAMES[group.group_label - 1], corners, item.bbox.difficult))
        found.append((key.decode().rsplit("/", 1)[1].removesuffix(".jpg"), record, boxes))
    assert any(difficult for _, _, boxes in found for _, _, difficult in boxes)
    return found


def write_images(folder, items):
    folder.mkdir(parents=True, exist_ok=True)
    for name, record, _ in items:
        (folder / f"{name}.jpg").write_bytes(record.datum.data)
    return folder


def boxes_of(record):
    """Label, instance and corners of all boxes, one after the other."""
    values = []
    for group in record.annotation_group:
        for item in group.annotation:
            box = item.bbox
            values += [group.group_label, item.instance_id, box.xmin, box.ymin, box.xmax, box.ymax]
    return values


def check(database, items, tolerance=0.0, difficult=True, prefix=""):
    found = {key[9:].decode(): message(value) for key, value in read_lmdb(database).items()}
    assert list(found) == [f"{prefix}{name}.jpg" for name, _, _ in items]
    for (_, expected, _), got in zip(items, found.values(), strict=True):
        assert got.datum == expected.datum
        assert got.type == expected.type
        assert boxes_of(got) == pytest.approx(boxes_of(expected), abs=tolerance)
        if difficult:
            assert got == expected


def check_label_map(path):
    labels = text_format.Parse(path.read_text(), caffe_pb2.LabelMap())
    assert [(item.label, item.name) for item in labels.item] == list(enumerate(("none_of_the_above", *NAMES)))


def write_yolo(root, items, split):
    write_images(root / "images" / split, items)
    (root / "labels" / split).mkdir(parents=True)
    for name, record, boxes in items:
        width, height = record.datum.width, record.datum.height
        lines = [
            f"{NAMES.index(label)} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} {(x1 - x0) / width} "
            f"{(y1 - y0) / height}\n"
            for label, (x0, y0, x1, y1), _ in boxes
        ]
        (root / "labels" / split / f"{name}.txt").write_text("".join(lines))


def test_yolo(items, tmp_path):
    root = tmp_path / "yolo"
    write_yolo(root, items[:8], "train")
    write_yolo(root, items[8:], "val")
    (root / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames: [circle, square, triangle]\n"
    )
    for number, place in enumerate((root, root / "data.yaml")):
        out = tmp_path / f"out{number}"
        call("data", "yolo", place, "-o", out, "--no-shuffle")
        check(out / "train_lmdb", items[:8], 1e-7, difficult=False, prefix="images/train/")
        check(out / "val_lmdb", items[8:], 1e-7, difficult=False, prefix="images/val/")
        check_label_map(out / "labelmap.prototxt")
        sizes = [f"{name} {record.datum.height} {record.datum.width}\n" for name, record, _ in items[8:]]
        assert (out / "val_name_size.txt").read_text() == "".join(sizes)


def test_yolo_with_classes_given(items, tmp_path):
    root = tmp_path / "yolo"
    write_yolo(root, items, "train")
    assert "the classes are not known" in call("data", "yolo", root, "-o", tmp_path / "out", code=2).stderr
    call("data", "yolo", root, "-o", tmp_path / "out", "--no-shuffle", "--classes", ",".join(NAMES))
    check(tmp_path / "out" / "train_lmdb", items, 1e-7, difficult=False, prefix="images/train/")
    # Too few: a text names one that is not there.
    told = call("data", "yolo", root, "-o", tmp_path / "few", "--classes", "circle,square", code=1).stderr
    assert "no class '2'" in told


def test_yolo_with_a_label_map_of_ones_own(items, tmp_path):
    root = tmp_path / "yolo"
    write_yolo(root, items, "train")
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    label_map = tmp_path / "map.prototxt"
    label_map.write_text('item { name: "triangle" label: 9 }\nitem { name: "circle" label: 4 }\n')
    options = ("--no-shuffle", "--label-map-file", label_map)
    assert "lack 'square'" in call("data", "yolo", root, "-o", tmp_path / "out", *options, code=2).stderr
    call("data", "yolo", root, "-o", tmp_path / "out", *options, "--skip-unknown")
    found = [message(value) for value in read_lmdb(tmp_path / "out" / "train_lmdb").values()]
    labels = [[group.group_label for group in record.annotation_group] for record in found]
    mapped = {1: 4, 3: 9}
    assert labels == [
        [mapped[group.group_label] for group in record.annotation_group if group.group_label in mapped]
        for _, record, _ in items
    ]


def write_labelme(folder, items):
    write_images(folder, items)
    for name, record, boxes in items:
        shapes = [
            {
                "label": label,
                "points": [[x1, y0], [x0, y1]],
                "shape_type": "rectangle",
                "flags": {"difficult": difficult},
            }
            for label, (x0, y0, x1, y1), difficult in boxes
        ]
        whole = {"shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None}
        whole |= {"imageHeight": record.datum.height, "imageWidth": record.datum.width}
        (folder / f"{name}.json").write_text(json.dumps(whole))
    return folder


def test_labelme(items, tmp_path):
    folder = write_labelme(tmp_path / "marks", items)
    out = tmp_path / "out"
    call("data", "labelme", folder, "-o", out, "--no-shuffle")
    check(out / "trainval_lmdb", items)
    check_label_map(out / "labelmap.prototxt")
    assert (out / "trainval.txt").read_text() == "".join(f"{name}.jpg {name}.json\n" for name, _, _ in items)


def test_labelme_with_a_broken_annotation(items, tmp_path):
    folder = write_labelme(tmp_path / "marks", items)
    (folder / f"{items[2][0]}.json").write_text("{")
    out = tmp_path / "out"
    told = call("data", "labelme", folder, "-o", out, "--no-shuffle", "--split", "all").stderr
    assert f"passed over: {folder / items[2][0]}.json:1:2: not JSON" in told
    assert len(read_lmdb(out / "all_lmdb")) == COUNT - 1
    assert "not JSON" in call("data", "labelme", folder, "-o", tmp_path / "strict", "--strict", code=1).stderr
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.json").write_text("{")
    assert "not JSON" in call("data", "labelme", tmp_path / "bad", "-o", tmp_path / "x", code=1).stderr
    assert not (tmp_path / "x").exists()


def test_csv(items, tmp_path):
    images = write_images(tmp_path / "images", items)
    table = tmp_path / "boxes.csv"
    rows = [
        f"{name}.jpg,{label},{x0},{y0},{x1},{y1},{int(difficult)}\n"
        for name, _, boxes in items
        for label, (x0, y0, x1, y1), difficult in boxes
    ]
    table.write_text("filename,class,xmin,ymin,xmax,ymax,difficult\n" + "".join(rows))
    call("data", "csv", table, images, "-o", tmp_path / "out", "--no-shuffle")
    check(tmp_path / "out" / "trainval_lmdb", items)
    check_label_map(tmp_path / "out" / "labelmap.prototxt")
    table.write_text("".join(rows).replace(",", ";"))
    options = ("--columns", "1,3,4,5,6,2", "--no-shuffle", "--split", "all", "--name", "mine", "--layout", "caffe")
    call("data", "csv", table, images, "-o", tmp_path / "plain", *options)
    check(tmp_path / "plain" / "examples" / "mine" / "mine_all_lmdb", items, difficult=False)


def test_csv_in_fractions(items, tmp_path):
    images = write_images(tmp_path / "images", items)
    table = tmp_path / "boxes.csv"
    rows = []
    for name, record, boxes in items:
        width, height = record.datum.width, record.datum.height
        for label, (x0, y0, x1, y1), _ in boxes:
            rows.append(f"{name}.jpg,{x0 / width!r},{y0 / height!r},{x1 / width!r},{y1 / height!r},{label}\n")
    table.write_text("".join(rows))
    call("data", "csv", table, images, "-o", tmp_path / "out", "--no-shuffle", "--fractions")
    check(tmp_path / "out" / "trainval_lmdb", items, 1e-7, difficult=False)


def test_training_splits_are_shuffled(items, tmp_path):
    folder = write_labelme(tmp_path / "marks", items)
    orders = {}
    for split in ("train", "test"):
        call("data", "labelme", folder, "-o", tmp_path / split, "--split", split)
        orders[split] = [key[9:] for key in read_lmdb(tmp_path / split / f"{split}_lmdb")]
    expected = [f"{name}.jpg".encode() for name, _, _ in items]
    assert orders["test"] == expected != orders["train"]
    assert sorted(orders["train"]) == expected
    call("data", "labelme", folder, "-o", tmp_path / "shuffled", "--split", "test", "--shuffle")
    assert [key[9:] for key in read_lmdb(tmp_path / "shuffled" / "test_lmdb")] == orders["train"]


@pytest.mark.parametrize("name", ["annoset", "coco", "csv", "labelme", "voc", "yolo"])
def test_help(name):
    assert call("data", name, "--help").stdout.startswith("Usage:")


def test_wrong_usage(items, tmp_path):
    folder = write_labelme(tmp_path / "marks", items)
    assert "-o" in call("data", "labelme", folder, code=2).stderr
    assert "without slashes" in call("data", "labelme", folder, "-o", tmp_path / "o", "--split", "a/b", code=2).stderr
    (tmp_path / "t.csv").write_text("a.jpg,1,2,3,4,cat\n")
    told = call("data", "csv", tmp_path / "t.csv", folder, "-o", tmp_path / "o", "--delimiter", "ab", code=2).stderr
    assert "one sign" in told
    told = call("data", "csv", tmp_path / "t.csv", folder, "-o", tmp_path / "o", code=1).stderr
    assert "none of 1 images could be read" in told
    assert sorted(os.listdir(tmp_path)) == ["marks", "t.csv"]
