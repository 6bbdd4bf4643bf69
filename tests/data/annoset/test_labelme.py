"""LabelMe's JSON and XML: shapes to boxes, and where the image is."""

from __future__ import annotations

import json
import math
import time

import pytest

from caffecompat.data.annoset.boxes import MarkedBox
from caffecompat.data.annoset.labelme import MAX_REST, find_labelme, read_labelme
from caffecompat.errors import FormatError


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def write(folder, shapes, image="a.jpg", name="a.json", **more):
    whole = {"version": "5.0", "shapes": shapes, "imagePath": image, "imageHeight": 40, "imageWidth": 50, **more}
    path = folder / name
    path.write_text(json.dumps(whole))
    return path


def test_shapes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    shapes = [
        shape("cat", [[30, 4], [10, 20.5]], "rectangle"),
        shape(" dog ", [[5, 5], [9, 1], [7, 30]], flags={"difficult": True}),
        shape("cat", [[20, 20], [23, 24]], "circle", difficult=True),
        shape("cat", [[1, 1]], "point"),
        {"label": "cat", "points": [[1, 1], [2, 2], [3, 1]]},
    ]
    entry = read_labelme(write(tmp_path, shapes, imageData="QUJD" * 3_000_000), tmp_path)
    assert (entry.name, entry.listed, entry.size_name) == ("a.jpg", "a.json", "a")
    assert entry.marks.size == (40, 50)
    assert list(entry.marks.boxes) == [
        MarkedBox("cat", (10, 4, 30, 20.5)),
        MarkedBox("dog", (5, 1, 9, 30), True),
        MarkedBox("cat", (15, 15, 25, 25), True),
        MarkedBox("cat", (1, 1, 3, 2)),
    ]
    assert entry.marks.notes == ("shapes[3] (cat): a single point has no box, it is left out",)


@pytest.mark.parametrize(
    ("stated", "there", "name"),
    [
        ("b.png", "marks/b.png", "marks/b.png"),
        ("..\\images\\b.png", "images/b.png", "images/b.png"),
        ("../../outside.png", None, "outside.png"),
        ("/home/somebody/b.png", "marks/a.JPG", "marks/a.JPG"),
        ("gone.png", None, "marks/gone.png"),
    ],
)
def test_where_the_image_is(tmp_path, stated, there, name):
    root = tmp_path / "set"
    (root / "marks").mkdir(parents=True)
    if there:
        (root / there).parent.mkdir(exist_ok=True)
        (root / there).write_bytes(b"")
    entry = read_labelme(write(root / "marks", [], stated), root)
    assert entry.name == name


XML = """<annotation><filename> a.jpg </filename><folder>street</folder><imagesize><nrows>40</nrows><ncols>50</ncols>
</imagesize><object><name>
car
</name><deleted>0</deleted><polygon><username>x</username><pt><x>5</x><y>6</y></pt><pt><x>20</x><y>2.5</y></pt>
<pt><x>9</x><y>30</y></pt></polygon></object><object><name>gone</name><deleted>1</deleted></object>
<object><name>tree</name><polygon><pt><x>1</x><y>1</y></pt></polygon></object>
<object><name>bus</name><polygon><pt><x>1</x><y>q</y></pt><pt><x>2</x><y>2</y></pt></polygon></object></annotation>"""


def test_xml(tmp_path):
    path = tmp_path / "Annotations" / "street" / "a.xml"
    image = tmp_path / "Images" / "street" / "a.jpg"
    for file in (path, image):
        file.parent.mkdir(parents=True)
    path.write_text(XML)
    image.write_bytes(b"")
    entry = read_labelme(path, tmp_path)
    assert entry.name == "Images/street/a.jpg"
    assert entry.marks.size == (40, 50)
    assert entry.marks.boxes[0] == MarkedBox("car", (5, 2.5, 20, 30))
    assert entry.marks.boxes[1].name == "bus"
    assert any(map(math.isnan, entry.marks.boxes[1].corners))
    assert entry.marks.notes == ("object 2 (tree): a single point has no box, it is left out",)


POINTS = [[1, 1], [2, 2]]
BROKEN = [
    ("a.json", "", "not JSON"),
    ("a.json", "{}", "a list as 'shapes'"),
    ("a.json", '{"shapes": []}', "a text as 'imagePath'"),
    ("a.json", '{"shapes": [], "imagePath": ""}', "the name of an image"),
    ("a.json", '{"shapes": [], "imagePath": "a\\u0000"}', "the name of an image"),
    ("a.json", json.dumps({"shapes": [3], "imagePath": "a"}), "shapes\\[0\\]: expected a text as 'label'"),
    ("a.json", json.dumps({"shapes": [shape("a", 3)], "imagePath": "a"}), "a list as 'points'"),
    ("a.json", json.dumps({"shapes": [shape("a", [[1]])], "imagePath": "a"}), "points of two numbers"),
    ("a.json", json.dumps({"shapes": [shape("a", [["x", 1]])], "imagePath": "a"}), "expected a number, got 'x'"),
    ("a.json", json.dumps({"shapes": [shape("a", POINTS)] * 100_001, "imagePath": "a"}), "at most"),
    ("a.json", '{"imageData": "' + "A" * 100, "not JSON"),
    ("a.json", "[" * 1_000_000, "nested too deeply"),
    ("a.json", " " * (MAX_REST + 1), "without its image"),
    ("a.xml", "<annotation/>", "the name of an image as 'filename'"),
    ("a.xml", "<annotation><filename>a</filename><object/></annotation>", "expected a name"),
    ("a.xml", "<annotation><filename>a</filename><object><name>x</name></object></annotation>", "a polygon"),
    (
        "a.xml",
        "<annotation><filename>a</filename><object><name>x</name><bndbox/></object></annotation>",
        "got one of VOC",
    ),
    ("a.xml", "<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>", "defines entities"),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    start = time.process_time()
    entry = read_labelme(tmp_path / name, tmp_path)
    assert time.process_time() - start < 2
    # What is wrong with one goes with its entry: the others are converted.
    assert isinstance(entry.marks, FormatError)
    with pytest.raises(FormatError, match=message):
        raise entry.marks
    assert entry.marks.file == str(tmp_path / name)


def test_find(tmp_path):
    with pytest.raises(FormatError, match="no annotation of LabelMe"):
        find_labelme(tmp_path)
    with pytest.raises(FormatError, match="no such folder"):
        find_labelme(tmp_path / "none")
    (tmp_path / "b").mkdir()
    for name in ("b/2.json", "1.xml", "b/1.JSON", "a.jpg"):
        (tmp_path / name).write_text("")
    assert [str(path.relative_to(tmp_path)) for path in find_labelme(tmp_path)] == ["1.xml", "b/1.JSON", "b/2.json"]
