"""Detections against ground truth: what DetectionEvaluate computes, on tensors.

Source of the rules: detection_evaluate_layer.cpp of the SSD branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.detection.boxes import jaccard_overlap
from caffecompat.detection.ranks import rank_in_group


@dataclass(frozen=True)
class Boxes:
    """Detections or ground truth, a row each.

    Attributes:
        image: (M,) int64.
        label: (M,) int64.
        boxes: (M, 4).
        score: (M,) of detections.
        difficult: (M,) bool, of ground truth.
        pixel_areas: (M,) the areas of boxes in pixels; None while they are normalized.
    """

    image: Tensor
    label: Tensor
    boxes: Tensor
    score: Tensor
    difficult: Tensor
    pixel_areas: Tensor | None = None

    def __len__(self) -> int:
        return self.image.shape[0]

    def __getitem__(self, index: Tensor) -> Boxes:
        areas = None if self.pixel_areas is None else self.pixel_areas[index]
        return Boxes(
            self.image[index], self.label[index], self.boxes[index], self.score[index], self.difficult[index], areas
        )


def read_detections(rows: Tensor) -> Boxes:
    """The detections among rows of DetectionOutput (..., 7): the rows of -1 that mean none are left out."""
    rows = rows.reshape(-1, 7)
    rows = rows[(rows[:, 0] != -1) & (rows[:, 1] != -1)]
    return Boxes(rows[:, 0].long(), rows[:, 1].long(), rows[:, 3:], rows[:, 2], torch.zeros_like(rows[:, 0]).bool())


def read_ground_truth(rows: Tensor) -> Boxes:
    """The boxes among rows of a label blob (..., 8): item, label, instance, corners, difficult.

    A row of item -1 fills the place of a batch without boxes.
    """
    rows = rows.reshape(-1, 8)
    rows = rows[rows[:, 0].long() != -1]
    return Boxes(rows[:, 0].long(), rows[:, 1].long(), rows[:, 3:7], torch.zeros_like(rows[:, 0]), rows[:, 7] != 0)


def match_detections(
    detections: Boxes,
    truth: Boxes,
    overlap_threshold: float = 0.5,
    *,
    evaluate_difficult: bool = True,
) -> Tensor:
    """Which detections are right.

    In the order of falling score, a detection is right if the box of its image and label that it overlaps
    most, by the threshold at least, is not taken yet; of a difficult box it counts as neither, unless
    difficult boxes are evaluated.

    Args:
        detections: sorted by `in_order`.
        truth: the boxes to find.
        overlap_threshold: least overlap.
        evaluate_difficult: difficult boxes count as all others.

    Returns:
        (M, 2): true positive, false positive; 0 or 1.
    """
    true = torch.zeros(len(detections), dtype=torch.bool, device=detections.boxes.device)
    if not len(detections) or not len(truth):
        return torch.stack([true, ~true], 1).to(detections.score.dtype)
    areas = None
    if detections.pixel_areas is not None and truth.pixel_areas is not None:
        areas = (detections.pixel_areas[:, None], truth.pixel_areas)
    overlap = jaccard_overlap(detections.boxes[:, None], truth.boxes, normalized=areas is None, sizes=areas)
    related = (detections.image[:, None] == truth.image) & (detections.label[:, None] == truth.label)
    best, which = torch.where(related, overlap, -1).max(1)
    found = best >= overlap_threshold
    skipped = found & truth.difficult[which] & (not evaluate_difficult)
    place = torch.arange(len(detections), device=best.device)
    claims = torch.where(found & ~skipped, place, len(place))
    first = torch.full((len(truth),), len(place), device=best.device).scatter_reduce(0, which, claims, "amin")
    true = first[which] == place
    return torch.stack([true, ~true & ~skipped], 1).to(detections.score.dtype)


def in_order(detections: Boxes, truth: Boxes) -> Tensor:
    """The order of Caffe's rows: by image, label, and falling score where that image has truth of that label."""
    related = (detections.image[:, None] == truth.image) & (detections.label[:, None] == truth.label)
    key = torch.where(related.any(1), -detections.score, 0)
    order = key.argsort(stable=True)
    order = order[detections.label[order].argsort(stable=True)]
    return order[detections.image[order].argsort(stable=True)]


def count_positives(truth: Boxes, classes: int, *, evaluate_difficult: bool = True) -> Tensor:
    """How many boxes there are to find of each class; (classes,) int64."""
    counted = truth.label[truth.difficult.logical_not() | evaluate_difficult]
    return torch.bincount(counted[(counted >= 0) & (counted < classes)], minlength=classes)


def pad_by_image(truth: Boxes, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ground truth as a batch: (boxes (N, G, 4), labels (N, G), valid (N, G)), G the most that an image has, or 1.

    Boxes keep their order; boxes of images beyond the batch are left out.
    """
    truth = truth[((truth.image >= 0) & (truth.image < images)).nonzero().squeeze(1)]
    truth = truth[truth.image.argsort(stable=True)]
    place = rank_in_group(truth.image)
    most = int(place.max()) + 1 if len(truth) else 1
    boxes = truth.boxes.new_zeros(images, most, 4)
    labels = truth.label.new_full((images, most), -1)
    valid = torch.zeros(images, most, dtype=torch.bool, device=labels.device)
    boxes[truth.image, place] = truth.boxes
    labels[truth.image, place] = truth.label
    valid[truth.image, place] = True
    return boxes, labels, valid
