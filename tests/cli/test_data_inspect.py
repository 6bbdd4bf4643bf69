"""`caffecompat data inspect`: numbers counted by hand, boxes from the annotation files, and what the page holds."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.records import call, write_lmdb
from tests.support import shared_file


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(suffix, pixels, label):
    return caffe_pb2.Datum(data=cv2.imencode(suffix, pixels)[1].tobytes(), label=label, encoded=True)


def mixed():
    """One record of each kind, with labels 0, 2, 2 and -1, and a damaged one."""
    raw = caffe_pb2.Datum(channels=1, height=2, width=3, data=bytes(range(6)), label=0)
    floats = caffe_pb2.Datum(channels=2, height=2, width=2, float_data=[0, 1, 2, 3, -1, 0, 1, float("nan")], label=2)
    return [
        (b"a_raw", raw.SerializeToString()),
        (b"b_floats", floats.SerializeToString()),
        (b"c_jpeg", encoded(".jpg", picture(40, 300), 2).SerializeToString()),
        (b"d_<script>png", encoded(".png", picture(9, 7), -1).SerializeToString()),
        (b"e_bad\x1b[31m", caffe_pb2.Datum(data=b"<b>no picture", encoded=True).SerializeToString()),
    ]


@pytest.fixture
def database(tmp_path):
    return write_lmdb(tmp_path / "db", mixed())


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.mark.parametrize("workers", [0, 2])
def test_numbers(database, workers):
    found = json.loads(call("data", "inspect", database, "--json", "--workers", workers).stdout)
    assert (found["backend"], found["records"], found["records_in_database"]) == ("LMDB", 5, 5)
    assert found["bytes"] == sum(len(key) + len(value) for key, value in mixed())
    assert found["bytes_on_disk"] == sum(file.stat().st_size for file in database.iterdir())
    assert found["first_keys"] == ["a_raw", "b_floats", "c_jpeg"]
    assert found["messages"] == {"Datum": 4, "AnnotatedDatum": 0}
    assert {row["kind"]: row["records"] for row in found["kinds"]} == {
        "raw bytes": 1,
        "floats": 1,
        "encoded JPEG": 1,
        "encoded PNG": 1,
    }
    shapes = [[1, 2, 3], [2, 2, 2], [3, 9, 7], [3, 40, 300]]
    assert sorted(row["shape"] for row in found["shapes"]) == shapes
    assert found["labels"] == [{"label": -1, "count": 1}, {"label": 0, "count": 1}, {"label": 2, "count": 2}]
    assert found["damaged"] == 1
    assert found["faults"][0]["key"].startswith("e_bad")
    assert "boxes" not in found


def test_the_text(database):
    lines = call("data", "inspect", database).stdout.splitlines()
    assert lines[0].endswith("db: LMDB, 5 records, " + lines[0].split("records, ")[1])
    assert "records: Datum 4, damaged 1" in lines
    assert "labels: -1 to 2, 3 classes:" in lines
    assert "shapes (channels x height x width), heights 2 to 40, widths 2 to 300:" in lines
    # Nothing of what a database holds reaches the terminal as a command.
    assert any(line.startswith(r"damaged: e_bad\x1b[31m: ") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_limit(database):
    shown = call("data", "inspect", database, "--limit", 2).stdout
    assert "looked into the first 2" in shown
    assert "5 records" in shown
    assert "damaged" not in shown


def annotations(split):
    """The boxes of each picture in the annotation files: (class, xmin, ymin, xmax, ymax, difficult), in pixels."""
    folder = shared_file("data/shapes")
    found = []
    for name in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        root = ElementTree.parse(folder / "Annotations" / f"{name}.xml").getroot()
        size = [int(root.findtext(f"size/{side}")) for side in ("width", "height")]
        boxes = []
        for item in root.findall("object"):
            corners = [int(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
            boxes.append((item.findtext("name"), corners, int(item.findtext("difficult"))))
        found.append((name, size, boxes))
    return found


def test_annotated_databases(tmp_path):
    folder = shared_file("data/shapes")
    page = tmp_path / "page.html"
    labels = folder / "labelmap.prototxt"
    shown = call("data", "inspect", folder / "test_lmdb", "--json", "--html", page, "--labels", labels)
    found = json.loads(shown.stdout)
    stated = annotations("test")
    assert found["messages"] == {"Datum": 0, "AnnotatedDatum": len(stated)}
    assert found["annotation_type"] == "BBOX"
    every = [box for _, _, boxes in stated for box in boxes]
    assert found["boxes"]["all"] == len(every)
    assert found["boxes"]["difficult"] == sum(difficult for _, _, difficult in every)
    per_record = Counter(len(boxes) for _, _, boxes in stated)
    assert {row["boxes"]: row["records"] for row in found["boxes"]["per_record"]} == per_record
    names = {1: "circle", 2: "square", 3: "triangle"}
    by_class = Counter(name for name, _, _ in every)
    assert {names[row["label"]]: row["count"] for row in found["labels"]} == by_class
    elements = Elements(page.read_text())
    assert len(elements.all("img")) == len(stated)
    drawn = elements.all("i")
    assert len(drawn) == len(every)
    # Records are in the order of the list; within one, boxes are grouped by class.
    places = sorted(tuple(map(float, re.findall(r":(-?[\d.]+)%", box["style"]))) for box in drawn)
    wanted = sorted(
        (100 * left / width, 100 * top / height, 100 * (right - left) / width, 100 * (bottom - top) / height)
        for _, (width, height), boxes in stated
        for _, (left, top, right, bottom), _ in boxes
    )
    np.testing.assert_allclose(places, wanted, atol=0.011)
    assert sum("class" in box for box in drawn) == found["boxes"]["difficult"]
    assert {"1 circle", "2 square", "3 triangle"} <= set(elements.texts)


def test_annotated_records_without_a_type_have_the_labels_of_their_datums(tmp_path):
    records = [
        (b"%d" % label, caffe_pb2.AnnotatedDatum(datum=encoded(".png", picture(4, 4), label)).SerializeToString())
        for label in (5, 6)
    ]
    found = json.loads(call("data", "inspect", write_lmdb(tmp_path / "db", records), "--json").stdout)
    assert found["messages"] == {"Datum": 0, "AnnotatedDatum": 2}
    assert [row["label"] for row in found["labels"]] == [5, 6]
    assert "annotation_type" not in found


def test_the_page(database, tmp_path):
    page = tmp_path / "page.html"
    call("data", "inspect", database, "--html", page)
    elements = Elements(page.read_text())
    # Whatever the database holds is text in it.
    known = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "pre",
        "div",
        "figure",
        "figcaption",
        "br",
        "strong",
    }
    assert {tag for tag, _ in elements.tags} == {*known, "img"}
    assert any("d_<script>png" in text for text in elements.texts)
    assert "\x1b" not in page.read_text()
    policy = next(meta["content"] for meta in elements.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy
    sources = [attributes["src"] for attributes in elements.all("img")]
    assert len(sources) == 4
    images = []
    for source in sources:
        kind, data = source.split(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        images.append(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED))
    np.testing.assert_array_equal(images[0], np.arange(6, dtype=np.uint8).reshape(2, 3))
    # Floats from black to white: the first channel, 0 to 3.
    np.testing.assert_array_equal(images[1], [[0, 85], [170, 255]])
    assert images[2].shape == (26, 192, 3)
    np.testing.assert_array_equal(images[3], picture(9, 7))


def test_thumbnails_are_taken_evenly(tmp_path):
    records = [
        (b"%03d" % number, caffe_pb2.Datum(channels=1, height=1, width=1, data=bytes([number])).SerializeToString())
        for number in range(100)
    ]
    page = tmp_path / "page.html"
    call("data", "inspect", write_lmdb(tmp_path / "db", records), "--html", page, "--thumbnails", 4)
    elements = Elements(page.read_text())
    keys = [text for text in elements.texts if re.fullmatch(r"\d{3}", text)]
    assert keys == ["000", "025", "050", "075"]


def test_many_classes_are_summed_up(tmp_path):
    records = [
        (b"%04d" % number, caffe_pb2.Datum(channels=1, height=1, width=1, data=b"x", label=label).SerializeToString())
        for number, label in enumerate([7] * 3 + list(range(50)))
    ]
    lines = call("data", "inspect", write_lmdb(tmp_path / "db", records)).stdout.splitlines()
    start = lines.index("labels: 0 to 49, 50 classes:")
    assert lines[start + 1] == "   4  7"
    assert lines[start + 31] == "  20  in 20 more"


@pytest.mark.parametrize("cut", [10, 5000, 20000])
def test_a_database_cut_short(tmp_path, cut):
    whole = write_lmdb(tmp_path / "db", [(b"%04d" % number, bytes(600)) for number in range(60)])
    data = (whole / "data.mdb").read_bytes()
    (whole / "data.mdb").write_bytes(data[:cut])
    told = call("data", "inspect", whole, code=1).stderr
    assert "data.mdb" in told


def test_wrong_usage(database, tmp_path):
    call("data", "inspect", database, "--limit", 0, code=2)
    call("data", code=2)
    assert "its folder does not exist" in call("data", "inspect", database, "--html", tmp_path / "x/y", code=1).stderr
    assert "no such database" in call("data", "inspect", tmp_path / "none", code=1).stderr
