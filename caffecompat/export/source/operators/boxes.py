"""Prior boxes, and detections from them."""

# fmt: off

from __future__ import annotations

import math

import torch
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
