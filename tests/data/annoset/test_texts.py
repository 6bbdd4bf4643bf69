"""Annotations as plain text and as COCO's JSON of one picture, against the original's rules written out."""

from __future__ import annotations

import json
import struct
import time

import pytest

from caffecompat.data.annoset.boxes import MarkedBox
from caffecompat.data.annoset.coco_json import MAX_BYTES, read_coco_json
from caffecompat.data.annoset.label_text import read_label_text
from caffecompat.errors import FormatError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "a"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_text(write):
    marked = read_label_text(write("3 1 2 30 40\r\n\n  1\t0.5 -1 1e2 7.25\n"))
    assert list(marked.boxes) == [MarkedBox(3, (1, 2, 30, 40)), MarkedBox(1, (0.5, -1, 100, 7.25))]
    assert marked.size is None
    assert not marked.fractions
    assert list(read_label_text(write("")).boxes) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("1 2 3 4 5\n1 2 3 4", 2, "a label and four corners, got '1 2 3 4'"),
        ("1,2,3,4,5", 1, "four corners"),
        ("1.5 2 3 4 5", 1, "four corners"),
        ("cat 2 3 4 5", 1, "four corners"),
        ("1 2 3 4 x", 1, "expected numbers, got '2 3 4 x'"),
        ("1 2 3 4 5 6", 1, "four corners"),
        ("\u0661 2 3 4 5", 1, "four corners"),
        (b"\xff\xfe1", None, "UTF-8"),
        ("1 2 3 4 5\n" * 100_001, None, "at most 100000 boxes"),
        (b"1" * (1 << 24) + b"1", None, "bytes"),
    ],
)
def test_text_that_is_none(write, text, line, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_label_text(write(text))
    assert caught.value.line == line


def single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def test_json(write):
    box = [10.1, 20.2, 100.7, 30.33]
    annotation = [
        {"category_id": 44, "bbox": box, "iscrowd": 0, "segmentation": [[1, 2, 3, 4]]},
        {"category_id": "7", "bbox": [1, 2, 3, 4], "iscrowd": 1},
        {"category_id": 44, "bbox": [0, 0, 5, 5]},
    ]
    path = write(json.dumps({"image": {"id": 3, "height": 480, "width": 640}, "annotation": annotation}))
    marked = read_coco_json(path)
    assert marked.size == (480, 640)
    # The sum is one of single precision, which differs from that of double.
    expected = (single(10.1), single(20.2), single(single(10.1) + single(100.7)), single(single(20.2) + single(30.33)))
    assert expected[2] != single(10.1 + 100.7) or expected[3] != single(20.2 + 30.33)
    assert marked.boxes[0] == MarkedBox("44", expected, False)
    assert marked.boxes[1] == MarkedBox("7", (1, 2, 4, 6), True)
    assert marked.boxes[2] == MarkedBox("44", (0, 0, 5, 5), False)
    assert read_coco_json(write('{"annotation": []}')).size is None


BOX = '{"category_id": 1, "bbox": [1, 2, 3, 4]}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1, 2", "not JSON"),
        ("[]", "a list as 'annotation'"),
        ('{"annotation": {}}', "a list as 'annotation', got {}"),
        ('{"annotation": [3]}', "annotation\\[0\\]: expected an object"),
        (f'{{"annotation": [{BOX}, {{"bbox": [1, 2, 3, 4]}}]}}', "annotation\\[1\\]: expected a category_id, got None"),
        (BOX.join(['{"annotation": [', "]}"]).replace("1, 2", "2"), "bbox of 4 numbers"),
        (BOX.join(['{"annotation": [', "]}"]).replace("2,", "null,"), "expected a number, got None"),
        (BOX.join(['{"annotation": [', "]}"]).replace("2,", "true,"), "expected a number, got True"),
        (BOX.join(['{"annotation": [', "]}"]).replace("2,", "NaN,"), "NaN is no number of JSON"),
        (BOX.join(['{"annotation": [', "]}"]).replace("2,", "9" * 400 + ","), "expected a number"),
        ('{"annotation": ' + "9" * 5000 + "}", "not JSON|a list as"),
        ("[" * 1_000_000, "nested too deeply"),
        (b"\xff", "UTF-8"),
        (b" " * (MAX_BYTES + 1), "at most 8,388,608 bytes"),
        (f'{{"annotation": [{",".join([BOX] * 100_001)}]}}', "at most 100000 boxes"),
    ],
    ids=range(16),
)
def test_json_that_is_none(write, text, message):
    path = write(text)
    start = time.process_time()
    with pytest.raises(FormatError, match=message) as caught:
        read_coco_json(path)
    assert time.process_time() - start < 2
    assert caught.value.file == str(path)
