"""What Caffe's layers do and PyTorch's modules do not: copied, as they stand here, into the files that need them.

Lines end at 88 characters, as in those files.
"""

# fmt: off

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PriorBox(nn.Module):
    """Caffe's prior boxes: (1, 2, boxes * 4), corners and then variances.

    At each place of a feature map, for each minimum size: a square, a larger square if
    there is a maximum size, and a box of each other aspect ratio (width / height).
    """

    def __init__(
        self,
        min_sizes: tuple[int, ...],
        max_sizes: tuple[int, ...] = (),
        ratios: tuple[float, ...] = (),
        step: float | tuple[float, float] | None = None,
        image_size: float | tuple[float, float] | None = None,
        offset: float = 0.5,
        variance: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2),
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.sizes: list[tuple[float, float]] = []
        roots = torch.tensor(ratios).sqrt()
        for index, size in enumerate(min_sizes):
            self.sizes.append((size, size))
            if max_sizes:
                self.sizes.append((math.sqrt(size * max_sizes[index]),) * 2)
            shapes = torch.stack([size * roots, size / roots], 1).tolist()
            self.sizes += [(width, height) for width, height in shapes]
        self.step, self.image_size = (
            (size, size) if isinstance(size, (int, float)) else size
            for size in (step, image_size)
        )
        self.offset, self.variance, self.clip = offset, variance, clip

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        rows, columns = features.shape[2:]
        height, width = self.image_size or image.shape[2:]
        step_y, step_x = self.step or (height / rows, width / columns)
        y = (torch.arange(rows) + self.offset) * step_y
        x = (torch.arange(columns) + self.offset) * step_x
        y, x = torch.meshgrid(y.double(), x.double(), indexing="ij")
        half = torch.tensor(self.sizes).double() / 2
        boxes = torch.empty(rows, columns, len(half), 4)
        boxes[..., 0] = (x[..., None] - half[:, 0]) / width
        boxes[..., 1] = (y[..., None] - half[:, 1]) / height
        boxes[..., 2] = (x[..., None] + half[:, 0]) / width
        boxes[..., 3] = (y[..., None] + half[:, 1]) / height
        if self.clip:
            boxes = boxes.clamp(0, 1)
        variances = torch.tensor(self.variance).expand_as(boxes)
        return torch.stack([boxes.flatten(), variances.flatten()])[None].to(features)


def detect(
    loc: Tensor,
    conf: Tensor,
    priors: Tensor,
    *,
    num_classes: int,
    confidence_threshold: float,
    nms_threshold: float,
    eta: float = 1.0,
    background: int = 0,
    top_k: int = -1,
    keep_top_k: int = -1,
    code_type: str = "CENTER_SIZE",
    share_location: bool = True,
    variance_encoded_in_target: bool = False,
) -> Tensor:
    """Caffe's DetectionOutput.

    Rows (1, 1, count, 7): image, label, score, xmin, ymin, xmax, ymax; if nothing is
    found, a row (image, -1, ...) for each image.
    """
    boxes, variances = priors.reshape(2, -1, 4)
    scores = conf.reshape(len(conf), len(boxes), num_classes)
    codes = loc.reshape(len(loc), len(boxes), -1, 4)
    if variance_encoded_in_target:
        variances = torch.ones_like(variances)
    rows = []
    for image in range(len(loc)):
        found = []
        for label in range(num_classes):
            score = scores[image, :, label]
            index = (score > confidence_threshold).nonzero().squeeze(1)
            if label == background or not len(index):
                continue
            order = score[index].argsort(descending=True, stable=True)
            index = index[order[:top_k] if top_k >= 0 else order]
            code = codes[image, index, 0 if share_location else label]
            placed = decode(code * variances[index], boxes[index], code_type)
            kept = nms(placed, nms_threshold, eta)
            score, placed = score[index[kept], None], placed[kept]
            head = torch.tensor([image, label], dtype=score.dtype).expand(len(kept), 2)
            found.append(torch.cat([head.to(score), score, placed], 1))
        if found:
            best = torch.cat(found)
            if keep_top_k >= 0:
                order = best[:, 2].argsort(descending=True, stable=True)[:keep_top_k]
                best = best[order.sort().values]
            rows.append(best)
    if not sum(map(len, rows)):
        rows = [loc.new_tensor([[image] + [-1] * 6]) for image in range(len(loc))]
    return torch.cat(rows)[None, None]


def decode(codes: Tensor, priors: Tensor, code_type: str) -> Tensor:
    """Boxes (count, 4) from predictions relative to prior boxes."""
    if code_type == "CORNER":
        return priors + codes
    low, high = priors[:, :2], priors[:, 2:]
    size = high - low
    if code_type == "CORNER_SIZE":
        return priors + codes * torch.cat([size, size], 1)
    center = codes[:, :2] * size + (low + high) / 2
    half = codes[:, 2:].exp() * size / 2
    return torch.cat([center - half, center + half], 1)


def nms(boxes: Tensor, threshold: float, eta: float = 1.0) -> list[int]:
    """Which boxes, the best first, do not overlap a better one that is kept.

    With eta below 1 the threshold is lowered after each, while it is above 0.5.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = torch.where((sides >= 0).all(1), sides.prod(1), 0)
    kept: list[int] = []
    for index in range(len(boxes)):
        low = torch.maximum(boxes[index, :2], boxes[kept, :2])
        high = torch.minimum(boxes[index, 2:], boxes[kept, 2:])
        common = (high - low).clamp(min=0).prod(1)
        overlap = common / (areas[index] + areas[kept] - common)
        if not ((common > 0) & ~(overlap <= threshold)).any():
            kept.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return kept


class Normalize(nn.Module):
    """Channels divided by their norm at each place, times a learned scale (ParseNet)."""

    def __init__(
        self, channels: int, eps: float = 1e-10, across_spatial: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps
        self.across_spatial = across_spatial

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.across_spatial else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.eps).sqrt()
        return x / norm * self.weight.reshape(-1, *[1] * (x.dim() - 2))


class ScaleBias(nn.Module):
    """A learned factor and summand; `behind` axes of the input come after theirs."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (
            each.reshape(*each.shape, *self.behind) for each in (self.weight, self.bias)
        )
        return torch.addcmul(bias, x, weight)


class Scale(nn.Module):
    """A learned factor; `behind` axes of the input come after its own."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.reshape(*self.weight.shape, *self.behind)


class Bias(nn.Module):
    """A learned summand; `behind` axes of the input come after its own."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(*self.bias.shape, *self.behind)


class Constant(nn.Module):
    """A tensor that depends on no input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        return self.value


def lrn_within_channel(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """Local response normalization over a window of pixels."""
    mean = F.avg_pool2d(x.square(), size, 1, size // 2)
    return x / (1 + alpha * mean).pow(beta)


def mvn(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Less its mean, divided by its standard deviation."""
    x = x - x.mean(axes, keepdim=True)
    return x / (x.square().mean(axes, keepdim=True).sqrt() + eps)


def crop(x: Tensor, like: Tensor, axis: int, offsets: tuple[int, ...]) -> Tensor:
    """`x` cut to the size of `like` from `axis` on, each axis from its offset."""
    for place, offset in enumerate(offsets, axis):
        x = x.narrow(place, offset, like.shape[place])
    return x


def padded(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool,
    value: float,
) -> Tensor:
    """A picture with the pads that Caffe's pooling needs.

    It rounds the number of windows up; with any padding it then drops a last window
    that begins beyond the picture and its leading pad, and otherwise keeps it.
    """
    pads: list[int] = []
    for axis in (1, 0):
        size = x.shape[axis + 2]
        span = size + 2 * pad[axis] - kernel[axis]
        count = (-(-span // stride[axis]) if ceil else span // stride[axis]) + 1
        if any(pad) and (count - 1) * stride[axis] >= size + pad[axis]:
            count -= 1
        end = (count - 1) * stride[axis] + kernel[axis]
        pads += [pad[axis], max(0, end - size - pad[axis])]
    return F.pad(x, pads, value=value)


def max_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> Tensor:
    """Max pooling with Caffe's windows."""
    lowest = torch.finfo(torch.float32).min
    return F.max_pool2d(padded(x, kernel, stride, pad, ceil, lowest), kernel, stride)


def average_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> Tensor:
    """Average pooling with Caffe's windows, over what lies within the pads stated."""
    filled = padded(x, kernel, stride, pad, ceil, 0.0)
    sums = F.avg_pool2d(filled, kernel, stride, divisor_override=1)
    sides = []
    for axis in (0, 1):
        start = torch.arange(sums.shape[axis + 2]) * stride[axis]
        end = (start + kernel[axis]).clamp(max=x.shape[axis + 2] + 2 * pad[axis])
        sides.append((end - start).to(x))
    return sums / (sides[0][:, None] * sides[1])


def max_pool_with_mask(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and where in its channel each value was; -1 for nowhere."""
    lowest = torch.finfo(torch.float32).min
    filled = padded(x, kernel, stride, pad, ceil, lowest)
    top, index = F.max_pool2d(filled, kernel, stride, return_indices=True)
    row = index // filled.shape[3] - pad[0]
    column = index % filled.shape[3] - pad[1]
    height, width = x.shape[2:]
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    return top, (row * width + column).masked_fill(outside, -1).to(x)


def spp(x: Tensor, levels: int, pool: Callable[..., Tensor]) -> Tensor:
    """Spatial pyramid pooling: the picture in 1, 2 x 2, 4 x 4, ... bins."""
    tops = []
    for bins in (2**level for level in range(levels)):
        kernel = tuple(-(-size // bins) for size in x.shape[2:])
        pad = tuple((-size % bins + 1) // 2 for size in x.shape[2:])
        tops.append(pool(x, kernel, kernel, pad))
    return tops[0] if levels == 1 else torch.cat([top.flatten(1) for top in tops], 1)


def unpool(x: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at the place in its channel that the mask of a max pooling says."""
    top = x.new_zeros(*x.shape[:2], size[0] * size[1])
    top = top.scatter(2, mask.flatten(2).long(), x.flatten(2))
    return top.reshape(*x.shape[:2], *size)


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


_NOT_COPIED = {"sources", "names"}


@cache
def _own() -> dict[str, Any]:
    """The classes and functions to copy, by name, in the order they stand here."""
    found = {
        name: value
        for name, value in globals().items()
        if getattr(value, "__module__", "") == __name__ and not name.startswith("_")
    }
    return {name: value for name, value in found.items() if name not in _NOT_COPIED}


def names() -> list[str]:
    """What there is to copy."""
    return list(_own())


def sources(needed: Iterable[str]) -> list[str]:
    """The source of these classes and functions and of those that they use, in the order they stand here."""
    wanted = set(needed)
    texts: dict[str, str] = {}
    while missing := wanted - texts.keys():
        for name in missing:
            texts[name] = inspect.getsource(_own()[name]).rstrip()
            words = set(re.findall(r"(?<![.\w])[A-Za-z]\w*(?=\()", texts[name]))
            wanted |= words & _own().keys()
    return [texts[name] for name in _own() if name in texts]
