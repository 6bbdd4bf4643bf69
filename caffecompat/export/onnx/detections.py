"""DetectionOutput: decoding, non-maximum suppression of each class, and the best of an image.

The order of the rows does not lean on that in which NonMaxSuppression gives its boxes: candidates are sorted before it,
and its choice is written back to their places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffecompat.detection.output import FLT_MAX, DetectionOptions
from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, INT64, Size, Value, least
from caffecompat.layers.detection import DetectionOutput


@dataclass(frozen=True)
class _Candidates:
    """The best of each image and class, in falling order, equal scores by prior.

    Attributes:
        scores: (N, C', K) for the C' classes that are objects.
        boxes: (N * C', K, 4).
        count: K.
        labels: the C' classes.
    """

    scores: Value
    boxes: Value
    count: Size
    labels: list[int]


@emits(DetectionOutput, precision=Precision.SINGLE)
def detection_output(layer: DetectionOutput, at: Scope) -> Value:
    options = layer.options
    if options.eta < 1:
        raise at.error(
            f"nms_param.eta is {options.eta:g}: ONNX's NonMaxSuppression has no adaptive threshold",
            "set eta to 1, or convert to .pt2",
        )
    labels = [label for label in range(layer.classes) if label != options.background]
    if not labels or options.top_k == 0:
        raise at.error("it can give no detection: there is no class but the background, or top_k is 0")
    found = _candidates(layer, at, labels)
    kept = _suppressed(at, found, options)
    if options.keep_top_k >= 0:
        kept = _best(at, kept, options.keep_top_k, found)
    return _rows(at, found, kept)


def _candidates(layer: DetectionOutput, at: Scope, labels: list[int]) -> _Candidates:
    loc, conf, priors = at.bottoms[:3]
    images = at.size(loc, 0)
    scores = at.transpose(at.reshape(conf, [images, -1, layer.classes]), 0, 2, 1)
    scores = _objects(at, scores, labels, layer.classes, axis=1)
    known = at.shapes[2][2]
    limit = layer.options.top_k if layer.options.top_k > 0 else None
    if known is not None:
        count: Size = known // 4 if limit is None else min(limit, known // 4)
    else:
        places = at.size(priors, 2) // 4
        count = places if limit is None else least(limit, places)
    best, index = at.ops("TopK", 2, scores, at.sized(count), axis=2)
    index = Value(index.name, INT64)
    boxes = _decoded(layer, at, loc, priors)
    if layer.loc_classes == 1:
        index = at.op("Reshape", index, at.ints(0, -1, 1))
        boxes = at.op("GatherElements", boxes, at.op("Tile", index, at.ints(1, 1, 4)), axis=1)
    else:
        boxes = _objects(at, at.transpose(boxes, 0, 2, 1, 3), labels, layer.classes, axis=1)
        index = at.op("Tile", at.unsqueeze(index, 3), at.ints(1, 1, 1, 4))
        boxes = at.op("GatherElements", boxes, index, axis=2)
    return _Candidates(best, at.reshape(boxes, [-1, count, 4]), count, labels)


def _objects(at: Scope, x: Value, labels: list[int], classes: int, axis: int) -> Value:
    """The classes that are objects, of an axis of all."""
    if len(labels) == classes:
        return x
    if labels == list(range(labels[0], labels[-1] + 1)):
        return at.slice(x, axis, labels[0], labels[-1] + 1)
    return at.op("Gather", x, at.ints(*labels), axis=axis)


def _decoded(layer: DetectionOutput, at: Scope, loc: Value, priors: Value) -> Value:
    """(N, P, 4), or (N, P, C, 4) where each class has its own boxes: what `detection.boxes.decode_boxes` computes."""
    options = layer.options
    each = [] if layer.loc_classes == 1 else [layer.loc_classes]
    codes = at.reshape(loc, [at.size(loc, 0), -1, *each, 4])
    axis = 2 + len(each)
    boxes, variances = (
        at.op("Reshape", at.slice(priors, 1, part, part + 1), at.ints(-1, *[1] * len(each), 4)) for part in (0, 1)
    )
    if not options.variance_encoded_in_target:
        codes = at.op("Mul", variances, codes)
    if options.code_type == "CORNER":
        return at.op("Add", boxes, codes)
    low, high = (at.slice(boxes, axis - 1, start, start + 2) for start in (0, 2))
    size = at.op("Sub", high, low)
    if options.code_type == "CORNER_SIZE":
        return at.op("Add", boxes, at.op("Mul", codes, at.op("Concat", size, size, axis=axis - 1)))
    center = at.op("Div", at.op("Add", low, high), 2.0)
    shift, growth = (at.slice(codes, axis, start, start + 2) for start in (0, 2))
    center = at.op("Add", at.op("Mul", shift, size), center)
    half = at.op("Div", at.op("Mul", at.op("Exp", growth), size), 2.0)
    return at.op("Concat", at.op("Sub", center, half), at.op("Add", center, half), axis=axis)


def _suppressed(at: Scope, found: _Candidates, options: DetectionOptions) -> Value:
    """(N, C' * K): the scores of what suppression keeps; -FLT_MAX for all else."""
    scores = at.reshape(found.scores, [-1, 1, found.count])
    # Caffe: a box whose maximum is below its minimum overlaps nothing; ONNX would turn it round.
    low, high = (at.slice(found.boxes, 2, start, start + 2) for start in (0, 2))
    turned = at.reduce("ReduceMin", at.op("Sub", high, low), [2])
    boxes = at.op("Where", at.op("Less", turned, 0.0, dtype=BOOL), 0.0, found.boxes, dtype=at.dtype)
    threshold = [options.confidence_threshold] if options.confidence_threshold > -FLT_MAX else []
    selected = at.op(
        "NonMaxSuppression",
        boxes,
        scores,
        at.sized(found.count),
        np.array([options.nms_threshold], np.float32),
        *(np.array([value], np.float32) for value in threshold),
        dtype=INT64,
    )
    group, place = (at.op("Gather", selected, at.value(np.array(column)), axis=1) for column in (0, 2))
    index = at.op("Add", at.op("Mul", group, at.sized(found.count)), place)
    flat = at.op("Reshape", scores, at.ints(-1))
    nothing = at.fill(at.op("Shape", flat, dtype=INT64), -FLT_MAX)
    kept = at.op("ScatterElements", nothing, index, at.op("Gather", flat, index), axis=0)
    return at.reshape(kept, [-1, found.count * len(found.labels)])


def _best(at: Scope, kept: Value, keep: int, found: _Candidates) -> Value:
    """The same with only the best `keep` of each image."""
    values, index = at.ops("TopK", 2, kept, at.sized(least(found.count * len(found.labels), keep)), axis=1)
    nothing = at.fill(at.op("Shape", kept, dtype=INT64), -FLT_MAX)
    return at.op("ScatterElements", nothing, Value(index.name, INT64), values, axis=1)


def _rows(at: Scope, found: _Candidates, kept: Value) -> Value:
    """(1, 1, M, 7), by image, label and falling score; if there are none at all, a row of -1 for each image."""
    places = at.op("NonZero", at.op("Greater", kept, -FLT_MAX, dtype=BOOL), dtype=INT64)
    image, place = (at.op("Gather", places, at.value(np.array(row)), axis=0) for row in (0, 1))
    width = found.count * len(found.labels)
    index = at.op("Add", at.op("Mul", image, at.sized(width)), place)
    label = at.op("Gather", at.ints(*found.labels), at.op("Div", place, at.sized(found.count)), axis=0)
    score = at.op("Gather", at.op("Reshape", kept, at.ints(-1)), index, axis=0)
    boxes = at.op("Gather", at.op("Reshape", found.boxes, at.ints(-1, 4)), index, axis=0)
    columns = [at.unsqueeze(at.cast(column, at.dtype), 1) for column in (image, label, score)]
    rows = at.op("Concat", *columns, boxes, axis=1)
    images = at.size(at.bottoms[0], 0)
    zero, one = (at.value(np.array(number, dtype=np.int64)) for number in (0, 1))
    number = at.unsqueeze(at.cast(at.op("Range", zero, at.scalar(images), one), at.dtype), 1)
    nothing = at.op("Pad", number, at.ints(0, 0, 0, 6), -1.0, mode="constant")
    count = at.op("Shape", score, dtype=INT64)
    none = at.cast(at.op("Equal", count, at.ints(0), dtype=BOOL), INT64)
    end = at.op("Mul", none, at.sized(images))
    nothing = at.op("Slice", nothing, at.ints(0), end, at.ints(0), at.ints(1))
    return at.op("Reshape", at.op("Concat", rows, nothing, axis=0), at.ints(1, 1, -1, 7))
