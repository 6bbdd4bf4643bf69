"""The boxes of a picture, and how they follow what is done to it.

Source of the rules: data_transformer.cpp, bbox_util.cpp and im_transforms.cpp of the SSD branch. Boxes are
(xmin, ymin, xmax, ymax), normalized: fractions of the picture's width and height.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.data.source import Floats
from caffecompat.errors import FormatError
from caffecompat.schema import caffe_pb2

# A row of annotations: label, instance, xmin, ymin, xmax, ymax, difficult.
ROW = 7
LABEL, INSTANCE, DIFFICULT = 0, 1, 6
BOX = slice(2, 6)
WHOLE = np.array([0, 0, 1, 1], np.float32)
_ZERO, _ONE = np.float32(0), np.float32(1)


def read_annotations(groups: Iterable[caffe_pb2.AnnotationGroup]) -> Floats:
    """The boxes of an AnnotatedDatum's groups, float32 (N, 7): label, instance, box, difficult; in their order.

    Raises:
        FormatError: a box has corners that are no finite numbers.
    """
    rows = [
        (
            group.group_label,
            annotation.instance_id,
            annotation.bbox.xmin,
            annotation.bbox.ymin,
            annotation.bbox.xmax,
            annotation.bbox.ymax,
            annotation.bbox.difficult,
        )
        for group in groups
        for annotation in group.annotation
    ]
    found = np.array(rows, np.float32).reshape(-1, ROW)
    if not np.isfinite(found).all():
        raise FormatError("expected boxes of finite numbers, got one with a corner that is none")
    return found


def project(rows: Floats, frame: Floats, emit: caffe_pb2.EmitConstraint | None = None) -> Floats:
    """The rows as they are seen in a frame: a part of the picture, or more than it.

    Boxes are clipped to the frame. Those that lie outside, or have no area left, are gone, and with `emit` those
    whose centre is outside, or of whose area no more than `emit_overlap` is inside.

    Args:
        rows: (N, 7).
        frame: (4,) the frame, in the coordinates of the boxes.
        emit: which boxes stay.

    Returns:
        float32 (M, 7), the boxes in the coordinates of the frame.
    """
    boxes = rows[:, BOX]
    low, high = frame[:2], frame[2:]
    inside = ((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(1)
    if emit is not None:
        inside &= _emitted(boxes, frame, emit)
    kept: Floats = rows[inside]
    size = high - low
    for corner in (slice(2, 4), slice(4, 6)):
        kept[:, corner] = np.minimum(np.maximum((kept[:, corner] - low) / size, _ZERO), _ONE)
    visible: Floats = kept[areas(kept[:, BOX]) > 0]
    return visible


def areas(boxes: Floats) -> Floats:
    """The areas of boxes (..., 4); 0 of those whose corners are the wrong way round."""
    return _area(boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3])


def intersections(first: Floats, second: Floats) -> Floats:
    """The areas that boxes (..., 4) have in common, broadcast against each other."""
    low = [np.maximum(first[..., axis], second[..., axis]) for axis in (0, 1)]
    high = [np.minimum(first[..., axis], second[..., axis]) for axis in (2, 3)]
    return _area(*low, *high)


def _area(xmin: Floats, ymin: Floats, xmax: Floats, ymax: Floats) -> Floats:
    # Axis by axis: an axis of 4 values at the end makes NumPy slow.
    return np.asarray(np.maximum(xmax - xmin, _ZERO) * np.maximum(ymax - ymin, _ZERO), np.float32)


def coverage(boxes: Floats, frame: Floats) -> Floats:
    """How much of each box lies in the frame, 0 to 1: BBoxCoverage."""
    common, own = np.broadcast_arrays(intersections(boxes, frame), areas(boxes))
    shares: Floats = np.divide(common, own, out=np.zeros(own.shape, np.float32), where=common > 0)
    return shares


def _emitted(boxes: Floats, frame: Floats, emit: caffe_pb2.EmitConstraint) -> npt.NDArray[Any]:
    if emit.emit_type == caffe_pb2.EmitConstraint.CENTER:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.asarray(np.all((centres >= frame[:2]) & (centres <= frame[2:]), 1))
    return np.asarray(coverage(boxes, frame) > emit.emit_overlap)


def mirrored(rows: Floats) -> Floats:
    """The rows of a picture that is mirrored left-right."""
    turned: Floats = rows.copy()
    turned[:, 2], turned[:, 4] = 1 - rows[:, 4], 1 - rows[:, 2]
    return turned


def resized(rows: Floats, param: caffe_pb2.ResizeParameter, height: int, width: int) -> Floats:
    """The rows of a picture of that size that is resized: UpdateBBoxByResizePolicy.

    Only padding moves them; a box beyond the picture is clipped to it.
    """
    aspect, wanted = width / height, param.width / param.height
    new = np.array([param.width, param.height], np.float32)
    inner, pad = new.copy(), np.zeros(2, np.float32)
    if param.resize_mode == caffe_pb2.ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        if aspect > wanted:
            pad[1] = (param.height - param.width / aspect) / 2
        else:
            pad[0] = (param.width - aspect * param.height) / 2
        inner = new - 2 * pad
    moved: Floats = rows.copy()
    moved[:, 2:4] = (pad + np.maximum(rows[:, 2:4] * inner, 0)) / new
    moved[:, 4:6] = (pad + np.minimum(rows[:, 4:6] * inner, new)) / new
    return moved


def extrapolated(rows: Floats, param: caffe_pb2.ResizeParameter, height: int, width: int, frame: Floats) -> Floats:
    """The rows in units of `width_scale` and `height_scale`, where FIT_SMALL_SIZE states them: ExtrapolateBBox.

    Args:
        rows: (N, 7), of the crop `frame` of the resized picture.
        param: how it was resized.
        height: of the picture before.
        width: of the picture before.
        frame: (4,) the crop.
    """
    fits = param.resize_mode == caffe_pb2.ResizeParameter.FIT_SMALL_SIZE
    if not fits or param.height_scale == 0 or param.width_scale == 0:
        return rows
    aspect = width / height
    size = np.array([param.width, param.height], np.float32)
    if aspect < param.width / param.height:
        size[1] = size[0] / aspect
    else:
        size[0] = size[1] * aspect
    factor = size * (frame[2:] - frame[:2]) / np.array([param.width_scale, param.height_scale], np.float32)
    scaled: Floats = rows.copy()
    scaled[:, BOX] *= np.tile(factor, 2)
    return scaled
