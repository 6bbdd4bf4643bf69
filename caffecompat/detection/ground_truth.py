"""What is to be found, and what was found, as evaluations of whole data sets take them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError, quoted

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# So many folders of a path tell two files of one name apart.
_FOLDERS = 3


@dataclass(frozen=True)
class Truth:
    """The boxes of a data set.

    Attributes:
        classes: what the classes are called; a box's `label` counts in them.
        images: what the images are called; a box's `image` counts in them.
        class_names: every name by which files of results may call a class, and which class that is.
        image_names: the same of images, for results that say no files' names.
        file_names: the same for results that do: see `file_keys`.
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
    file_names: Mapping[str, int] = field(default_factory=dict)


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
        files: the file's name of an image, by what the files call it, where they say one.
        titles: the name of a class that is a label of the net's, by that label; empty where they say none.
        listed: they list all images that were looked at, those without detections too.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    image: Ints
    label: Ints
    scores: Doubles
    boxes: Doubles
    files: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[str, str] = field(default_factory=dict)
    listed: bool = False

    def __len__(self) -> int:
        return len(self.scores)


def file_keys(name: str) -> Iterator[str]:
    """By what a picture's file may be known, the surest first.

    That is its path, and the end of it with fewer and fewer folders, each with the suffix and without.
    """
    yield name
    parts = re.split(r"[/\\]+", name)[-_FOLDERS:]
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        yield end
        stem, dot, _ = parts[-1].rpartition(".")
        if dot and stem:
            yield "/".join([*parts[start:-1], stem])


def by_file(names: Sequence[str]) -> dict[str, int]:
    """The places of files in a list by their `file_keys`; what several files share tells none of them."""
    exact: dict[str, int] = {}
    others: dict[str, int] = {}
    for index, name in enumerate(names):
        exact[name] = -1 if name in exact else index
        for key in set(file_keys(name)) - {name}:
            others[key] = -1 if key in others else index
    return {key: index for key, index in {**others, **exact}.items() if index >= 0}


def aligned(found: Found, truth: Truth, labels: Mapping[str, Sequence[str]] | None = None) -> tuple[Found, list[str]]:
    """The detections, their images and classes counted as those of the truth; others are left out.

    Images are the same by the names of their files where the results say them, else by their ids or names; classes by
    their names where the results say them, else as a label map says, or by their ids or names.

    Args:
        found: what was found.
        truth: what is to be found.
        labels: further names of what the files call a class, as a label map has them.

    Returns:
        The detections; and what there is to say of those that were left out.

    Raises:
        FormatError: no detection is of an image of the truth, or none of its classes; or two images are the same one.
    """
    called = tuple(found.files.get(name, name) for name in found.images)
    images = np.array([_image_of(name, found, truth) for name in found.images], np.int64)
    _check_once(called, images, truth)
    others = labels or {}
    classes = np.array([_class_of(name, found, truth, others.get(name, ())) for name in found.classes], np.int64)
    notes = [
        *_left_out("images", called, images, truth.images),
        *_left_out("classes", tuple(found.titles.get(name) or name for name in found.classes), classes, truth.classes),
        *_doubtful(found, truth, others),
        *_missing(found, images, truth),
    ]
    image, label = images[found.image], classes[found.label]
    kept = (image >= 0) & (label >= 0)
    chosen = replace(
        found,
        classes=truth.classes,
        images=truth.images,
        image=image[kept],
        label=label[kept],
        scores=found.scores[kept],
        boxes=found.boxes[kept],
        files={},
        titles={},
    )
    return chosen, notes


def _image_of(name: str, found: Found, truth: Truth) -> int:
    file = found.files.get(name)
    if file is None:
        return truth.image_names.get(name, -1)
    return next((truth.file_names[key] for key in file_keys(file) if key in truth.file_names), -1)


def _class_of(name: str, found: Found, truth: Truth, others: Sequence[str]) -> int:
    title = found.titles.get(name)
    # What is a label of the net's must not be taken for one of the ids of the annotations.
    called = (name, *others) if title is None else (*([title] if title else []), *others, name)
    return next((truth.class_names[each] for each in called if each in truth.class_names), -1)


def _check_once(called: Sequence[str], images: Ints, truth: Truth) -> None:
    """Refuse results that have an image twice: its detections would count as more than were made."""
    first: dict[int, str] = {}
    for name, place in zip(called, images.tolist(), strict=True):
        if place >= 0 and first.setdefault(place, name) is not name:
            raise FormatError(
                f"{quoted(first[place])} and {quoted(name)} of the results are both the image "
                f"{quoted(truth.images[place])} of the annotations",
                hint="results are to have each image once",
            )


def _left_out(what: str, called: Sequence[str], places: Ints, known: Sequence[str]) -> list[str]:
    strange = [name for name, place in zip(called, places.tolist(), strict=True) if place < 0]
    if not strange:
        return []
    if len(strange) == len(called):
        raise FormatError(
            f"none of the {what} of the results is one of the annotations: {quoted(strange[0])} is not, "
            f"{quoted(known[0]) if known else 'nothing'} is",
            hint="a label map (--label-map) says what the labels of results are called"
            if what == "classes"
            else "are these the annotations, and the image set, of the images that were tested?",
        )
    return [f"{len(strange)} {what} of the results, such as {quoted(strange[0])}, are not annotated: left out"]


def _doubtful(found: Found, truth: Truth, labels: Mapping[str, Sequence[str]]) -> list[str]:
    """Classes that the annotations call otherwise than the label map: whose numbers they are is not sure."""
    notes = []
    for name in found.classes:
        place = truth.class_names.get(name, -1)
        meant = [each for each in labels.get(name, ()) if truth.class_names.get(each, place) != place]
        if place >= 0 and meant and name not in found.titles:
            called = quoted(truth.classes[place])
            notes.append(
                f"the class {quoted(name)} of the results is taken for {called}, whose id it is in the annotations; in "
                f"the label map it is {quoted(meant[-1])}"
            )
    if len(notes) > 1:
        notes[1:] = [f"so are {len(notes) - 1} others"]
    return notes


def _missing(found: Found, images: Ints, truth: Truth) -> list[str]:
    """What there is to say of images of the truth of which the results have nothing."""
    if not len(found):
        return ["the results have no detections"]
    seen = set(images.tolist())
    missing = [name for index, name in enumerate(truth.images) if index not in seen] if found.listed else []
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(truth.images)} images of the annotations, such as {quoted(missing[0])}, are not among "
        "those of the results: their boxes count as not found"
    ]


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
        image_names=_replaced(truth.image_names, places),
        file_names=_replaced(truth.file_names, places),
        image=places[truth.image][kept],
        areas=None if truth.areas is None else truth.areas[kept],
        **parts,
    )


def _replaced(names: Mapping[str, int], places: Ints) -> dict[str, int]:
    return {name: int(places[index]) for name, index in names.items() if places[index] >= 0}
