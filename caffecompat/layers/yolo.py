"""Layers of the ports of YOLOv2: Reorg and Region."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer


@layer("Reorg")
class Reorg(Layer):
    """Darknet's passthrough: (N, C, H, W) to (N, C * s^2, H / s, W / s), or with `reverse` the other way.

    As in Darknet and the ports, channels are not simply gathered from blocks of s x s: the bottom's values are read
    in order as (N, C / s^2, H * s, W * s), blocks of that become channels of (N, C, H, W), and their values in
    order are the top. `reverse` undoes this order for its own bottom's shape, and so does not undo a Reorg.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.reorg_param
        self._stride, self._reverse = param.stride, param.reverse
        if self._stride < 1:
            raise self.error("reorg_param needs a stride of at least 1", kind=SchemaError)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        bottom, stride = bottoms[0], self._stride
        if len(bottom) != 4 or bottom[1] == 0 or bottom[1] % stride**2:
            raise self.error(f"expected (N, C, H, W) with channels in multiples of {stride**2}, got {bottom}")
        items, channels, height, width = bottom
        if self._reverse:
            return ((items, channels // stride**2, height * stride, width * stride),)
        if height % stride or width % stride:
            raise self.error(f"expected height and width in multiples of stride {stride}, got {bottom}")
        return ((items, channels * stride**2, height // stride, width // stride),)

    def forward(self, bottom: Tensor) -> Tensor:
        items, channels, height, width = bottom.shape
        stride = self._stride
        inner = channels // stride**2
        if self._reverse:
            blocks = bottom.reshape(items, stride, stride, inner, height, width)
            return blocks.permute(0, 3, 4, 1, 5, 2).reshape(items, inner, height * stride, width * stride)
        blocks = bottom.reshape(items, inner, height, stride, width, stride)
        top = blocks.permute(0, 3, 5, 1, 2, 4)
        return top.reshape(items, channels * stride**2, height // stride, width // stride)


@layer("Region")
class Region(Layer):
    """What YOLOv2's last layer predicts, made probabilities; the shape stays.

    bottom: (N, num * (coords + 1 + classes), H, W), for each of `num` boxes its coordinates, its confidence and
    its classes. The first two coordinates and the confidence go through the sigmoid, the classes through the
    softmax unless `softmax: 0`, and the other coordinates stay. Boxes are not decoded: `anchors` is not used.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        message = spec.message
        if message.HasField("region_param") and message.HasField("region_loss_param"):
            raise self.error("both region_param and region_loss_param", hint="leave one of them out", kind=SchemaError)
        if message.HasField("region_loss_param"):
            loss = message.region_loss_param
            numbers = (loss.num, loss.coords, loss.num_class, loss.softmax)
        else:
            region = message.region_param
            numbers = (region.num, region.coords, region.classes, region.softmax)
        self._boxes, self._coords, self._classes, self._softmax = numbers
        if self._boxes < 1 or self._coords < 2 or self._classes < 1:
            raise self.error(
                f"expected num and classes of at least 1 and coords of at least 2, got {self._boxes}, "
                f"{self._classes} and {self._coords}",
                kind=SchemaError,
            )

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        values = self._boxes * (self._coords + 1 + self._classes)
        if len(bottoms[0]) != 4 or bottoms[0][1] != values:
            raise self.error(
                f"expected (N, {values}, H, W) for {self._boxes} boxes of {self._coords} coordinates and "
                f"{self._classes} classes, got {bottoms[0]}"
            )
        return (bottoms[0],)

    def forward(self, bottom: Tensor) -> Tensor:
        boxes = bottom.reshape(bottom.shape[0], self._boxes, -1, *bottom.shape[2:])
        places, sizes, confidence, classes = torch.split(boxes, [2, self._coords - 2, 1, self._classes], 2)
        if self._softmax:
            classes = classes.softmax(2)
        return torch.cat([places.sigmoid(), sizes, confidence.sigmoid(), classes], 2).flatten(1, 2)
