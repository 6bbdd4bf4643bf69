"""Files of results: the original's own, what tools of COCO write, and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from caffecompat.data.result_reading import classes_of_files, find_results, read_results
from caffecompat.errors import CaffeCompatError, FormatError, UsageError
from tests.support import REFERENCE

RECORDED = REFERENCE / "detection_files"


def rows(found):
    """(image, class, score, corner) of each detection, in an order of its own."""
    return sorted(
        (found.images[image], found.classes[label], score, *box[:2])
        for image, label, score, box in zip(
            found.image.tolist(), found.label.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
        )
    )


def test_the_three_kinds_say_the_same():
    voc, kind = read_results(find_results([RECORDED / "VOC"]), ["1", "2", "3"])
    assert kind == "VOC"
    ilsvrc, kind = read_results(find_results([RECORDED / "ILSVRC"]), [])
    assert kind == "ILSVRC"
    coco, kind = read_results(find_results([RECORDED / "COCO" / "det_.json"]), [])
    assert kind == "COCO"
    assert len(voc) == len(ilsvrc) == len(coco) == 45
    assert rows(voc) == rows(ilsvrc)
    for ours, theirs in zip(rows(voc), rows(coco), strict=True):
        assert ours[:2] == theirs[:2]
        # C++ prints six digits.
        assert ours[2] == pytest.approx(theirs[2], abs=1e-6)
        # Pixels are cut to integers there, and only rounded to hundredths here.
        assert all(0 <= exact - cut < 1 for cut, exact in zip(ours[3:], theirs[3:], strict=True))
    # img_a 0.984605 99 32 260 197
    (box,) = voc.boxes[voc.scores == 0.984605]
    assert box.tolist() == [99, 32, 260 - 99, 197 - 32]


@pytest.mark.parametrize(
    ("stems", "classes", "wanted"),
    [
        (["comp4_det_test_cat", "comp4_det_test_dog"], ["cat", "dog"], ["cat", "dog"]),
        (["cat", "car"], ["cat", "car"], ["cat", "car"]),
        # Of the classes car and racecar, the file of one class is of the longer.
        (["det_racecar"], ["car", "racecar"], ["racecar"]),
        (["det_car", "det_racecar"], ["car", "racecar"], ["car", "racecar"]),
        (["det_a b", "det_n/a"], ["a b"], ["a b", "n/a"]),
        (["det_cat", "det_unknown"], ["cat"], ["cat", "unknown"]),
    ],
)
def test_classes_of_files(stems, classes, wanted):
    assert list(classes_of_files(stems, classes).values()) == wanted


def test_no_class():
    with pytest.raises(FormatError, match=r"comp4_det_test_cat\.txt, got 'results'"):
        classes_of_files(["results"], ["cat"])


def test_json_of_tools(tmp_path):
    path = tmp_path / "x.json"
    values = [
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3.5, 4], "score": "9.5e-05", "segmentation": []},
        {"image_id": "a", "category_id": "cat", "bbox": [0, 0, 1, 1], "score": 1},
    ]
    path.write_text(json.dumps(values))
    found, _ = read_results([path], [])
    assert (found.images, found.classes) == (("7", "a"), ("1", "cat"))
    np.testing.assert_array_equal(found.scores, [9.5e-5, 1])
    np.testing.assert_array_equal(found.boxes[0], [1, 2, 3.5, 4])
    path.write_text(json.dumps({"images": [], "annotations": values}))
    assert len(read_results([path], [])[0]) == 2
    path.write_text("[]")
    assert len(read_results([path], [])[0]) == 0


LISTED = {
    "images": [{"id": 1, "file_name": "a/x.jpg"}, {"id": 2, "file_name": "y.jpg"}, {"id": 3}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "2"}],
    "annotations": [
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3.5, 4], "score": 0.75},
        {"image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5},
    ],
}
CSV = "image,class,name,score,xmin,ymin,xmax,ymax\n"


def test_names_of_images_and_classes(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(LISTED))
    found, _ = read_results([path], [])
    assert found.images == ("a/x.jpg", "y.jpg", "3")
    assert found.files == {"a/x.jpg": "a/x.jpg", "y.jpg": "y.jpg"}
    assert (found.titles, found.listed) == ({"1": "cat", "2": ""}, True)
    assert found.image.tolist() == [0, 2]
    # In another file the same id is another image's.
    other = tmp_path / "y.json"
    changed = {**LISTED, "images": [{"id": 1, "file_name": "p.jpg"}, {"id": 3, "file_name": "q.jpg"}]}
    other.write_text(json.dumps(changed))
    both, _ = read_results([path, other], [])
    assert [both.images[place] for place in both.image] == ["a/x.jpg", "3", "p.jpg", "q.jpg"]
    with pytest.raises(FormatError, match=r"x\.json: the image 'a/x\.jpg' stands twice"):
        read_results([path, path], [])


def test_csv_and_json_lines_of_detect(tmp_path):
    table, lines = tmp_path / "x.csv", tmp_path / "x.jsonl"
    table.write_text(CSV + '"a, b.jpg",7,"the ""cat""",0.75,1,2,4.5,6\nc.jpg,2,,0.5,0,0,1,1\n')
    names = ("xmin", "ymin", "xmax", "ymax")
    one = {"class": 7, "name": 'the "cat"', "score": 0.75, **dict(zip(names, (1, 2, 4.5, 6), strict=True))}
    two = {"class": 2, "name": "", "score": 0.5, **dict(zip(names, (0, 0, 1, 1), strict=True))}
    rows = [{"image": "a, b.jpg", "objects": [one]}, {"image": "none.jpg", "objects": []}]
    lines.write_text("\n".join(map(json.dumps, [*rows, {"image": "c.jpg", "objects": [two]}])) + "\n")
    for path, images in ((table, ("a, b.jpg", "c.jpg")), (lines, ("a, b.jpg", "none.jpg", "c.jpg"))):
        found, kind = read_results(find_results([path]), [])
        assert (kind, found.images, found.classes) == ("detect", images, ("7", "2"))
        assert found.files == {name: name for name in images}
        assert found.titles == {"7": 'the "cat"', "2": ""}
        np.testing.assert_array_equal(found.boxes, [[1, 2, 3.5, 4], [0, 0, 1, 1]])
        np.testing.assert_array_equal(found.scores, [0.75, 0.5])
    assert read_results([lines], [])[0].listed
    assert not read_results([table], [])[0].listed


def test_empty_files_are_no_detections(tmp_path):
    (tmp_path / "det_cat.txt").write_text("")
    (tmp_path / "det_dog.txt").write_text("one 0.5 1 2 3 4\r\n\n")
    found, kind = read_results(find_results([tmp_path]), ["cat", "dog"])
    assert (kind, found.classes, len(found)) == ("VOC", ("dog",), 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("det_cat.txt", "one 0.5 1 2 3 4\none 0.5 1 2 3\n", r"cat\.txt:2: expected image score xmin ymin xmax ymax"),
        ("det_cat.txt", "one high 1 2 3 4\n", "got 'one high 1 2 3 4'"),
        ("det_cat.txt", "one nan 1 2 3 4\n", "expected image score"),
        ("det_cat.txt", "one 0.5 1 2 inf 4\n", "expected image score"),
        ("det_cat.txt", "one 0.5 1 2 1e300 4\n", "expected image score"),
        ("det_cat.txt", "one 0.5\n", r"6 columns \(VOC\) or 7 \(ILSVRC\), got 2"),
        ("x.txt", "one cat 0.5 1 2 3 4\n", "expected image label score"),
        ("dog.txt", "one 0.5 1 2 3 4\n", "files called by a class"),
        ("det_cat.txt", "\0\0\0\0", "columns"),
        ("x.json", "[", "not JSON"),
        ("x.json", "7", "a list of detections, got 7"),
        ("x.json", "[7]", "detection 0: expected a number as 'image_id'"),
        ("x.json", "{}", "annotations"),
        ("x.json", '[{"image_id": 1, "category_id": true}]', "category_id"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "score": 1}]', "bbox"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}]', "bbox of 4 numbers"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "score": "x", "bbox": [1, 2, 3, 4]}]', "expected a score"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "score": NaN, "bbox": [1, 2, 3, 4]}]', "NaN"),
        ("x.json", '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3, 1e99]}]', "bbox"),
        ("x.json", '[{"image_id": 007}]', "not JSON"),
        ("x.json", "[" * 100_000, "JSON"),
        ("x.json", '{"annotations": [], "images": 7}', "'images'"),
        ("x.json", '{"annotations": [], "images": [{"file_name": "a"}]}', r"images\[0\]: expected a number as 'id'"),
        ("x.json", '{"annotations": [], "images": [{"id": 1, "file_name": 2}]}', "a text as 'file_name'"),
        ("x.json", '{"annotations": [], "images": [{"id": 1}, {"id": "1"}]}', r"images\[1\]: the id '1' stands twice"),
        ("x.csv", "a,b\n1,2\n", r"csv:1: expected the columns image,class,name,"),
        ("x.csv", CSV + "a,1,cat,0.5,1,2,3\n", r"csv:2: expected image,class"),
        ("x.csv", CSV + "a,1,cat,nan,1,2,3,4\n", "expected image,class"),
        ("x.csv", CSV + "a,1.5,cat,1,1,2,3,4\n", "expected image,class"),
        ("x.csv", CSV + "a,1,cat,1,1,2,3,1e99\n", "expected image,class"),
        ("x.csv", CSV + 'a,1,"cat\n', r"csv:2: not CSV"),
        ("x.csv", CSV + "a,1,cat,1,1,2,3,4\na,1,dog,1,1,2,3,4\n", r"csv:3: the class '1' is 'cat' already, and 'dog'"),
        ("x.jsonl", "{", "not JSON"),
        ("x.jsonl", "7", r"jsonl:1: expected a text as 'image'"),
        ("x.jsonl", '\n{"image": "a"}', r"jsonl:2: expected a list as 'objects'"),
        ("x.jsonl", '{"image": "a", "objects": [7]}', "object: expected a number as 'class'"),
        ("x.jsonl", '{"image": "a", "objects": [{"class": 1}]}', "score: expected a number"),
        ("x.jsonl", '{"image": "a", "objects": []}\n' * 2, "jsonl:2: the image 'a' stands twice"),
    ],
)
def test_what_is_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(CaffeCompatError, match=message):
        read_results(find_results([tmp_path]), ["cat"])


def test_which_files(tmp_path):
    with pytest.raises(FormatError, match="got none"):
        find_results([tmp_path])
    with pytest.raises(FormatError, match="no such file"):
        read_results([tmp_path / "x.txt"], ["x"])
    (tmp_path / "x.txt").write_text("one 0.5 1 2 3 4\n")
    (tmp_path / "y.json").write_text("[]")
    with pytest.raises(UsageError, match=r"\.json and \.txt together"):
        find_results([tmp_path])
    with pytest.raises(UsageError, match=r"arrays have no names[^\n]*\n.*--format coco, csv or jsonl"):
        find_results([tmp_path / "x.npy"])
    (tmp_path / "z.txt").write_text("one 1 0.5 1 2 3 4\n")
    with pytest.raises(UsageError, match="one kind, got ILSVRC and VOC"):
        read_results(find_results([tmp_path / "x.txt", tmp_path / "z.txt"]), ["x"])
