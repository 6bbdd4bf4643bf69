"""Boxes as SSD's Caffe computes with them: sizes, overlaps, and coding against prior boxes.

A box is (xmin, ymin, xmax, ymax) along the last axis, float32; it is normalized when 0..1 spans the image.
Source of the rules: bbox_util.cpp of the SSD branch.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

CodeType = Literal["CORNER", "CENTER_SIZE", "CORNER_SIZE"]


def box_size(boxes: Tensor, *, normalized: bool = True) -> Tensor:
    """Area of each box, 0 where a maximum is below its minimum.

    Args:
        boxes: (..., 4).
        normalized: otherwise coordinates are pixels and both ends belong to the box: a side is max - min + 1.

    Returns:
        (...), the dtype of `boxes`.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    valid = (sides >= 0).all(-1)
    if not normalized:
        sides = sides + 1
    return torch.where(valid, sides[..., 0] * sides[..., 1], 0)


def jaccard_overlap(
    a: Tensor, b: Tensor, *, normalized: bool = True, sizes: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Intersection over union of boxes that broadcast against each other.

    Args:
        a: (..., 4).
        b: (..., 4).
        normalized: as in `box_size`.
        sizes: the boxes' areas, where they are known already.

    Returns:
        (...); 0 where the boxes do not intersect.
    """
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    if not normalized:
        # Boxes that share nothing count as (0, 0, 0, 0), which is one pixel, as in the original.
        apart = ((b[..., :2] > a[..., 2:]) | (b[..., 2:] < a[..., :2])).any(-1, keepdim=True)
        sides = torch.where(apart, 1, sides + 1)
    sides = sides.clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    a_size, b_size = sizes or (box_size(a, normalized=normalized), box_size(b, normalized=normalized))
    return (intersection / (a_size + b_size - intersection)).masked_fill(~(intersection > 0), 0)


def clip_boxes(boxes: Tensor, height: float = 1.0, width: float = 1.0) -> Tensor:
    """Boxes cut off at the image's border: 0 and 1, or the image's size in pixels."""
    limit = boxes.new_tensor([width, height, width, height])
    return torch.minimum(boxes, limit).clamp(min=0)


def crosses_boundary(boxes: Tensor) -> Tensor:
    """Whether any coordinate of a normalized box lies outside 0..1."""
    return ((boxes < 0) | (boxes > 1)).any(-1)


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def encode_boxes(
    boxes: Tensor,
    priors: Tensor,
    variances: Tensor,
    code_type: CodeType = "CORNER",
    *,
    variance_encoded_in_target: bool = False,
) -> Tensor:
    """What a net must predict so that `decode_boxes` gives `boxes`.

    Args:
        boxes: (..., 4) normalized.
        priors: (..., 4) prior boxes.
        variances: (..., 4) of the priors.
        code_type: CORNER: differences of the corners; CENTER_SIZE: the centre's shift in units of the prior's
            size, and the logarithm of the ratio of sizes; CORNER_SIZE: the corners' shifts in units of the size.
        variance_encoded_in_target: the result is not divided by the variances.

    Returns:
        (..., 4).
    """
    center, size = _center_size(priors)
    if code_type == "CENTER_SIZE":
        box_center, box_size_ = _center_size(boxes)
        code = torch.cat([(box_center - center) / size, torch.log(box_size_ / size)], -1)
    else:
        code = boxes - priors
        if code_type == "CORNER_SIZE":
            code = code / torch.cat([size, size], -1)
    return code if variance_encoded_in_target else code / variances


def decode_boxes(
    codes: Tensor,
    priors: Tensor,
    variances: Tensor,
    code_type: CodeType = "CORNER",
    *,
    variance_encoded_in_target: bool = False,
) -> Tensor:
    """Boxes from a net's location predictions: the inverse of `encode_boxes`, with its arguments.

    Args:
        codes: (..., 4) predictions.
        priors: (..., 4) prior boxes.
        variances: (..., 4) of the priors.
        code_type: how the predictions are coded.
        variance_encoded_in_target: the predictions are not multiplied by the variances.

    Returns:
        (..., 4), not clipped.
    """
    if not variance_encoded_in_target:
        codes = variances * codes
    if code_type == "CORNER":
        return priors + codes
    center, size = _center_size(priors)
    if code_type == "CORNER_SIZE":
        return priors + codes * torch.cat([size, size], -1)
    new_center = codes[..., :2] * size + center
    half = torch.exp(codes[..., 2:]) * size / 2
    return torch.cat([new_center - half, new_center + half], -1)
