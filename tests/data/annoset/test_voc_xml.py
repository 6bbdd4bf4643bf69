"""VOC's annotations: what the original reads, what they mean, and hostile ones."""

from __future__ import annotations

import math
import time

import pytest

from caffecompat.data.annoset.boxes import MarkedBox
from caffecompat.data.annoset.voc_xml import read_voc_xml
from caffecompat.data.annoset.xml_tree import MAX_BYTES, MAX_ELEMENTS, read_xml
from caffecompat.errors import CaffeCompatError, FormatError

HEAD = "<annotation><size><width>50</width><height>40</height><depth>3</depth></size>"


def item(inner="", name="cat", box="<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax>"):
    return f"<object><name>{name}</name>{inner}<bndbox>{box}</bndbox></object>"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "a.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_boxes_in_their_order(write):
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    objects = [
        item("<difficult>1</difficult>"),
        item(part, "dog", "<ymax>4</ymax><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"),
    ]
    marked = read_voc_xml(
        write(f"<?xml version='1.0'?>\n{HEAD}<object_count>2</object_count>{''.join(objects)}</annotation>")
    )
    assert marked.size == (40, 50)
    assert list(marked.boxes) == [MarkedBox("cat", (1, 2, 30, 40), True), MarkedBox("dog", (1, 2, 3, 4), False)]
    assert marked.notes == ()


# The box's XML, and what the original and what a reader make of its corners.
CORNERS = [
    ("<xmin> 1 </xmin><ymin>+2</ymin><xmax>30\n</xmax><ymax>040</ymax>", (1, 2, 30, 40), (1, 2, 30, 40)),
    ("<xmin>1.0</xmin><ymin>2.5</ymin><xmax>3e1</xmax><ymax>40</ymax>", (0, 0, 0, 40), (1, 2.5, 30, 40)),
    ("<xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>", (1, 2, 30, 0), (1, 2, 30, math.nan)),
    ("<xmin>x</xmin><ymin/><xmax>nan</xmax><ymax>99999999999</ymax>", (0,) * 4, (math.nan,) * 3 + (99999999999,)),
    ("<xmin>-5</xmin><ymin>2</ymin><xmax>1</xmax><ymax>1</ymax>", (-5, 2, 1, 1), (-5, 2, 1, 1)),
]


@pytest.mark.parametrize(("box", "original", "meant"), CORNERS)
def test_corners(write, box, original, meant):
    path = write(f"{HEAD}{item(box=box)}</annotation>")
    found = read_voc_xml(path).boxes[0]
    assert found.corners == original
    assert bool(found.notes) == (original != meant)
    found = read_voc_xml(path, "meant").boxes[0]
    assert found.corners == pytest.approx(meant, nan_ok=True)
    assert found.notes == ()


def test_difficult_after_the_box(write):
    late = "<object><name>cat</name><bndbox><xmin>1</xmin></bndbox><difficult>1</difficult></object>"
    path = write(f"{HEAD}{late}{item('<difficult> 1 </difficult>')}{item('<difficult>0</difficult>')}</annotation>")
    boxes = read_voc_xml(path).boxes
    assert [box.difficult for box in boxes] == [False, True, False]
    assert "not heeded" in boxes[0].notes[0]
    assert [box.difficult for box in read_voc_xml(path, "meant").boxes] == [True, True, False]


@pytest.mark.parametrize(
    ("size", "note"),
    [
        ("", 0),
        ("<size/>", 0),
        ("<size><width>5</width></size>", 1),
        ("<size><width>0</width><height>9</height></size>", 1),
    ],
)
def test_without_a_size(write, size, note):
    marked = read_voc_xml(write(f"<annotation>{size}{item()}</annotation>"))
    assert marked.size is None
    assert len(marked.notes) == note


def test_without_a_box(write):
    box = read_voc_xml(write(f"{HEAD}<object><name>cat</name></object></annotation>")).boxes[0]
    assert all(map(math.isnan, box.corners))
    assert box.notes == ("it states no bndbox",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(write, encoding):
    declared = encoding.removesuffix("-sig")
    text = f"<?xml version='1.0' encoding='{declared}'?>{HEAD}{item(name='gr&#252;n <![CDATA[& café]]>')}</annotation>"
    assert read_voc_xml(write(text.encode(encoding))).boxes[0].name == "grün & café"


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10 if n else 'lol'}'>" for n in range(12))
BROKEN = [
    (b"", "not XML"),
    (b"\0\1\2\3", "not XML"),
    (b"<annotation><object>", "not XML"),
    (HEAD.encode(), "not XML: no element found"),
    (b"<annotation></annotations>", "mismatched tag"),
    (b"<html><body/></html>", "root 'annotation', got 'html'"),
    (b"<?xml version='1.0' encoding='no-such'?><annotation/>", "not XML: unknown encoding"),
    (b"<annotation>\xff\xfe</annotation>", "not well-formed"),
    (b"<annotation><object><name>a</name><name>b</name></object></annotation>", "one name, got 2"),
    (b"<annotation><object><bndbox/></object></annotation>", "one name, got 0"),
    (b"<annotation><object><name>a</name><bndbox/><bndbox/></object></annotation>", "one bndbox, got 2"),
    (f"<!DOCTYPE a [{LAUGHS}]><annotation>&l11;</annotation>".encode(), "defines entities"),
    (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><annotation>&x;</annotation>", "defines entities"),
    (b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://x.invalid/'> %x;]><annotation/>", "defines entities"),
    (b"<annotation>&undefined;</annotation>", "undefined entity"),
    (b"<annotation>" * 70, "64 deep"),
    (b"<a>" * 1_000_000, "64 deep"),
    (b"<annotation>" + b"<a/>" * (MAX_ELEMENTS + 1) + b"</annotation>", "at most 100000 elements"),
    (b"<annotation>" + b"x" * MAX_BYTES, f"at most {MAX_BYTES} bytes"),
    (b"<annotation>" + b"<object><name>a</name></object>" * 50_001 + b"</annotation>", "at most"),
]


@pytest.mark.parametrize(("data", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_and_hostile(write, data, message):
    path = write(data)
    start = time.process_time()
    with pytest.raises(FormatError, match=message) as caught:
        read_voc_xml(path)
    assert time.process_time() - start < 2
    assert caught.value.file == str(path)


def test_a_document_type_alone_does_no_harm(write):
    path = write("<!DOCTYPE annotation SYSTEM 'annotation.dtd'><annotation><a>1</a></annotation>")
    assert read_xml(path, "annotation").text_of("a") == "1"


def test_no_file(tmp_path):
    with pytest.raises(CaffeCompatError, match="no such file"):
        read_voc_xml(tmp_path / "none.xml")
