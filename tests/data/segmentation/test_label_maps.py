"""Label maps in all their encodings, and the confusion of two of them, worked through by hand."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from caffecompat.data.png import voc_palette, write_indexed
from caffecompat.data.segmentation.confusion import Confusion
from caffecompat.data.segmentation.label_maps import ColourTable, read_label_map
from caffecompat.errors import FormatError, ShapeError

LABELS = np.array([[0, 1, 2, 1, 0], [3, 3, 0, 1, 2]], np.uint8)


def indexed(path, labels, depth):
    """An indexed PNG of so many bits a pixel, with a palette in which two colours are the same."""
    height, width = labels.shape
    lines = b""
    for row in labels.tolist():
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
        lines += b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    head = struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"PLTE", bytes([9, 9, 9] * 2**depth)),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(lines)),
    )
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in (*chunks, (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("depth", "most"), [(1, 1), (2, 3), (4, 15), (8, 255)])
def test_an_indexed_png_gives_its_numbers(tmp_path, depth, most):
    labels = np.minimum(LABELS * 85, most).astype(np.uint8)
    assert np.array_equal(read_label_map(indexed(tmp_path / "x.png", labels, depth)), labels)


def test_other_encodings(tmp_path):
    write_indexed(tmp_path / "own.png", LABELS, voc_palette())
    assert np.array_equal(read_label_map(tmp_path / "own.png"), LABELS)
    grey = np.where(LABELS == 3, 255, LABELS).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert np.array_equal(read_label_map(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "three.png"), np.repeat(grey[:, :, None], 3, 2))
    assert np.array_equal(read_label_map(tmp_path / "three.png"), grey)
    cv2.imwrite(str(tmp_path / "deep.png"), LABELS.astype(np.uint16))
    assert np.array_equal(read_label_map(tmp_path / "deep.png"), LABELS)


def test_colours(tmp_path):
    colours = ((10, 20, 30), (30, 20, 10), (0, 0, 255), (10, 20, 30))
    path = tmp_path / "colours.png"
    cv2.imwrite(str(path), np.array(colours, np.uint8)[LABELS][:, :, ::-1])
    # Of two classes with one colour the first is read.
    expected = np.where(LABELS == 3, 0, LABELS)
    assert np.array_equal(read_label_map(path, ColourTable.of_palette(colours)), expected)
    with pytest.raises(FormatError, match=r"3 pixels have colours of no class, .* = \(30, 20, 10\) at row 0"):
        read_label_map(path, ColourTable({(10, 20, 30): 0, (0, 0, 255): 2}))
    unknown = ColourTable({(10, 20, 30): 0, (0, 0, 255): 2}, unknown=255)
    assert np.array_equal(read_label_map(path, unknown), np.where(expected == 1, 255, expected))


def test_what_is_no_label_map(tmp_path):
    cv2.imwrite(str(tmp_path / "colours.png"), np.full((2, 2, 3), (1, 2, 3), np.uint8))
    with pytest.raises(FormatError, match="got a picture in colours") as caught:
        read_label_map(tmp_path / "colours.png")
    assert "--palette" in caught.value.hint
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((2, 2), 300, np.uint16))
    with pytest.raises(FormatError, match="classes from 0 to 255, got uint16 up to 300"):
        read_label_map(tmp_path / "deep.png")
    data = indexed(tmp_path / "cut.png", LABELS, 8).read_bytes()
    for end in (20, 40, 60, len(data) - 20):
        (tmp_path / "cut.png").write_bytes(data[:end])
        with pytest.raises(FormatError):
            read_label_map(tmp_path / "cut.png")
    # An indexed PNG that claims to be huge ends before memory is taken.
    head = bytearray(data)
    head[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
    (tmp_path / "huge.png").write_bytes(bytes(head))
    with pytest.raises(FormatError, match="claims 1048576x1048576"):
        read_label_map(tmp_path / "huge.png")


def test_confusion_by_hand():
    true = np.array([[0, 0, 0, 1], [1, 1, 255, 3]])
    found = np.array([[0, 0, 1, 1], [1, 9, 0, 0]])
    confusion = Confusion(5)
    confusion.add(found[:1], true[:1])
    confusion.add(found[1:], true[1:])
    #                                  0  1  2  3  4  none
    assert confusion.counts.tolist() == [
        [2, 1, 0, 0, 0, 0],
        [0, 2, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    measures = confusion.measures()
    # Class 0: 2 of 3 true and 3 found; class 1: 2 of 3 and 3; class 3: 0 of 1; 2 and 4 are nowhere.
    assert measures.iou == pytest.approx([2 / 4, 2 / 4, np.nan, 0, np.nan], nan_ok=True)
    assert measures.accuracy == pytest.approx([2 / 3, 2 / 3, np.nan, 0, np.nan], nan_ok=True)
    assert measures.mean_iou == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert measures.mean_accuracy == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert measures.pixel_accuracy == pytest.approx(4 / 7)
    assert measures.weighted_iou == pytest.approx((3 * 0.5 + 3 * 0.5 + 0) / 7)
    assert confusion.trimmed().counts.tolist() == [[*row[:4], row[4] + row[5]] for row in confusion.counts[:4].tolist()]


def test_a_class_that_is_found_and_not_there_counts():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 2]]), np.array([[0, 0]]))
    measures = confusion.measures()
    assert measures.iou == pytest.approx([0.5, np.nan, 0], nan_ok=True)
    assert measures.mean_iou == 0.25
    assert measures.mean_accuracy == 0.5


def test_nothing_counted():
    confusion = Confusion(2, (0, 255))
    confusion.add(np.zeros((2, 2), int), np.zeros((2, 2), int))
    measures = confusion.measures()
    assert np.isnan([measures.mean_iou, measures.pixel_accuracy, measures.weighted_iou, measures.mean_accuracy]).all()


def test_confusions_that_cannot_be():
    confusion = Confusion(2)
    with pytest.raises(ShapeError, match="as large as its label map, 2x3, got 3x2"):
        confusion.add(np.zeros((3, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ShapeError, match="labels from 0 to 1, or ignored ones, got 2"):
        confusion.add(np.zeros((1, 3), int), np.array([[0, 2, 255]]))
    assert confusion.counts.sum() == 0
