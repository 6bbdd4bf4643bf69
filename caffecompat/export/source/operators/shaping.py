"""What takes parts of blobs, or orders them anew."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor


def crop(x: Tensor, like: Tensor, axis: int, offsets: tuple[int, ...]) -> Tensor:
    """`x` cut to the size of `like` from `axis` on, each axis from its offset."""
    for place, offset in enumerate(offsets, axis):
        x = x.narrow(place, offset, like.shape[place])
    return x


def argmax(x: Tensor, axis: int, count: int) -> tuple[Tensor, Tensor]:
    """Places (as floats) and values of the greatest; of equal ones the last first."""
    values, places = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    places = x.shape[axis] - 1 - places.narrow(axis, 0, count)
    return places.to(x), values.narrow(axis, 0, count)


def reorg(x: Tensor, stride: int, reverse: bool = False) -> Tensor:
    """Darknet's passthrough from space to channels, or back."""
    count, channels, height, width = x.shape
    inner = channels // stride**2
    if reverse:
        x = x.reshape(count, stride, stride, inner, height, width)
        x = x.permute(0, 3, 4, 1, 5, 2)
        return x.reshape(count, inner, height * stride, width * stride)
    x = x.reshape(count, inner, height, stride, width, stride)
    x = x.permute(0, 3, 5, 1, 2, 4)
    return x.reshape(count, channels * stride**2, height // stride, width // stride)


def region(
    x: Tensor, boxes: int, coords: int, classes: int, softmax: bool = True
) -> Tensor:
    """What YOLOv2 predicts, made probabilities."""
    x = x.reshape(len(x), boxes, -1, *x.shape[2:])
    sizes = [2, coords - 2, 1, classes]
    place, size, confidence, scores = torch.split(x, sizes, 2)
    if softmax:
        scores = scores.softmax(2)
    parts = [place.sigmoid(), size, confidence.sigmoid(), scores]
    return torch.cat(parts, 2).flatten(1, 2)
