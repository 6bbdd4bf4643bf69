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
# The places of xmin, ymin, xmin, ymin in a box, and of xmax, ymax, xmax, ymax.
_LOW, _HIGH = np.array([0, 1, 0, 1]), np.array([2, 3, 2, 3])
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
    low = frame[_LOW]
    seen = np.minimum(np.maximum((boxes - low) / (frame[_HIGH] - low), _ZERO), _ONE)
    # Of a box outside, nothing is left between 0 and 1.
    stays = areas(seen) > 0
    if emit is not None:
        stays &= _emitted(boxes, frame, emit)
    kept: Floats = rows[stays]
    kept[:, BOX] = seen[stays]
    return kept


def areas(boxes: Floats) -> Floats:
    """The areas of boxes (..., 4); 0 of those whose corners are the wrong way round."""
    return _area(boxes[..., 2:] - boxes[..., :2])


def intersections(first: Floats, second: Floats) -> Floats:
    """The areas that boxes (..., 4) have in common, broadcast against each other."""
    low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
    return _area(high - low)


def _area(sides: Floats) -> Floats:
    sides = np.maximum(sides, _ZERO)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def coverage(boxes: Floats, frame: Floats) -> Floats:
    """How much of each box lies in the frame, 0 to 1: BBoxCoverage."""
    common, own = np.broadcast_arrays(intersections(boxes, frame), areas(boxes))
    shares: Floats = np.divide(common, own, out=np.zeros(own.shape, np.float32), where=common > 0)
    return shares


def _emitted(boxes: Floats, frame: Floats, emit: caffe_pb2.EmitConstraint) -> npt.NDArray[Any]:
    if emit.emit_type == caffe_pb2.EmitConstraint.CENTER:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.asarray(np.logical_and.reduce((centres >= frame[:2]) & (centres <= frame[2:]), 1))
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
    new = np.array([param.width, param.height] * 2, np.float32)
    inner, pad = new, np.zeros(4, np.float32)
    if param.resize_mode == caffe_pb2.ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        aspect = width / height
        if aspect > param.width / param.height:
            pad[1::2] = (param.height - param.width / aspect) / 2
        else:
            pad[::2] = (param.width - aspect * param.height) / 2
        inner = new - 2 * pad
    moved: Floats = rows.copy()
    boxes = moved[:, BOX]
    boxes *= inner
    np.maximum(boxes[:, :2], _ZERO, out=boxes[:, :2])
    np.minimum(boxes[:, 2:], new[2:], out=boxes[:, 2:])
    boxes += pad
    boxes /= new
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
