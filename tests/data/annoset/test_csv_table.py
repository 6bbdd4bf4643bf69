"""Boxes in tables of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffecompat.data.annoset.boxes import MarkedBox
from caffecompat.data.annoset.csv_table import TableForm, read_table
from caffecompat.errors import CaffeCompatError, FormatError, UsageError

CAT, DOG = MarkedBox("cat", (1, 2, 30, 40)), MarkedBox("dog", (5, 6.5, 7, 8))


def read(tmp_path, text, **form):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, Path("images"), TableForm(**form))


PLAIN = "a.jpg,1,2,30,40,cat\nb.jpg,1,2,30,40,cat\na.jpg,5,6.5,7,8,dog\n"
SAME = [
    (PLAIN, {}),
    (PLAIN.replace(",", ";"), {}),
    (PLAIN.replace(",", "\t").replace("\n", "\r\n"), {}),
    (PLAIN.replace(",", "|"), {"delimiter": "|"}),
    ("\ufeffimage,xmin,ymin,xmax,ymax,label\n" + PLAIN, {}),
    ("image,xmin,ymin,xmax,ymax,label\n\n" + PLAIN.replace("\n", "\n\n"), {}),
    ("bild,l,o,r,u,klasse\n" + PLAIN, {"columns": ["bild", "l", "o", "r", "u", "klasse"]}),
    (
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,9,9,cat,1,2,30,40\nb.jpg,9,9,cat,1,2,30,40\n"
        '"a.jpg", 9,9, dog ,5,6.5,7,8\n',
        {},
    ),
    (
        "x,cat,1,30,2,40,a.jpg\nx,cat,1,30,2,40,b.jpg\nx,dog,5,7,6.5,8,a.jpg\n",
        {"columns": ["7", "3", "5", "4", "6", "2"]},
    ),
]


@pytest.mark.parametrize(("text", "form"), SAME, ids=range(len(SAME)))
def test_tables_of_all_kinds(tmp_path, text, form):
    entries = read(tmp_path, text, **form)
    assert [(entry.name, entry.path, entry.size_name) for entry in entries] == [
        ("a.jpg", "images/a.jpg", "a"),
        ("b.jpg", "images/b.jpg", "b"),
    ]
    assert [list(entry.marks.boxes) for entry in entries] == [[CAT, DOG], [CAT]]
    assert not entries[0].marks.fractions


def test_header_is_as_told(tmp_path):
    assert len(read(tmp_path, "1,2,3,4,5,6\n7,1,2,3,4,5\n", header=False)) == 2
    assert len(read(tmp_path, "1,2,3,4,5,6\n7,1,2,3,4,5\n", header=True, columns=list("123456"))) == 1


def test_images_without_boxes_and_difficult_ones(tmp_path):
    text = "path,x1,y1,x2,y2,class_name,difficult\na,,,,,,\nb,1,2,30,40,cat,1\nb,1,2,30,40,cat,0\n"
    entries = read(tmp_path, text, fractions=True)
    assert [len(entry.marks.boxes) for entry in entries] == [0, 2]
    assert [box.difficult for box in entries[1].marks.boxes] == [True, False]
    assert entries[1].marks.fractions


def test_a_wrong_row_spoils_its_image_only(tmp_path):
    entries = read(tmp_path, PLAIN + "a.jpg,1,2,x,4,cat\nb.jpg,1,2,3,4,\n")
    assert "expected four corners" in str(entries[0].marks)
    assert entries[0].marks.line == 4
    assert "expected a class, got none" in str(entries[1].marks)


@pytest.mark.parametrize(
    ("text", "form", "error", "message"),
    [
        ("", {}, FormatError, "expected 6 values, got 0|without any"),
        ("image,xmin,ymin,xmax,ymax,label\n", {}, FormatError, "without any"),
        ("a,1,2,3\n", {}, FormatError, "expected 6 values, got 4"),
        (PLAIN + "a,1\n", {}, FormatError, "expected 6 values, got 2"),
        (",1,2,3,4,cat\n", {}, FormatError, "the name of an image"),
        ("image,xmin,ymin,xmax,ymax\na,1,2,3,4\n", {}, UsageError, "no column for label, only image, xmin"),
        ("image,a,b,c,d,label\n" + PLAIN, {"columns": ["image", "a", "b", "c", "e", "label"]}, UsageError, "'e'"),
        (PLAIN, {"columns": ["a", "b"]}, UsageError, "expected 6 columns"),
        (PLAIN, {"columns": ["0", "1", "2", "3", "4", "5"]}, UsageError, "'0' is none"),
        (b"\xff\xfea,1", {}, FormatError, "UTF-8"),
        (b"a,1,2,3,4,c\0at\n", {}, CaffeCompatError, "not CSV|none"),
        ('"a,1,2,3,4,cat\n', {}, FormatError, "not CSV"),
        ("a" * 200_000 + ",1,2,3,4,cat\n", {}, FormatError, "not CSV"),
    ],
    ids=range(13),
)
def test_no_such_table(tmp_path, text, form, error, message):
    if b"\0" in (text if isinstance(text, bytes) else text.encode()):
        # Python 3.11 and later take a NUL in a field for a part of it.
        try:
            entries = read(tmp_path, text, **form)
        except error as caught:
            assert "NUL" in str(caught)  # noqa: PT017
        else:
            assert entries[0].marks.boxes[0].name == "c\0at"
        return
    with pytest.raises(error, match=message):
        read(tmp_path, text, **form)


def test_no_file(tmp_path):
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.csv", tmp_path, TableForm())
