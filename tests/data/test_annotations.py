"""Boxes that follow what is done to their picture, against the original's scalar formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.data.annotations import (
    BOX,
    WHOLE,
    coverage,
    extrapolated,
    mirrored,
    project,
    read_annotations,
    resized,
)
from caffecompat.errors import FormatError
from caffecompat.schema import caffe_pb2


def rows_of(*boxes):
    return np.array([(index + 1, index, *box, index % 2) for index, box in enumerate(boxes)], np.float32)


def emit_of(text):
    return text_format.Parse(text, caffe_pb2.EmitConstraint()) if text else None


CENTER = "emit_type: CENTER"
# The box, the frame, the emit constraint, and what is left of the box: worked out by hand.
CASES = [
    # inside, at the frame's border, larger than the frame
    ((0.25, 0.25, 0.5, 0.5), (0, 0, 1, 1), "", (0.25, 0.25, 0.5, 0.5)),
    ((0.25, 0.25, 0.5, 0.5), (0, 0, 0.5, 0.5), "", (0.5, 0.5, 1, 1)),
    ((0.25, 0.25, 0.5, 0.5), (0.25, 0.25, 0.5, 0.5), "", (0, 0, 1, 1)),
    ((0, 0, 1, 1), (0.25, 0.25, 0.5, 0.5), "", (0, 0, 1, 1)),
    ((0.25, 0.5, 0.75, 1), (0.5, 0, 1, 1), "", (0, 0.5, 0.5, 1)),
    ((0.25, 0.5, 0.75, 1), (0, 0.75, 1, 1), "", (0.25, 0, 0.75, 1)),
    # a frame larger than the picture: an expansion
    ((0, 0, 1, 1), (-1, -1, 1, 1), "", (0.5, 0.5, 1, 1)),
    ((0.5, 0.5, 1, 1), (-0.5, 0, 1.5, 2), "", (0.5, 0.25, 0.75, 0.5)),
    # beside the frame, and touching it
    ((0, 0, 0.25, 0.25), (0.5, 0.5, 1, 1), "", None),
    ((0, 0, 0.5, 1), (0.5, 0, 1, 1), "", None),
    ((0.5, 0, 1, 1), (0, 0, 0.5, 1), "", None),
    ((0, 0, 1, 0.5), (0, 0.5, 1, 1), "", None),
    ((0, 0.5, 1, 1), (0, 0, 1, 0.5), "", None),
    # without area, and with its corners the wrong way round
    ((0.5, 0.25, 0.5, 0.75), (0, 0, 1, 1), "", None),
    ((0.75, 0.25, 0.5, 0.75), (0, 0, 1, 1), "", None),
    # beyond the picture
    ((-0.5, -0.5, 0.5, 0.5), (0, 0, 1, 1), "", (0, 0, 0.5, 0.5)),
    ((0.5, 0.5, 1.5, 1.5), (0, 0, 1, 1), "", (0.5, 0.5, 1, 1)),
    # the centre inside, on the border, outside
    ((0.25, 0.25, 0.5, 0.5), (0.25, 0.25, 1, 1), CENTER, (0, 0, 1 / 3, 1 / 3)),
    ((0.25, 0.25, 0.75, 0.75), (0.5, 0.5, 1, 1), CENTER, (0, 0, 0.5, 0.5)),
    ((0.25, 0.25, 0.75, 0.75), (0, 0, 0.5, 1), CENTER, (0.5, 0.25, 1, 0.75)),
    ((0, 0, 0.75, 0.75), (0.5, 0, 1, 1), CENTER, None),
    ((0.25, 0.625, 0.75, 1), (0, 0, 1, 0.75), CENTER, None),
    # the share of its area that is inside: it must exceed emit_overlap
    ((0, 0, 0.5, 0.5), (0.25, 0, 1, 1), "emit_type: MIN_OVERLAP emit_overlap: 0.4", (0, 0, 1 / 3, 0.5)),
    ((0, 0, 0.5, 0.5), (0.25, 0, 1, 1), "emit_type: MIN_OVERLAP emit_overlap: 0.5", None),
    ((0, 0, 0.5, 0.5), (0.25, 0.25, 1, 1), "emit_type: MIN_OVERLAP emit_overlap: 0.25", None),
    ((0, 0, 0.5, 0.5), (0.25, 0.25, 1, 1), "emit_type: MIN_OVERLAP emit_overlap: 0.2", (0, 0, 1 / 3, 1 / 3)),
    ((0, 0, 0.5, 0.5), (0, 0, 1, 1), "emit_type: MIN_OVERLAP emit_overlap: 1", None),
    ((0, 0, 0.5, 0.5), (0, 0, 1, 1), "emit_type: MIN_OVERLAP", (0, 0, 0.5, 0.5)),
]


@pytest.mark.parametrize(("box", "frame", "emit", "left"), CASES)
def test_projection(box, frame, emit, left):
    found = project(rows_of(box), np.array(frame, np.float32), emit_of(emit))
    if left is None:
        assert found.shape == (0, 7)
    else:
        np.testing.assert_allclose(found[0, BOX], left, atol=1e-6)
        np.testing.assert_array_equal(found[0, [0, 1, 6]], [1, 0, 0])


def test_rows_keep_their_order_and_their_labels():
    rows = rows_of((0, 0, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9), (0.1, 0.1, 0.2, 0.2))
    found = project(rows, np.array([0, 0, 0.5, 0.5], np.float32))
    np.testing.assert_array_equal(found[:, [0, 1, 6]], [[1, 0, 0], [3, 2, 0]])
    np.testing.assert_array_equal(rows, rows_of((0, 0, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9), (0.1, 0.1, 0.2, 0.2)))


def test_no_rows():
    empty = np.empty((0, 7), np.float32)
    assert project(empty, WHOLE, emit_of(CENTER)).shape == (0, 7)
    assert mirrored(empty).shape == (0, 7)
    assert resized(empty, caffe_pb2.ResizeParameter(height=3, width=4), 5, 6).shape == (0, 7)


def test_coverage():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.4], [0.9, 0.9, 0.8, 1]], np.float32)
    np.testing.assert_allclose(coverage(boxes, np.array([0.25, 0, 1, 1], np.float32)), [0.5, 0, 0])


def test_mirrored():
    np.testing.assert_allclose(mirrored(rows_of((0.1, 0.2, 0.4, 0.5)))[0, BOX], [0.6, 0.2, 0.9, 0.5], atol=1e-7)


def policy(mode, box, old_width, old_height, new_width, new_height):
    """UpdateBBoxByResizePolicy, a value at a time."""
    aspect, wanted = old_width / old_height, new_width / new_height
    x_min, y_min, x_max, y_max = (v * s for v, s in zip(box, (old_width, old_height) * 2, strict=True))
    if mode == "FIT_SMALL_SIZE":
        if aspect < wanted:
            new_height = new_width / aspect
        else:
            new_width = aspect * new_height
    pad_x = pad_y = 0.0
    if mode == "FIT_LARGE_SIZE_AND_PAD":
        if aspect > wanted:
            pad_y = (new_height - new_width / aspect) / 2
        else:
            pad_x = (new_width - aspect * new_height) / 2
    low = (
        pad_x + max(0.0, x_min * (new_width - 2 * pad_x) / old_width),
        pad_y + max(0.0, y_min * (new_height - 2 * pad_y) / old_height),
    )
    high = (
        pad_x + min(new_width, x_max * (new_width - 2 * pad_x) / old_width),
        pad_y + min(new_height, y_max * (new_height - 2 * pad_y) / old_height),
    )
    return (low[0] / new_width, low[1] / new_height, high[0] / new_width, high[1] / new_height)


@pytest.mark.parametrize("mode", ["WARP", "FIT_SMALL_SIZE", "FIT_LARGE_SIZE_AND_PAD"])
@pytest.mark.parametrize("size", [(50, 100), (100, 50), (70, 70)])
@pytest.mark.parametrize("box", [(0.1, 0.2, 0.6, 0.9), (-0.1, 0.0, 1.2, 1.0)])
def test_resized(mode, size, box):
    param = text_format.Parse(f"resize_mode: {mode} height: 40 width: 30", caffe_pb2.ResizeParameter())
    found = resized(rows_of(box), param, size[1], size[0])
    np.testing.assert_allclose(found[0, BOX], policy(mode, box, *size, 30, 40), atol=1e-6)


def test_extrapolated():
    param = text_format.Parse(
        "resize_mode: FIT_SMALL_SIZE height: 100 width: 100 height_scale: 50 width_scale: 40",
        caffe_pb2.ResizeParameter(),
    )
    # 200x100 pixels become 200x100; the crop is a half of the width: 100x100.
    frame = np.array([0, 0, 0.5, 1], np.float32)
    found = extrapolated(rows_of((0.1, 0.2, 0.3, 0.4)), param, 100, 200, frame)
    np.testing.assert_allclose(found[0, BOX], [0.25, 0.4, 0.75, 0.8], atol=1e-6)
    param.width_scale = 0
    np.testing.assert_allclose(
        extrapolated(rows_of((0.1, 0.2, 0.3, 0.4)), param, 100, 200, frame)[0, 2], 0.1, rtol=1e-6
    )


def test_read_annotations():
    text = """
    annotation_group { group_label: 3
      annotation { instance_id: 1 bbox { xmin: 0.1 ymin: 0.2 xmax: 0.3 ymax: 0.4 difficult: true } }
      annotation { bbox { xmin: 0.5 ymin: 0.5 xmax: 1 ymax: 1 } } }
    annotation_group { group_label: 1 annotation { instance_id: 7 bbox { xmax: 1 ymax: 1 } } }
    """
    datum = text_format.Parse(text, caffe_pb2.AnnotatedDatum())
    np.testing.assert_allclose(
        read_annotations(datum.annotation_group),
        [(3, 1, 0.1, 0.2, 0.3, 0.4, 1), (3, 0, 0.5, 0.5, 1, 1, 0), (1, 7, 0, 0, 1, 1, 0)],
        atol=1e-7,
    )
    datum.annotation_group[0].annotation[0].bbox.xmin = float("nan")
    with pytest.raises(FormatError, match="finite numbers"):
        read_annotations(datum.annotation_group)
