"""What a net costs and what its values see: pure functions on a Graph and the shapes of its blobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from google.protobuf.message import Message

from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape
from caffecompat.schema import caffe_pb2


@dataclass(frozen=True)
class Reach:
    """What one value of a blob sees of the net's input, axis by axis (height and width of a picture).

    Attributes:
        size: how many values of the input, padding included.
        stride: how many of them lie between what two neighbours see; below 1 after an upsampling.
        offset: where the middle of what the first value sees lies; 0 is the middle of the input's first value.
    """

    size: tuple[Fraction, ...]
    stride: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    def through(
        self, kernel: Sequence[int], stride: Sequence[int] | None = None, pad: Sequence[int] | None = None
    ) -> Reach:
        """The reach after a window of `kernel` values that moves by `stride` (1 if not given) over `pad` (or 0)."""
        step, before = stride or (1,) * len(kernel), pad or (0,) * len(kernel)
        return Reach(
            tuple(size + (k - 1) * jump for size, k, jump in zip(self.size, kernel, self.stride, strict=True)),
            tuple(jump * s for jump, s in zip(self.stride, step, strict=True)),
            self.moved([Fraction(k - 1, 2) - p for k, p in zip(kernel, before, strict=True)]).offset,
        )

    def spread(self, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int]) -> Reach:
        """The reach after a transposed window: a value of the output lies under ceil(kernel / stride) windows."""
        under = [ceil(Fraction(k, s)) for k, s in zip(kernel, stride, strict=True)]
        middle = [(p - Fraction(k - 1, 2)) / s for k, s, p in zip(kernel, stride, pad, strict=True)]
        return Reach(
            self.through(under).size,
            tuple(jump / s for jump, s in zip(self.stride, stride, strict=True)),
            self.moved(middle).offset,
        )

    def moved(self, values: Sequence[Fraction | int]) -> Reach:
        """The reach where the first value is the one that stood `values` further."""
        moved = zip(self.offset, values, self.stride, strict=True)
        return Reach(self.size, self.stride, tuple(offset + value * jump for offset, value, jump in moved))


@dataclass(frozen=True)
class LayerCost:
    """One layer's share, for one image.

    Attributes:
        spec: the layer.
        shapes: the shapes of its tops.
        parameters: values that it owns; those that it shares from another layer count there.
        multiply_adds: of convolutions, deconvolutions, inner products and recurrent layers, and one for each
            value of BatchNorm and Scale; 0 for all else.
        memory_access: values read (bottoms, parameters) and written (tops).
        receptive_field: values of the input that a value of its first top sees, by axis; None where no axis of
            the input is left (labels, priors).
        stride: distance in the input of what neighbours of the first top see.
        offset: the middle of what the first value of the first top sees, from the middle of the input's first value.
    """

    spec: LayerSpec
    shapes: tuple[Shape, ...]
    parameters: int
    multiply_adds: int
    memory_access: int
    receptive_field: tuple[int, ...] | None
    stride: tuple[float, ...] | None
    offset: tuple[float, ...] | None


def analyse(graph: Graph, shapes: Mapping[BlobKey, Shape], parameters: Sequence[Sequence[Shape]]) -> list[LayerCost]:
    """The cost and reach of each layer.

    Args:
        graph: the net.
        shapes: the shape of every blob.
        parameters: the shapes of the parameters of each layer, in Caffe's order.
    """
    batch = next((shapes[key][0] for key in graph.inputs if shapes[key]), 1)
    reaches: dict[BlobKey, Reach | None] = {key: _input_reach(shapes[key]) for key in graph.inputs}
    costs = []
    for spec, blobs in zip(graph.layers, parameters, strict=True):
        if not spec.row.data:
            reach = _reach(spec, [shapes[key] for key in spec.bottoms], blobs, [reaches[key] for key in spec.bottoms])
            reaches.update(dict.fromkeys(spec.tops, reach))
        first = reaches[spec.tops[0]] if spec.tops else None
        read_and_written = sum(_values(shapes[key], batch) for key in (*spec.bottoms, *spec.tops))
        costs.append(
            LayerCost(
                spec=spec,
                shapes=tuple(shapes[key] for key in spec.tops),
                parameters=sum(prod(blob) for index, blob in enumerate(blobs) if spec.param(index).owner is None),
                multiply_adds=_multiply_adds(spec, shapes, blobs, batch),
                memory_access=0 if spec.row.data else read_and_written + sum(map(prod, blobs)),
                receptive_field=tuple(ceil(size) for size in first.size) if first else None,
                stride=tuple(map(float, first.stride)) if first else None,
                offset=tuple(map(float, first.offset)) if first else None,
            )
        )
    return costs


def _values(shape: Shape, batch: int) -> int:
    """How many values of a blob belong to one image; all where the first axis does not count images."""
    return prod(shape) // batch if shape and batch and shape[0] == batch else prod(shape)


def _multiply_adds(spec: LayerSpec, shapes: Mapping[BlobKey, Shape], blobs: Sequence[Shape], batch: int) -> int:
    bottoms = sum(_values(shapes[key], batch) for key in spec.bottoms)
    tops = sum(_values(shapes[key], batch) for key in spec.tops)
    if spec.type in ("BatchNorm", "Scale"):
        return tops
    if not blobs:
        return 0
    if spec.type == "Convolution":
        return tops * prod(blobs[0][1:])
    if spec.type == "Deconvolution":
        return bottoms * prod(blobs[0][1:])
    if spec.type == "InnerProduct":
        inner = spec.message.inner_product_param.num_output
        return tops * (prod(blobs[0]) // inner) if inner else 0
    if spec.type in ("RNN", "LSTM"):
        steps = shapes[spec.bottoms[0]][0]
        return steps * sum(prod(blob) for blob in blobs if len(blob) == 2)
    return 0


def _input_reach(shape: Shape) -> Reach | None:
    axes = len(shape) - 2
    return Reach((Fraction(1),) * axes, (Fraction(1),) * axes, (Fraction(0),) * axes) if axes > 0 else None


def _reach(
    spec: LayerSpec, bottoms: Sequence[Shape], blobs: Sequence[Shape], reaches: Sequence[Reach | None]
) -> Reach | None:
    if spec.type == "PriorBox":
        return None
    if spec.type == "Crop" and reaches[0] is not None:
        return reaches[0].moved(_cropped(spec, len(bottoms[0]))[-len(reaches[0].size) :])
    reach = _widest([found for found in reaches if found is not None])
    if reach is None:
        return None
    axes, space = len(reach.size), bottoms[0][-len(reach.size) :]
    if spec.type in ("Convolution", "Deconvolution") and len(blobs[0]) == axes + 2:
        message = spec.message.convolution_param
        stride = by_axis(message, "stride", 1, axes)
        dilation = by_axis(message, "dilation", 1, axes)
        kernel = [d * (k - 1) + 1 for k, d in zip(blobs[0][2:], dilation, strict=True)]
        pad = by_axis(message, "pad", 0, axes)
        return reach.through(kernel, stride, pad) if spec.type == "Convolution" else reach.spread(kernel, stride, pad)
    if spec.type == "Pooling" and axes == 2:
        pooling = spec.message.pooling_param
        if pooling.global_pooling:
            return reach.through(space)
        kernel, stride, pad = (by_axis(pooling, name, 1, axes) for name in ("kernel", "stride", "pad"))
        return reach.through(kernel, stride, pad)
    if spec.type in ("InnerProduct", "SPP") and len(bottoms[0]) == axes + 2:
        return reach.through(space)
    if spec.type == "LRN" and spec.message.lrn_param.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL:
        size = spec.message.lrn_param.local_size
        return reach.through([size] * axes, pad=[(size - 1) // 2] * axes)
    return reach


def _cropped(spec: LayerSpec, dims: int) -> list[int]:
    """How many values a Crop layer cuts off at the beginning of each axis."""
    param = spec.message.crop_param
    axis = param.axis % dims
    offsets = list(param.offset) or [0]
    return [0] * axis + (offsets * (dims - axis) if len(offsets) == 1 else offsets)


def _widest(reaches: Sequence[Reach]) -> Reach | None:
    """What a value sees that is made of several: the widest of their reaches on each axis."""
    axes = max((len(reach.size) for reach in reaches), default=0)
    alike = [reach for reach in reaches if len(reach.size) == axes]
    if not alike:
        return None
    return Reach(
        tuple(max(reach.size[axis] for reach in alike) for axis in range(axes)),
        tuple(max(reach.stride[axis] for reach in alike) for axis in range(axes)),
        tuple(max(alike, key=lambda reach: reach.size[axis]).offset[axis] for axis in range(axes)),
    )


def by_axis(message: Message, name: str, default: int, axes: int) -> list[int]:
    """A size that a message states for all axes at once, axis by axis, or as `_h` and `_w`."""
    two = (f"{name}_h", f"{name}_w")
    if axes == 2 and name != "dilation" and any(message.HasField(field) for field in two):
        return [getattr(message, field) for field in two]
    stated = getattr(message, "kernel_size" if name == "kernel" else name)
    if isinstance(stated, int):
        return [stated] * axes
    values = list(stated) or [default]
    return values * axes if len(values) == 1 else values
