"""FlowWarp and Correlation."""

from __future__ import annotations

import numpy as np

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, FLOAT, INT64, Size, Value
from caffecompat.layers.flow import Correlation, FlowWarp
from caffecompat.schema import caffe_pb2

# Each displacement is some nodes.
_MAX_DISPLACEMENTS = 1000


@emits(FlowWarp, precision=Precision.SINGLE)
def flow_warp(layer: FlowWarp, at: Scope) -> Value:
    picture, flow = at.bottoms
    param = layer.spec.message.flow_warp_param
    inside: Value | None = None
    grid = []
    # The flow is (dx, dy), and so is the grid.
    for part, axis in enumerate((3, 2)):
        size = at.size(picture, axis)
        shape = [1, 1, -1] if axis == 3 else [1, -1, 1]
        places = at.op("Reshape", _range(at, size), at.ints(*shape))
        places = at.op("Add", places, at.op("Squeeze", at.slice(flow, 1, part, part + 1), at.ints(1)))
        length = at.cast(at.sized(size), FLOAT)
        for test in (
            at.op("GreaterOrEqual", places, 0.0, dtype=BOOL),
            at.op("Less", places, length, dtype=BOOL),
        ):
            inside = test if inside is None else at.op("And", inside, test)
        last = at.op("Max", at.op("Sub", length, 1.0), 1.0)
        grid.append(at.unsqueeze(at.op("Sub", at.op("Div", at.op("Mul", places, 2.0), last), 1.0), 3))
    assert inside is not None
    inside = at.unsqueeze(inside, 1)
    joined = at.op("Concat", *grid, axis=3)
    warped = at.op("GridSample", picture, joined, mode="bilinear", padding_mode="border", align_corners=1)
    beyond = 0.0 if param.fill_value == caffe_pb2.FlowWarpParameter.ZERO else float("nan")
    return at.op("Where", inside, warped, beyond, dtype=at.dtype)


def _range(at: Scope, size: Size) -> Value:
    zero, one = (at.value(np.array(number, dtype=np.int64)) for number in (0, 1))
    return at.cast(at.op("Range", zero, at.scalar(size), one, dtype=INT64), FLOAT)


@emits(Correlation, precision=Precision.SINGLE)
def correlation(layer: Correlation, at: Scope) -> Value:
    """The mean over channels of the products at each displacement, then the mean over each patch."""
    param = layer.spec.message.correlation_param
    height, width = at.tops[0][2:]
    radius = param.max_displacement // param.stride_2
    if height is None or width is None or (2 * radius + 1) ** 2 > _MAX_DISPLACEMENTS:
        raise at.error(f"Correlation is exported for one size and at most {_MAX_DISPLACEMENTS} displacements")
    pads = at.ints(0, 0, param.pad, param.pad, 0, 0, param.pad, param.pad)
    first, second = (at.op("Pad", x, pads, 0.0, mode="constant") for x in at.bottoms)
    spans = [(places - 1) * param.stride_1 + param.kernel_size for places in (height, width)]
    first = _cut(at, first, [param.max_displacement] * 2, spans)
    offsets = [step * param.stride_2 + param.max_displacement for step in range(-radius, radius + 1)]
    tops = []
    for row in offsets:
        for column in offsets:
            moved = _cut(at, second, [row, column], spans)
            if param.correlation_type == caffe_pb2.CorrelationParameter.SUBTRACT:
                fit = at.op("Abs", at.op("Sub", first, moved))
            else:
                fit = at.op("Mul", first, moved)
            tops.append(at.reduce("ReduceMean", fit, [1]))
    joined = at.op("Concat", *tops, axis=1)
    window = {"kernel_shape": [param.kernel_size] * 2, "strides": [param.stride_1] * 2}
    return (
        joined if (param.kernel_size, param.stride_1) == (1, 1) else at.op("AveragePool", joined, dtype=None, **window)
    )


def _cut(at: Scope, x: Value, starts: list[int], sizes: list[int]) -> Value:
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    return at.op("Slice", x, at.ints(*starts), at.ints(*ends), at.ints(2, 3), at.ints(1, 1))
