"""Rules about the boxes of a database: their labels, where they are, and whether priors fit them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from caffecompat.detection.label_map import LabelMap, read_label_map
from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.solver.box_causes import label_range
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.labels import LABEL_GAP
from caffecompat.solver.lint.reading import Read
from caffecompat.solver.listeners import number
from caffecompat.solver.multibox import BoxLoss, best_overlaps, box_losses, priors_of
from caffecompat.solver.stored_boxes import TINY, Mask, StoredBoxes, largest_side

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

BOX_LABELS = Rule("box-labels", "error", "Each box has a label below num_classes, and not the background's.")
LABEL_MAP = Rule(
    "label-map", "warning", "A label map names the labels of the boxes, and as many classes as num_classes."
)
NO_BOXES = Rule("no-boxes", "error", "Without boxes a MultiBoxLoss is 0, and nothing is learnt.")
BOX_PIXELS = Rule(
    "box-pixels", "error", "Boxes are stored as fractions of the picture: others are cut off, or left out."
)
BOX_PLACE = Rule("box-place", "warning", "Boxes without an area, or outside of the picture, are left out.")
PRIOR_FIT = Rule(
    "prior-fit", "warning", "Boxes that overlap no prior by overlap_threshold have one prior each at most."
)
RULES = (BOX_LABELS, LABEL_MAP, NO_BOXES, BOX_PIXELS, BOX_PLACE, PRIOR_FIT)

# So much of the boxes may be outside, without area or unmatched without a word.
MANY_WRONG, FEW_FIT = 0.01, 0.3
# Boxes whose overlaps are computed.
MAX_COMPARED = 2000
MAX_NAMES = 5
# Of what a label map calls the background; SSD's authors call it none_of_the_above.
BACKGROUND = ("background", "bg", "none", "neg", "void", "other", "unlabel")


@dataclass(frozen=True)
class _Use:
    """A layer that takes boxes of a data layer: a loss or an evaluation.

    Attributes:
        spec: the layer.
        data: the data layer.
        read: what was read of it; None if it could not be.
        classes: num_classes.
        background: background_label_id.
        loss: it as a loss, if it is one.
    """

    spec: LayerSpec
    data: LayerSpec
    read: Read | None
    classes: int
    background: int
    loss: BoxLoss | None = None

    @property
    def boxes(self) -> StoredBoxes | None:
        """The boxes that were looked at."""
        return self.read.boxes if self.read is not None else None

    @property
    def agnostic(self) -> bool:
        """Whether all objects are one class."""
        return self.loss is not None and self.loss.param.map_object_to_agnostic


def check(subject: Subject) -> Iterator[Finding]:
    """The boxes of each data layer that a MultiBoxLoss or a DetectionEvaluate takes."""
    for linted in subject.nets:
        for use in _uses(linted):
            yield from _map(subject, use)
            if use.boxes is None:
                continue
            yield from _labels(use, use.boxes)
            yield from _places(use, use.boxes)
            if use.loss is not None:
                yield from _fit(linted, use, use.boxes)


def _uses(linted: LintedNet) -> Iterator[_Use]:
    for loss in box_losses(linted.graph):
        if loss.data is not None:
            param = loss.param
            read = linted.read.get(loss.data.index)
            yield _Use(loss.spec, loss.data, read, param.num_classes, param.background_label_id, loss)
    tops = {key: spec for spec in linted.data_layers for key in spec.tops}
    for spec in linted.graph.layers:
        data = tops.get(spec.bottoms[1]) if spec.type == "DetectionEvaluate" and len(spec.bottoms) > 1 else None
        if data is not None:
            evaluate = spec.message.detection_evaluate_param
            read = linted.read.get(data.index)
            yield _Use(spec, data, read, evaluate.num_classes, evaluate.background_label_id)


# --- labels


def _labels(use: _Use, boxes: StoredBoxes) -> Iterator[Finding]:
    """Labels that are no class; classes that no box has."""
    labels = boxes.labels
    if use.loss is not None and not use.loss.param.use_difficult_gt:
        labels = np.where(boxes.difficult, np.nan, labels)
    for bad, why, hint in (
        (labels < 0, "labels are 0 and above", None),
        (labels == use.background, "which is the background's", "objects have other labels than background_label_id"),
        (
            (labels >= use.classes) & (not use.agnostic),
            f"classes are 0..{use.classes - 1}",
            f"num_classes must be {number(float(np.nanmax(labels, initial=0)) + 1)} or more, in all layers",
        ),
    ):
        if bad.any():
            label = number(float(labels[bad][0]))
            text = f"record {quoted(boxes.key(bad))} of layer {quoted(use.data.name)} has a box of label {label}; {why}"
            yield BOX_LABELS.on(use.spec, text, hint)
            return
    if use.read is not None and use.read.complete and use.loss is not None and not use.agnostic and len(boxes):
        unused, _ = unnamed(use.classes, use.background, {int(label) for label in boxes.labels})
        if unused:
            objects = use.classes - (0 <= use.background < use.classes)
            text = f"{unused} of {objects} classes of objects have no box in layer {quoted(use.data.name)}"
            yield LABEL_GAP.on(use.spec, text)


def _map(subject: Subject, use: _Use) -> Iterator[Finding]:
    """The label map of the data layer, against the classes and the boxes."""
    name = use.data.message.annotated_data_param.label_map_file
    if not name or use.agnostic:
        return
    try:
        path = use.data.find(name, "label_map_file")
    except CaffeCompatError as error:
        yield LABEL_MAP.on(use.data, f"{error.message}; no run reads it, and labels were not checked", error.hint)
        return
    try:
        found = read_label_map(path)
    except CaffeCompatError as error:
        error.add_context(file=path)
        yield LABEL_MAP.of(error)
        return
    yield from _named(use, found, path)


def _named(use: _Use, found: LabelMap, path: Path) -> Iterator[Finding]:
    named = set(found.names)
    if not named:
        yield LABEL_MAP.in_file(path, "the label map has no item")
        return
    has = f"{quoted(str(path))} has {label_range(named)}"
    others = sorted({int(label) for label in use.boxes.labels} - named) if use.boxes is not None else []
    if others:
        listed = ", ".join(map(str, others[:MAX_NAMES])) + ("" if len(others) <= MAX_NAMES else ", ...")
        text = f"{has}, and layer {quoted(use.data.name)} boxes of label {listed}: made with another map?"
        yield LABEL_MAP.on(use.data, text)
    count, first = unnamed(use.classes, use.background, named)
    if max(named) >= use.classes:
        yield LABEL_MAP.on(use.data, f"{has}, and num_classes of layer {quoted(use.spec.name)} is {use.classes}")
    elif count and use.loss is not None:
        text = f"{has}, and no name for classes {first} of layer {quoted(use.spec.name)}"
        yield LABEL_MAP.on(use.data, text)
    background = found.names.get(use.background, "none") + found.display_names.get(use.background, "none")
    if not any(word in background.lower() for word in BACKGROUND):
        text = f"label {use.background} is {quoted(found.names[use.background])}, and background_label_id of layer"
        hint = "boxes of that class would be refused: begin with an item for the background"
        yield LABEL_MAP.on(use.data, f"{text} {quoted(use.spec.name)}", f"{path}: {hint}")


# --- places


def _places(use: _Use, boxes: StoredBoxes) -> Iterator[Finding]:
    looked = f"the first {len(boxes.keys)} records"
    if not len(boxes):
        if use.loss is not None:
            yield NO_BOXES.on(use.data, f"none of {looked} has a box")
        return
    if boxes.in_pixels.any():
        pixels = boxes.in_pixels
        text = f"{int(pixels.sum())} of {len(boxes)} boxes are no fractions of the picture, as {boxes.example(pixels)}"
        yield BOX_PIXELS.on(use.data, text, "pixels are to be divided by the picture's width and height")
        return
    if largest_side(boxes.boxes) < TINY:
        text = f"the largest of {len(boxes)} boxes has a side of {number(largest_side(boxes.boxes))} of the picture's"
        yield BOX_PIXELS.on(use.data, text, "were fractions divided by the picture's size once more?")
        return
    for wrong, what in (
        (boxes.flat, "have no area"),
        (boxes.lost & ~boxes.flat, "are outside of the picture"),
        (boxes.outside & ~boxes.lost, "reach outside of the picture, and are cut off"),
    ):
        yield from _many(use, boxes, wrong, what)


def _many(use: _Use, boxes: StoredBoxes, wrong: Mask, what: str) -> Iterator[Finding]:
    count = int(wrong.sum())
    if count > MANY_WRONG * len(boxes):
        yield BOX_PLACE.on(use.data, f"{count} of {len(boxes)} boxes {what}, as {boxes.example(wrong)}")


def _fit(linted: LintedNet, use: _Use, boxes: StoredBoxes) -> Iterator[Finding]:
    """How many boxes overlap a prior by the threshold, as they are, without augmentation."""
    if linted.net is None or use.loss is None or not use.loss.param.use_prior_for_matching:
        return
    priors = priors_of(linted.net, use.loss)
    inside = boxes.boxes[~boxes.lost & ~boxes.in_pixels][:MAX_COMPARED]
    if priors is None or not len(inside) or largest_side(boxes.boxes) < TINY or _keeps_aspect(use.data):
        return
    threshold = use.loss.param.overlap_threshold
    fitting = int((best_overlaps(inside, priors) >= threshold).sum())
    if fitting < FEW_FIT * len(inside):
        text = f"{fitting} of {len(inside)} boxes overlap a prior by {number(threshold)} or more"
        yield PRIOR_FIT.on(use.spec, text, "min_size, max_size and aspect_ratio of the PriorBox layers fit other boxes")


def _keeps_aspect(data: LayerSpec) -> bool:
    """Whether boxes are moved by more than augmentation: pictures are cropped or padded."""
    param = data.message.transform_param
    return bool(param.crop_size or param.crop_h) or param.resize_param.resize_mode != 1


def unnamed(classes: int, background: int, named: Collection[int]) -> tuple[int, str]:
    """How many classes but the background are not among those named, and the first of them as a sentence says them."""
    count = classes - len({label for label in (*named, background) if 0 <= label < classes})
    missing = (label for label in range(classes) if label != background and label not in named)
    first = ", ".join(map(str, islice(missing, MAX_NAMES)))
    return count, first if count <= MAX_NAMES else f"{first} and {count - MAX_NAMES} more"
