"""Proposal, in C++ and in Python: what `detection.anchors.propose` computes."""

from __future__ import annotations

import numpy as np

from caffecompat.detection.anchors import ProposalOptions, place_anchors
from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, FLOAT, INT64, Size, Value, least
from caffecompat.layers.proposal import Proposal, PythonProposal

_LEAST = float(np.finfo(np.float32).min)


@emits(Proposal, PythonProposal, precision=Precision.SINGLE)
def proposal(layer: Proposal | PythonProposal, at: Scope) -> tuple[Value, ...]:
    options = layer._options()
    scores, deltas, picture = at.bottoms
    count = len(layer.anchors)
    height, width = at.sizes_of(scores)[2:]
    total = height * width * count
    score = at.transpose(at.slice(scores, 1, count, 2 * count), 0, 2, 3, 1)
    score = at.op("Reshape", score, at.ints(0, -1))
    moved = _moved(layer, at, deltas, options.stride)
    # Height, width and scale, or a scale for each of both, of the first picture.
    row = at.slice(at.op("Flatten", picture, axis=1), 0, 0, 1)
    flat = at.op("Reshape", row, at.ints(-1))
    each = 3 if (at.shapes[2][1] or 0) > 3 else 2
    limit = at.op("Sub", at.op("Gather", flat, at.ints(1, 0, 1, 0)), 1.0)
    boxes = at.op("Max", at.op("Min", moved, limit), 0.0)
    low, high = (at.slice(boxes, 2, start, start + 2) for start in (0, 2))
    sides = at.op("Add", at.op("Sub", high, low), 1.0)
    shortest = at.op("Mul", at.op("Gather", flat, at.ints(each, 2)), options.min_size)
    spare = at.reduce("ReduceMin", at.op("Sub", sides, shortest), [2], keep=False)
    large = at.op("GreaterOrEqual", spare, 0.0, dtype=BOOL)
    score = at.op("Where", large, score, _LEAST if options.drop_small else 0.0, dtype=at.dtype)

    most: Size = least(total, options.before) if options.before else total
    best, index = at.ops("TopK", 2, score, at.sized(most), axis=1)
    index = at.op("Tile", at.unsqueeze(Value(index.name, INT64), 2), at.ints(1, 1, 4))
    boxes = at.op("GatherElements", boxes, index, axis=1)
    place = _kept(at, boxes, best, most, options)
    image = at.unsqueeze(at.cast(at.op("Div", place, at.sized(most)), FLOAT), 1)
    rows = at.op("Concat", image, at.op("Gather", at.op("Reshape", boxes, at.ints(-1, 4)), place, axis=0), axis=1)
    chosen = at.op("Gather", at.op("Reshape", best, at.ints(-1)), place, axis=0)
    return (rows, at.unsqueeze(chosen, 1) if options.drop_small else chosen)[: len(layer.spec.tops)]


def _moved(layer: Proposal | PythonProposal, at: Scope, deltas: Value, stride: float) -> Value:
    """(N, H * W * A, 4): the anchors at every place after the net's corrections."""
    height, width = at.sizes_of(deltas)[2:]
    codes = at.op("Reshape", at.transpose(deltas, 0, 2, 3, 1), at.ints(0, -1, 4))
    if isinstance(height, int) and isinstance(width, int):
        anchors = at.value(place_anchors(layer.anchors.float(), height, width, stride).numpy())
    else:
        anchors = at.value(layer.anchors.float().numpy()[None, None])
        for size, shape, mask in ((width, (1, -1, 1, 1), (1, 0, 1, 0)), (height, (-1, 1, 1, 1), (0, 1, 0, 1))):
            zero, one = (at.value(np.array(number, dtype=np.int64)) for number in (0, 1))
            steps = at.cast(at.op("Range", zero, at.scalar(size), one), FLOAT)
            shift = at.op("Reshape", at.op("Mul", steps, stride), at.ints(*shape))
            anchors = at.op("Add", anchors, at.op("Mul", shift, np.array(mask, np.float32)))
        anchors = at.op("Reshape", anchors, at.ints(-1, 4))
    low, high = (at.slice(anchors, 1, start, start + 2) for start in (0, 2))
    sides = at.op("Add", at.op("Sub", high, low), 1.0)
    shift, growth = (at.slice(codes, 2, start, start + 2) for start in (0, 2))
    center = at.op("Add", low, at.op("Div", sides, 2.0))
    center = at.op("Add", center, at.op("Mul", shift, sides))
    half = at.op("Div", at.op("Mul", at.op("Exp", growth), sides), 2.0)
    return at.op("Concat", at.op("Sub", center, half), at.op("Add", center, half), axis=2)


def _kept(at: Scope, boxes: Value, scores: Value, count: Size, options: ProposalOptions) -> Value:
    """(R,) the places, of N * count, that suppression keeps, rising."""
    # With the last pixel's far edge as the end, overlaps are those of boxes without it.
    ends = at.op("Add", boxes, np.array([0, 0, 1, 1], np.float32))
    selected = at.op(
        "NonMaxSuppression",
        ends,
        at.unsqueeze(scores, 1),
        at.sized(least(count, options.after) if options.after else count),
        np.array([options.threshold], np.float32),
        *([np.array([_LEAST], np.float32)] if options.drop_small else []),
        dtype=INT64,
    )
    image, place = (at.op("Gather", selected, at.value(np.array(column)), axis=1) for column in (0, 2))
    index = at.op("Add", at.op("Mul", image, at.sized(count)), place)
    flat = at.op("Reshape", scores, at.ints(-1))
    nothing = at.fill(at.op("Shape", flat, dtype=INT64), 0.0)
    ones = at.fill(at.op("Shape", index, dtype=INT64), 1.0)
    marked = at.op("ScatterElements", nothing, index, ones, axis=0)
    found = at.op("NonZero", at.op("Greater", marked, 0.5, dtype=BOOL), dtype=INT64)
    return at.op("Squeeze", found, at.ints(0))
