"""What is to be found, and what was found, as evaluations of whole data sets take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError, quoted

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """The boxes of a data set.

    Attributes:
        classes: what the classes are called; a box's `label` counts in them.
        images: what the images are called; a box's `image` counts in them.
        class_names: every name by which files of results may call a class, and which class that is.
        image_names: the same of images.
        image: (G,) the image of each box.
        label: (G,) its class.
        boxes: (G, 4) xmin, ymin, width, height in pixels.
        difficult: (G,) it need not be found: VOC's difficult ones, COCO's crowds.
        areas: (G,) of COCO: the area of the object, which may be less than that of its box.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    class_names: Mapping[str, int]
    image_names: Mapping[str, int]
    image: Ints
    label: Ints
    boxes: Doubles
    difficult: Flags
    areas: Doubles | None = None


@dataclass(frozen=True)
class Found:
    """The detections of files of results, in their order.

    Attributes:
        classes: what the files call the classes; a detection's `label` counts in them.
        images: what the files call the images; a detection's `image` counts in them.
        image: (D,) the image of each detection.
        label: (D,) its class.
        scores: (D,).
        boxes: (D, 4) xmin, ymin, width, height in pixels.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    image: Ints
    label: Ints
    scores: Doubles
    boxes: Doubles

    def __len__(self) -> int:
        return len(self.scores)


def aligned(found: Found, truth: Truth, labels: Mapping[str, Sequence[str]] | None = None) -> tuple[Found, list[str]]:
    """The detections, their images and classes counted as those of the truth; others are left out.

    Args:
        found: what was found.
        truth: what is to be found.
        labels: further names of what the files call a class, as a label map has them.

    Returns:
        The detections; and what there is to say of those that were left out.

    Raises:
        FormatError: no detection is of an image of the truth, or none of its classes.
    """
    names = labels or {}
    images = np.array([truth.image_names.get(name, -1) for name in found.images], np.int64)
    classes = np.array([_class_of(name, truth, names.get(name, ())) for name in found.classes], np.int64)
    image, label = images[found.image], classes[found.label]
    notes = []
    for what, called, index, known in (
        ("images", found.images, images, truth.images),
        ("classes", found.classes, classes, truth.classes),
    ):
        strange = [name for name, place in zip(called, index.tolist(), strict=True) if place < 0]
        if strange and len(strange) == len(called):
            raise FormatError(
                f"none of the {what} of the results is one of the annotations: {quoted(strange[0])} is not, "
                f"{quoted(known[0]) if known else 'nothing'} is",
                hint="a label map (--label-map) says what the labels of results are called"
                if what == "classes"
                else "are these the annotations, and the image set, of the images that were tested?",
            )
        if strange:
            notes.append(
                f"{len(strange)} {what} of the results, such as {quoted(strange[0])}, are not annotated: left out"
            )
    kept = (image >= 0) & (label >= 0)
    chosen = replace(
        found,
        classes=truth.classes,
        images=truth.images,
        image=image[kept],
        label=label[kept],
        scores=found.scores[kept],
        boxes=found.boxes[kept],
    )
    return chosen, notes


def _class_of(name: str, truth: Truth, others: Sequence[str]) -> int:
    return next((truth.class_names[each] for each in (name, *others) if each in truth.class_names), -1)


def restricted(truth: Truth, images: Sequence[int]) -> Truth:
    """The truth of some of its images only, in this order.

    Args:
        truth: all of it.
        images: which images, by their numbers.
    """
    places = np.full(len(truth.images), -1, np.int64)
    places[list(images)] = np.arange(len(images))
    kept = places[truth.image] >= 0
    parts: dict[str, Any] = {name: getattr(truth, name)[kept] for name in ("label", "boxes", "difficult")}
    return replace(
        truth,
        images=tuple(truth.images[index] for index in images),
        image_names={name: int(places[index]) for name, index in truth.image_names.items() if places[index] >= 0},
        image=places[truth.image][kept],
        areas=None if truth.areas is None else truth.areas[kept],
        **parts,
    )
