"""COCO's annotations of all images in one file: against `json`, and broken ones."""

from __future__ import annotations

import json
import random
import time

import pytest

from caffecompat.data.annoset.class_map import coco_classes, named_classes
from caffecompat.data.annoset.coco import chosen, coco_entries, read_coco
from caffecompat.errors import FormatError


def made(seed, names="{}.jpg"):
    """A file's content, its keys in random order, with what is not needed between."""
    chance = random.Random(seed)
    images = [{"id": 10 + n, "file_name": names.format(n), "height": 40, "width": 50 + n} for n in range(9)]
    boxes = [
        {
            "id": n,
            "image_id": chance.choice(images)["id"],
            "category_id": chance.choice([1, 3, 90]),
            "bbox": [chance.randrange(20), chance.randrange(20) / 4, chance.randrange(1, 9), 2.5],
            "iscrowd": chance.randrange(2),
            "segmentation": {"counts": 'a]b}\\"', "size": [[1], {}]},
        }
        for n in range(40)
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 90, "name": "toothbrush"}]
    whole = {"images": images, "annotations": boxes, "categories": categories, "info": {"a": [1, {}]}, "licenses": []}
    keys = list(whole)
    chance.shuffle(keys)
    return {key: whole[key] for key in keys}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("indent", [None, 1])
def test_read(tmp_path, seed, indent):
    whole = made(seed)
    path = tmp_path / "instances_val2014.json"
    path.write_text(json.dumps(whole, indent=indent))
    found = read_coco(path)
    classes = coco_classes(found.categories)
    entries = coco_entries(found, tmp_path, classes)
    assert [entry.size_name for entry in entries] == [str(image["id"]) for image in whole["images"]]
    for entry, image in zip(entries, whole["images"], strict=True):
        own = [box for box in whole["annotations"] if box["image_id"] == image["id"]]
        assert entry.marks.size == (image["height"], image["width"])
        got = [(box.name, *box.corners, box.difficult) for box in entry.marks.boxes]
        assert got == [
            (str(box["category_id"]), x, y, x + w, y + h, bool(box["iscrowd"]))
            for box in own
            for x, y, w, h in [box["bbox"]]
        ]


def test_classes_by_name(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(made(1)))
    entries = coco_entries(read_coco(path), tmp_path, named_classes(["car", "person"]))
    names = {box.name for entry in entries for box in entry.marks.boxes}
    assert names == {"person", "car", "toothbrush"}


def test_without_annotations(tmp_path):
    whole = made(1)
    del whole["annotations"]
    path = tmp_path / "image_info_test2014.json"
    path.write_text(json.dumps(whole))
    found = read_coco(path)
    assert [len(entry.marks.boxes) for entry in coco_entries(found, tmp_path, named_classes(["a"]))] == [0] * 9


def test_where_images_are(tmp_path):
    images = tmp_path / "images"
    places = {"0.jpg": "0.jpg", "COCO_val2014_1.jpg": "val2014", "2.jpg": "train2017", "3.jpg": "other"}
    for name, folder in places.items():
        target = images / folder / name if folder != name else images / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"")
    listed = [*places, "4.jpg"]
    whole = {"images": [{"id": n, "file_name": name} for n, name in enumerate(listed)]}
    path = tmp_path / "instances_train2017.json"
    path.write_text(json.dumps(whole))
    entries = coco_entries(read_coco(path), images, named_classes(["a"]))
    names = ["0.jpg", "val2014/COCO_val2014_1.jpg", "train2017/2.jpg", "other/3.jpg", "4.jpg"]
    assert [entry.name for entry in entries] == [f"images/{name}" for name in names]
    assert [entry.path for entry in entries] == [str(images / name) for name in names]
    with pytest.raises(FormatError, match="folder of the images"):
        coco_entries(read_coco(path), tmp_path / "none", named_classes(["a"]))


def test_chosen_by_lists(tmp_path):
    files = []
    for part, names in enumerate(("COCO_train2014_{}.jpg", "COCO_val2014_{}.jpg")):
        path = tmp_path / f"{part}.json"
        path.write_text(json.dumps(made(part, names)))
        files.append(coco_entries(read_coco(path), tmp_path, named_classes(["a"])))
    lists = [tmp_path / "a.txt", tmp_path / "b.txt"]
    lists[0].write_text("COCO_val2014_3\nCOCO_train2014_8.jpg\n")
    lists[1].write_text("images/val2014/COCO_val2014_0.jpg\n")
    found = chosen([*files[0], *files[1]], lists)
    assert [entry.path.rsplit("/")[-1] for entry in found] == [
        "COCO_val2014_3.jpg",
        "COCO_train2014_8.jpg",
        "COCO_val2014_0.jpg",
    ]
    lists[1].write_text("\n12\n")
    assert [entry.size_name for entry in chosen(files[0], lists[1:])] == ["12"]
    # Both files have an image of that id.
    with pytest.raises(FormatError, match="several images are called '12'") as caught:
        chosen([*files[0], *files[1]], lists[1:])
    assert (caught.value.file, caught.value.line) == (str(lists[1]), 2)
    lists[1].write_text("nobody\n")
    with pytest.raises(FormatError, match="no image is called 'nobody'"):
        chosen(files[0], lists[1:])


IMAGE = '{"id": 1, "file_name": "a.jpg"}'
BROKEN = [
    ("", "expected one of {"),
    ("[]", "expected one of {"),
    ("{}", 'a list "images", got none'),
    ('{"images": 3}', 'a list "images", got none'),
    ('{"images": [', "not JSON"),
    (f'{{"images": [{IMAGE}', "expected one of ,]"),
    (f'{{"images": [{IMAGE} {IMAGE}]}}', "expected one of ,]"),
    (f'{{"images": [{IMAGE}]', "expected one of ,}"),
    (f'{{"images": [{IMAGE}] "x"', "expected one of ,}"),
    (f'{{"images" [{IMAGE}]}}', "expected one of :"),
    (f"{{images: [{IMAGE}]}}", 'expected one of "'),
    (f'{{"images": [{IMAGE}, {IMAGE}]}}', "the same id"),
    ('{"images": [3]}', "images\\[0\\]: expected a text as 'file_name'"),
    ('{"images": [{"id": 1}]}', "images\\[0\\]: expected a text as 'file_name', got none"),
    ('{"images": [{"id": 1.5, "file_name": "a"}]}', "images\\[0\\]: expected a number as 'id', got 1.5"),
    (f'{{"images": [{IMAGE}], "annotations": [{{"image_id": 1, "category_id": 1}}]}}', "a list as 'bbox', got none"),
    (
        f'{{"images": [{IMAGE}], "annotations": [{{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}}]}}',
        "annotations\\[0\\]: expected a bbox of 4 numbers",
    ),
    (f'{{"images": [{IMAGE}], "categories": [{{"id": 1}}]}}', "categories\\[0\\]: expected a text as 'name'"),
    ('{"info": NaN, "images": []}', "NaN is no number"),
    ('{"info": ' + "[" * 100_000, "nested too deeply"),
    ('{"images": [' + "[" * 100_000, "nested too deeply"),
    ('{"a": ' + "1" * 10_000 + ', "images": []}', "not JSON"),
    ("\0", "expected one of {"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(FormatError, match=message) as caught:
        read_coco(path)
    assert time.process_time() - start < 2
    assert caught.value.file == str(path)


def test_too_large(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(made(1)))
    with pytest.raises(FormatError, match="at most 1,000 bytes"):
        read_coco(path, limit=1000)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FormatError, match="UTF-8"):
        read_coco(path)
