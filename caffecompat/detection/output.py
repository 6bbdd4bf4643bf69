"""Detections from a net's predictions: what DetectionOutput computes, on tensors.

Source of the rules: detection_output_layer.cpp of the SSD branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.detection.boxes import CodeType, decode_boxes
from caffecompat.detection.nms import nms
from caffecompat.detection.ranks import rank_in_group

FLT_MAX = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class DetectionOptions:
    """How predictions become detections; the defaults are Caffe's.

    Attributes:
        background: the class that is no object, or -1.
        code_type: how locations are coded.
        variance_encoded_in_target: locations are not multiplied by the priors' variances.
        confidence_threshold: scores must be above it.
        nms_threshold: greatest overlap of two detections of a class.
        eta: factor of the threshold after each kept box; see `nms`.
        top_k: how many of a class's best candidates go into suppression; -1 for all.
        keep_top_k: how many detections of an image remain; -1 for all.
    """

    background: int = 0
    code_type: CodeType = "CORNER"
    variance_encoded_in_target: bool = False
    confidence_threshold: float = -FLT_MAX
    nms_threshold: float = 0.3
    eta: float = 1.0
    top_k: int = -1
    keep_top_k: int = -1


def detect(loc: Tensor, scores: Tensor, priors: Tensor, variances: Tensor, options: DetectionOptions) -> Tensor:
    """The detections of a batch.

    Args:
        loc: (N, P, L, 4) location predictions, L being 1 (shared by all classes) or C.
        scores: (N, P, C) a score for each prior and class.
        priors: (P, 4) prior boxes.
        variances: (P, 4) their variances.
        options: how to select.

    Returns:
        (K, 7): image, label, score, xmin, ymin, xmax, ymax, not clipped; by image, then label, then falling
        score, equal scores by prior. If nothing is found at all, a row (image, -1, -1, ...) for each image.
    """
    images, _, classes = scores.shape
    scores = scores.transpose(1, 2).contiguous()
    image, label, prior = _candidates(scores, options)
    score = scores[image, label, prior]
    group = image * classes + label
    order = _by_score(score, group)
    if options.top_k >= 0:
        # Candidates tied with the last of the best were let through until here.
        order = order[(rank_in_group(group[order]) < options.top_k).nonzero().squeeze(1)]
    image, label, prior, score, group = (each[order] for each in (image, label, prior, score, group))

    boxes = decode_boxes(
        loc[image, prior, label if loc.shape[2] > 1 else torch.zeros_like(label)],
        priors[prior],
        variances[prior],
        options.code_type,
        variance_encoded_in_target=options.variance_encoded_in_target,
    )
    keep = nms(boxes, group, images * classes, options.nms_threshold, options.eta)
    if options.keep_top_k >= 0:
        keep = keep & _best(torch.where(keep, score, -torch.inf), image, options.keep_top_k)

    rows = torch.cat([torch.stack([image.to(score.dtype), label.to(score.dtype), score], 1), boxes], 1)
    nothing = torch.full((images, 7), -1.0, dtype=rows.dtype, device=rows.device)
    nothing = torch.cat([torch.arange(images, dtype=rows.dtype, device=rows.device)[:, None], nothing[:, 1:]], 1)
    chosen = torch.cat([keep, (~keep.any()).expand(images)]).nonzero().squeeze(1)
    return torch.cat([rows, nothing])[chosen]


def _candidates(scores: Tensor, options: DetectionOptions) -> tuple[Tensor, Tensor, Tensor]:
    """(image, label, prior) of the scores above the threshold that may be among the best `top_k`."""
    passed = scores > options.confidence_threshold
    if 0 <= options.background < scores.shape[1]:
        objects = torch.arange(scores.shape[1], device=scores.device) != options.background
        passed = passed & objects[:, None]
    if 0 < options.top_k < scores.shape[2]:
        best = torch.where(passed, scores, -torch.inf).topk(options.top_k, dim=2, sorted=False).values
        passed = passed & (scores >= best.amin(2, keepdim=True))
    image, label, prior = passed.nonzero().unbind(1)
    return image, label, prior


def _by_score(score: Tensor, group: Tensor) -> Tensor:
    """The order by group, then falling score, then as they are (Caffe: a stable sort)."""
    order = score.argsort(descending=True, stable=True)
    return order[group[order].argsort(stable=True)]


def _best(score: Tensor, image: Tensor, count: int) -> Tensor:
    """Whether each is among the `count` highest scores of its image; (M,) bool."""
    order = _by_score(score, image)
    return torch.zeros_like(order, dtype=torch.bool).scatter(0, order, rank_in_group(image[order]) < count)
