"""Average precision and recall over a data set, as COCO computes them: by pycocotools, COCO's own library."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffecompat.detection.ground_truth import Found, Truth
from caffecompat.errors import FormatError, UnsupportedError

# COCO's twelve figures, in its order, with what each is.
SUMMARY = (
    ("AP", "overlap 0.50 to 0.95"),
    ("AP50", "overlap 0.50"),
    ("AP75", "overlap 0.75"),
    ("APs", "small, area below 32 x 32"),
    ("APm", "medium"),
    ("APl", "large, area above 96 x 96"),
    ("AR1", "1 detection an image"),
    ("AR10", "10 detections an image"),
    ("AR100", "100 detections an image"),
    ("ARs", "small"),
    ("ARm", "medium"),
    ("ARl", "large"),
)
# Places in pycocotools' arrays: of all sizes of boxes, and of the overlaps 0.50 and 0.75.
_ALL_SIZES, _MOST = 0, -1
_HALF, _THREE_QUARTERS = 0, 5
# All, small, medium, large.
SIZES = 4


@dataclass(frozen=True)
class CocoClass:
    """What came of one class; None where there is nothing to find.

    Attributes:
        name: of the class.
        boxes: how many there are to find, crowds not counted.
        detections: how many there are.
        ap: average precision over the overlaps from 0.50 to 0.95.
        ap50: at an overlap of 0.50.
        ap75: at an overlap of 0.75.
    """

    name: str
    boxes: int
    detections: int
    ap: float | None
    ap50: float | None
    ap75: float | None


@dataclass(frozen=True)
class CocoResult:
    """What came of all.

    Attributes:
        classes: of each class.
        summary: COCO's figures by their names; None where there is nothing to find.
    """

    classes: tuple[CocoClass, ...]
    summary: dict[str, float | None]


def steps(truth: Truth) -> int:
    """How often `evaluate` calls its `progress`."""
    return len(truth.images) * len(truth.classes) * SIZES


def evaluate(found: Found, truth: Truth, progress: Callable[[], None] = lambda: None) -> CocoResult:
    """COCO's figures.

    Args:
        found: the detections, counted as the truth's images and classes.
        truth: what is to be found; its `difficult` boxes are crowds.
        progress: called for each image, class and range of sizes.

    Raises:
        UnsupportedError: pycocotools is not installed.
        FormatError: there are no images or no classes.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UnsupportedError(
            "COCO's evaluation needs pycocotools, which is not installed", hint="pip install 'caffecompat[coco]'"
        ) from error
    if not truth.images or not truth.classes:
        raise FormatError("the annotations have no images or no categories")
    # It tells its steps on stdout.
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for annotations in (_boxes(truth), _detections(found)):
            made = COCO()
            made.dataset = {
                "images": [{"id": index} for index in range(1, len(truth.images) + 1)],
                "categories": [{"id": index} for index in range(1, len(truth.classes) + 1)],
                "annotations": annotations,
            }
            made.createIndex()
            sets.append(made)
        evaluation = COCOeval(*sets, "bbox")
        own = evaluation.evaluateImg

        def one_step(*step: Any) -> Any:
            progress()
            return own(*step)

        evaluation.evaluateImg = one_step
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]
    return CocoResult(
        tuple(_class(precision, found, truth, label) for label in range(len(truth.classes))),
        {name: _figure(value) for (name, _), value in zip(SUMMARY, evaluation.stats, strict=True)},
    )


def _boxes(truth: Truth) -> list[dict[str, Any]]:
    areas = truth.boxes[:, 2] * truth.boxes[:, 3] if truth.areas is None else truth.areas
    columns = (truth.image + 1, truth.label + 1, truth.boxes, areas, truth.difficult)
    return [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for number, (image, label, box, area, crowd) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]


def _detections(found: Found) -> list[dict[str, Any]]:
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    columns = (found.image + 1, found.label + 1, found.boxes, areas, found.scores)
    return [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": area, "score": score, "iscrowd": 0}
        for number, (image, label, box, area, score) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), 1
        )
    ]


def _class(precision: np.ndarray[Any, Any], found: Found, truth: Truth, label: int) -> CocoClass:
    # Overlaps x recalls.
    own = precision[:, :, label, _ALL_SIZES, _MOST]

    def mean(values: np.ndarray[Any, Any]) -> float | None:
        return _figure(values[values > -1].mean()) if (values > -1).any() else None

    return CocoClass(
        name=truth.classes[label],
        boxes=int(((truth.label == label) & ~truth.difficult).sum()),
        detections=int((found.label == label).sum()),
        ap=mean(own),
        ap50=mean(own[_HALF]),
        ap75=mean(own[_THREE_QUARTERS]),
    )


def _figure(value: float) -> float | None:
    """A figure; pycocotools says -1 where there is nothing to find."""
    return float(value) if value > -1 else None
