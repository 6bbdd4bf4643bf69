"""`caffecompat data coco`, on annotations of the drawn set, against what the original made of it."""

from __future__ import annotations

import json
import os
import random

import pytest
from google.protobuf import text_format

from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb
from tests.data.annoset.shapes import NAMES, SHAPES, recorded

# Ids that leave numbers out, as COCO's do.
IDS = {"circle": 2, "square": 5, "triangle": 11}


def message(record):
    return caffe_pb2.AnnotatedDatum.FromString(record)


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """The set's test part in val2014 and 20 images of the other in train2014, each with its annotations."""
    root = tmp_path_factory.mktemp("coco")
    chance = random.Random(5)
    for split, part, number in (("test", "val2014", 1000), ("trainval", "train2014", 2000)):
        images, boxes = [], []
        (root / "images" / part).mkdir(parents=True)
        for index, (key, record) in enumerate(list(recorded(split, root).items())[: 48 if split == "test" else 20]):
            found = message(record)
            name = f"COCO_{part}_{key.decode().rsplit('_', 1)[1]}"
            (root / "images" / part / name).write_bytes(found.datum.data)
            height, width = found.datum.height, found.datum.width
            images.append({"id": number + index, "file_name": name, "height": height, "width": width})
            for group in found.annotation_group:
                for item in group.annotation:
                    xmin, xmax = (round(value * width) for value in (item.bbox.xmin, item.bbox.xmax))
                    ymin, ymax = (round(value * height) for value in (item.bbox.ymin, item.bbox.ymax))
                    box = {"image_id": number + index, "category_id": list(IDS.values())[group.group_label - 1]}
                    box |= {"bbox": [xmin, ymin, xmax - xmin, ymax - ymin], "iscrowd": int(item.bbox.difficult)}
                    boxes.append(box | {"id": len(boxes), "segmentation": [[xmin, ymin, xmax, ymin, xmax, ymax]]})
        chance.shuffle(images)
        categories = [{"id": IDS[name], "name": name, "supercategory": "shape"} for name in reversed(NAMES)]
        whole = {"info": {}, "images": images, "annotations": boxes, "categories": categories}
        (root / f"instances_{part}.json").write_text(json.dumps(whole))
    return root


def originals(split, root):
    """The recorded records by the numbers in their names."""
    return {key.decode().rsplit("_", 1)[1]: message(value) for key, value in recorded(split, root).items()}


def test_the_originals_records(coco, tmp_path):
    out = tmp_path / "out"
    result = call("data", "coco", coco / "instances_val2014.json", coco / "images", "-o", out)
    images = json.loads((coco / "instances_val2014.json").read_text())["images"]
    found = read_lmdb(out / "coco_val2014_lmdb")
    assert list(found) == [f"{n:08d}_images/val2014/{image['file_name']}".encode() for n, image in enumerate(images)]
    expected = originals("test", tmp_path)
    for key, value in found.items():
        assert message(value) == expected[key.decode().rsplit("_", 1)[1]]
    lines = [f"{image['id']} {image['height']} {image['width']}\n" for image in images]
    assert (out / "val2014_name_size.txt").read_text() == "".join(lines)
    listed = [f"images/val2014/{image['file_name']} {image['id']}\n" for image in images]
    assert (out / "val2014.txt").read_text() == "".join(listed)
    # Labels follow one another in the order of the ids.
    labels = text_format.Parse((out / "labelmap_coco.prototxt").read_text(), caffe_pb2.LabelMap())
    assert [(item.name, item.label, item.display_name) for item in labels.item] == [
        ("none_of_the_above", 0, "background"),
        ("2", 1, "circle"),
        ("5", 2, "square"),
        ("11", 3, "triangle"),
    ]
    assert result.stdout == ""
    assert result.stderr.endswith(f"wrote {out / 'coco_val2014_lmdb'}: 48 records, 101 boxes\n")


def test_a_label_map_by_names(coco, tmp_path):
    out = tmp_path / "out"
    label_map = ("--label-map-file", SHAPES / "labelmap.prototxt")
    call("data", "coco", coco / "instances_val2014.json", coco / "images" / "val2014", "-o", out, *label_map)
    expected = originals("test", tmp_path)
    found = read_lmdb(out / "coco_val2014_lmdb")
    assert {message(value) == expected[key.decode().rsplit("_", 1)[1]] for key, value in found.items()} == {True}
    assert next(iter(found)).startswith(b"00000000_val2014/COCO_val2014_")


def test_the_authors_splits(coco, tmp_path):
    """trainval35k: the train split and a part of val, in random order; minival: the rest."""
    names = [f"COCO_val2014_{number:04d}" for number in range(48)]
    lists = {"valminusminival2014": names[:30], "minival2014": names[30:]}
    lists["train2014"] = [f"COCO_train2014_{number:04d}" for number in range(20)]
    for name, items in lists.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(items) + "\n")
    out = tmp_path / "out"
    splits = (
        *("--split", f"train={tmp_path}/train2014.txt,{tmp_path}/valminusminival2014.txt"),
        *("--split", f"minival={tmp_path}/minival2014.txt"),
    )
    files = (coco / "instances_train2014.json", coco / "instances_val2014.json")
    call("data", "coco", *files, coco / "images", "-o", out, *splits, "--layout", "caffe")
    train = [key[9:].decode() for key in read_lmdb(out / "examples" / "coco" / "coco_train_lmdb")]
    expected = [f"images/train2014/{name}.jpg" for name in lists["train2014"]]
    expected += [f"images/val2014/{name}.jpg" for name in names[:30]]
    assert train != expected
    assert sorted(train) == sorted(expected)
    minival = [key[9:].decode() for key in read_lmdb(out / "examples" / "coco" / "coco_minival_lmdb")]
    assert minival == [f"images/val2014/{name}.jpg" for name in names[30:]]
    # The prototxts name the sizes so.
    sizes = (out / "data" / "coco" / "minival2014_name_size.txt").read_text().splitlines()
    assert [line.split()[0] for line in sizes] == [str(1000 + number) for number in range(30, 48)]
    assert (out / "data" / "coco" / "labelmap_coco.prototxt").is_file()
    assert (out / "data" / "coco" / "train_name_size.txt").is_file()


def test_a_test_without_annotations(coco, tmp_path):
    whole = json.loads((coco / "instances_val2014.json").read_text())
    del whole["annotations"]
    (tmp_path / "image_info_test2014.json").write_text(json.dumps(whole))
    call("data", "coco", tmp_path / "image_info_test2014.json", coco / "images", "-o", tmp_path / "out")
    found = [message(value) for value in read_lmdb(tmp_path / "out" / "coco_test2014_lmdb").values()]
    assert len(found) == 48
    assert not any(item.annotation_group for item in found)
    assert all(item.type == caffe_pb2.AnnotatedDatum.BBOX and item.HasField("type") for item in found)


def test_problems_are_told(coco, tmp_path):
    whole = json.loads((coco / "instances_val2014.json").read_text())
    whole["images"][1]["file_name"] = "gone.jpg"
    whole["images"][2]["width"] += 1
    image = whole["images"][3]
    whole["annotations"] = [
        {"image_id": image["id"], "category_id": 2, "bbox": [0, 0, 500, 10]},
        {"image_id": image["id"], "category_id": 2, "bbox": [0, 0, 10, 0]},
    ]
    (tmp_path / "a.json").write_text(json.dumps(whole))
    options = ("-o", tmp_path / "out", "--report", tmp_path / "report.txt", "--bad-boxes", "drop")
    call("data", "coco", tmp_path / "a.json", coco / "images", *options)
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["image", "size", "box", "box"]
    assert f"a.json: image {image['id']}: box 1 (2): it reaches beyond the image" in lines[2]
    assert len(read_lmdb(tmp_path / "out" / "coco_a_lmdb")) == 47


def test_wrong_usage(coco, tmp_path):
    files = (coco / "instances_val2014.json", coco / "images", "-o", tmp_path / "out")
    assert "--split NAME=LIST" in call("data", "coco", *files, "--split", "minival", code=2).stderr
    assert "no such file" in call("data", "coco", *files, "--split", f"a={tmp_path}/a.txt", code=1).stderr
    other = json.loads((coco / "instances_train2014.json").read_text())
    other["categories"][0]["name"] = "cone"
    (tmp_path / "b.json").write_text(json.dumps(other))
    told = call("data", "coco", tmp_path / "b.json", *files, code=1).stderr
    assert "category 11 is 'triangle' here, and 'cone' in another file" in told
    (tmp_path / "b.json").write_text(json.dumps({"images": []}))
    told = call("data", "coco", tmp_path / "b.json", coco / "images", "-o", tmp_path / "out", code=2).stderr
    assert "there are no categories" in told
    assert os.listdir(tmp_path) == ["b.json"]
