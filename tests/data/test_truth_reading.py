from __future__ import annotations

import json

import numpy as np
import pytest

from caffecompat.data.truth_reading import read_truth
from caffecompat.errors import CaffeCompatError, FormatError, UsageError


def voc_xml(*objects):
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax>"
        f"<ymax>{box[3]}</ymax></bndbox><difficult>{difficult}</difficult></object>"
        for name, box, difficult in objects
    )
    return f"<annotation><folder>x</folder>{boxes}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """VOC2007 with three annotated images, two of which are of the test."""
    folder = tmp_path / "VOC2007"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "Annotations" / "000001.xml").write_text(voc_xml(("dog", (1, 2, 11, 22), 0), ("cat", (5, 5, 6, 7), 1)))
    (folder / "Annotations" / "000002.xml").write_text(voc_xml())
    (folder / "Annotations" / "000003.xml").write_text(voc_xml(("bird", (1, 1, 2, 2), 0)))
    (folder / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n")
    (folder / "ImageSets" / "Main" / "cat_test.txt").write_text("000001 1\n000002 -1\n")
    return folder


def test_voc(voc):
    for path in (voc, voc.parent, voc / "Annotations"):
        truth = read_truth(path, "test")
        assert truth.images == ("000001", "000002")
        assert truth.classes == ("cat", "dog")
        assert truth.label.tolist() == [1, 0]
        assert truth.image.tolist() == [0, 0]
        assert truth.difficult.tolist() == [False, True]
        assert truth.areas is None
        np.testing.assert_array_equal(truth.boxes, [[1, 2, 10, 20], [5, 5, 1, 2]])


def test_every_file_is_told(voc):
    calls = []
    read_truth(voc, "test", lambda: calls.append(1))
    assert len(calls) == 2


def test_voc_needs_a_list_if_it_has_some(voc):
    with pytest.raises(UsageError, match="--image-set test; the lists are test"):
        read_truth(voc, None)
    with pytest.raises(UsageError, match="no list of images 'tset'\n  did you mean \"test\""):
        read_truth(voc, "tset")
    (voc / "ImageSets" / "Main" / "test.txt").unlink()
    (voc / "ImageSets" / "Main" / "cat_test.txt").unlink()
    assert read_truth(voc, None).images == ("000001", "000002", "000003")


def test_lists_of_ilsvrc_number_their_images(voc, tmp_path):
    listed = tmp_path / "val2.txt"
    listed.write_text("000003 7\n000001 9\n")
    truth = read_truth(voc / "Annotations", str(listed))
    assert truth.images == ("000003", "000001")
    assert truth.image_names == {"7": 0, "9": 1, "000003": 0, "000001": 1}


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("000001\n000009\n", "000009"),
        ("\n", "names of images"),
        ("000001\n000001\n", "stands twice"),
        ("../Annotations/000001\n", "leads out of the folder"),
        ("/etc/passwd\n", "leads out of the folder"),
        ("a\0b\n", "leads out of the folder"),
    ],
)
def test_lists_that_are_none(voc, tmp_path, listed, message):
    (tmp_path / "list.txt").write_text(listed)
    with pytest.raises(FormatError, match=message):
        read_truth(voc, str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<annotation>",
        "<html/>",
        voc_xml(("cat", ("a", 1, 2, 3), 0)),
        voc_xml(("cat", (1, 1, "1e300", 3), 0)),
        "<annotation><object><name>cat</name></object></annotation>",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><annotation>&a;</annotation>',
    ],
)
def test_annotations_that_are_none(voc, text):
    path = voc / "Annotations" / "000002.xml"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_truth(voc, "test")
    assert caught.value.file == str(path)


def test_folders_that_are_none(voc, tmp_path):
    (tmp_path / "VOC2012" / "Annotations").mkdir(parents=True)
    with pytest.raises(UsageError, match="several folders have annotations"):
        read_truth(tmp_path, "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"\.xml files, got none"):
        read_truth(tmp_path / "empty", None)
    with pytest.raises(FormatError, match="no such file"):
        read_truth(tmp_path / "nothing", None)


COCO = {
    "images": [{"id": 139, "file_name": "val/000000000139.jpg"}, {"id": 42, "file_name": "b.jpg"}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 5, "image_id": 139, "category_id": 18, "bbox": [1.5, 2, 10, 20], "area": 50.5, "iscrowd": 0},
        {"id": 6, "image_id": 42, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1, "segmentation": {"counts": []}},
    ],
}


def coco(folder, **changes):
    path = folder / "instances.json"
    path.write_text(json.dumps({**COCO, **changes}))
    return path


def test_coco(tmp_path):
    truth = read_truth(coco(tmp_path), None)
    assert truth.images == ("b.jpg", "val/000000000139.jpg")
    assert truth.classes == ("person", "dog")
    assert truth.class_names == {"person": 0, "1": 0, "dog": 1, "18": 1}
    assert truth.image_names["139"] == truth.image_names["000000000139"] == 1
    assert truth.image.tolist() == [1, 0]
    assert truth.label.tolist() == [1, 0]
    assert truth.difficult.tolist() == [False, True]
    np.testing.assert_array_equal(truth.boxes, [[1.5, 2, 10, 20], [1, 2, 3, 4]])
    np.testing.assert_array_equal(truth.areas, [50.5, 12])


def test_coco_of_some_images(tmp_path):
    listed = tmp_path / "minival.txt"
    listed.write_text("000000000139\n")
    truth = read_truth(coco(tmp_path), str(listed))
    assert truth.images == ("val/000000000139.jpg",)
    assert truth.boxes.tolist() == [[1.5, 2, 10, 20]]
    listed.write_text("7\n")
    with pytest.raises(FormatError, match="no image of the annotations is called '7'"):
        read_truth(coco(tmp_path), str(listed))


def change(**values):
    return {"annotations": [{**COCO["annotations"][0], **values}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 7}, "'images'"),
        ({"images": [7]}, r"images\[0\]: expected a number as 'id'"),
        ({"images": [{"id": 1}, {"id": 1}]}, "stands twice"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "two categories have the same name"),
        ({"annotations": [7]}, "image_id None is not among"),
        (change(image_id=7), "image_id 7 is not among"),
        (change(category_id=[7]), r"category_id \[7\] is not among"),
        (change(bbox=[1, 2, 3]), "a bbox of 4 numbers"),
        (change(bbox=[1, 2, 3, "4"]), "bbox"),
        (change(bbox=[1, 2, 3, 1e99]), "a bbox of 4 numbers"),
        (change(area="large"), "area"),
        (change(area=1e300), "expected an area"),
    ],
)
def test_coco_that_is_none(tmp_path, changes, message):
    with pytest.raises(CaffeCompatError, match=message):
        read_truth(coco(tmp_path, **changes), None)
