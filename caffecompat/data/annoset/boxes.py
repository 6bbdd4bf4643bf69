"""Marked boxes, and the annotations that convert_annoset makes of them.

Source of the rules: ReadXMLToAnnotatedDatum and its siblings in util/io.cpp of the SSD branch: corners are divided by
the picture's width and height in single precision; boxes are grouped by label, groups stand in the order in which
their labels first came, boxes are counted within their group. Boxes beyond the picture, without area or with their
corners the wrong way round are told and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, did_you_mean, quoted
from caffecompat.schema import caffe_pb2

Corners = tuple[float, float, float, float]
BadBoxes = Literal["keep", "clip", "drop"]
Kind = Literal["image", "annotation", "note", "missing", "size", "box", "class"]
MAX_BOXES = 100_000


class Problem(NamedTuple):
    """Something that is wrong with an item.

    Attributes:
        kind: the image, or its annotation, cannot be read, and it has no record; or the annotation is odd, is not
            there, or states another size than the image has; a box is bad; a class is not in the label map.
        text: what is wrong, with the file.
    """

    kind: Kind
    text: str


class MarkedBox(NamedTuple):
    """A box as an annotation states it.

    Attributes:
        name: the class, by the name that the label map has, or by its label.
        corners: xmin, ymin, xmax, ymax.
        difficult: it is hard to recognise, or a crowd.
        notes: how it is read otherwise than it may be meant.
    """

    name: str | int
    corners: Corners
    difficult: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marked:
    """What an annotation states.

    Attributes:
        boxes: the boxes.
        size: (height, width) of the picture, or None if it does not say.
        fractions: the corners are fractions of the picture's size, not pixels.
        notes: what is odd about it.
    """

    boxes: Sequence[MarkedBox]
    size: tuple[int, int] | None = None
    fractions: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BoxRules:
    """What becomes of boxes.

    Attributes:
        classes: the label of each name; None takes labels as they are.
        bad: boxes that reach beyond the picture, have no area or their corners the wrong way round: keep them as the
            original does, clip them to the picture (and leave out what has no area), or leave them out.
        skip_unknown: leave out boxes of classes that `classes` lacks; else they are an error.
    """

    classes: Mapping[str, int] = field(default_factory=dict)
    bad: BadBoxes = "keep"
    skip_unknown: bool = False


def annotation_groups(
    marked: Marked, size: tuple[int, int], rules: BoxRules, file: str
) -> tuple[list[caffe_pb2.AnnotationGroup], list[Problem]]:
    """The groups of an AnnotatedDatum, and what is wrong with the boxes.

    Args:
        marked: the annotation.
        size: (height, width) of the picture.
        rules: what becomes of boxes.
        file: where the annotation stands.

    Raises:
        FormatError: a class that is not known.
    """
    problems = [Problem("note", f"{file}: {note}") for note in marked.notes]
    height, width = size
    if marked.size is not None and marked.size != size:
        stated = f"{marked.size[1]}x{marked.size[0]}"
        problems.append(Problem("size", f"{file}: states {stated} pixels, the image has {width}x{height}"))
    # Corners are divided by the size that the annotation states.
    height, width = marked.size or size
    with np.errstate(all="ignore"):
        corners = np.array([box.corners for box in marked.boxes], np.float64).reshape(-1, 4).astype(np.float32)
        scale = np.array((1, 1) if marked.fractions else (width, height), np.float32)
        edges = np.tile(scale, 2)
        faults = _faults(corners, edges)
        boxes = corners / edges
    if rules.bad == "clip":
        boxes = np.clip(boxes, 0, 1)
    groups: dict[int, caffe_pb2.AnnotationGroup] = {}
    for number, (box, stated_corners, placed, fault) in enumerate(
        zip(marked.boxes, corners, boxes, faults, strict=True), 1
    ):
        label = _label(box.name, rules, file, problems)
        what = f"{file}: box {number} ({box.name})"
        problems += [Problem("box", f"{what}: {note}") for note in box.notes]
        if fault:
            shown = ", ".join(f"{value:g}" for value in stated_corners.tolist())
            unit = "as fractions" if marked.fractions else f"in {width}x{height}"
            problems.append(Problem("box", f"{what}: {fault}: {shown} {unit}"))
        if label is not None and np.isfinite(stated_corners).all() and _stays(placed, fault, rules.bad):
            _add(groups, label, placed, box.difficult)
    return list(groups.values()), problems


def _label(name: str | int, rules: BoxRules, file: str, problems: list[Problem]) -> int | None:
    """The label of a class; None if the box is left out."""
    if isinstance(name, int):
        return name
    label = rules.classes.get(name)
    if label is None:
        message = f"the label map has no class {quoted(name)}"
        if not rules.skip_unknown:
            near = did_you_mean(name, rules.classes)
            hint = "give the classes (--classes, --label-map-file), or leave out boxes of others (--skip-unknown)"
            raise FormatError(message, file=file, hint=f"{near} {hint}" if near else hint)
        problems.append(Problem("class", f"{file}: {message}"))
    return label


def _faults(corners: Floats, edges: Floats) -> list[str]:
    """What is wrong with each box, or ""."""
    low, high = corners[:, :2], corners[:, 2:]
    checks = (
        (~np.isfinite(corners).all(1), "its corners are no numbers, it is left out"),
        ((low > high).any(1), "its corners are the wrong way round"),
        ((low == high).any(1), "it has no area"),
        (((corners < 0) | (corners > edges)).any(1), "it reaches beyond the image"),
    )
    found = [""] * len(corners)
    for bad, message in reversed(checks):
        for index in np.flatnonzero(bad):
            found[int(index)] = message
    return found


def _stays(box: Floats, fault: str, bad: BadBoxes) -> bool:
    """Whether a box gets into the record."""
    if not fault:
        return True
    return bad == "keep" or (bad == "clip" and bool((box[:2] < box[2:]).all()))


def _add(groups: dict[int, caffe_pb2.AnnotationGroup], label: int, box: Floats, difficult: bool) -> None:
    group = groups.get(label)
    if group is None:
        group = groups[label] = caffe_pb2.AnnotationGroup(group_label=label)
    xmin, ymin, xmax, ymax = box.tolist()
    group.annotation.add(
        instance_id=len(group.annotation),
        bbox=caffe_pb2.NormalizedBBox(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, difficult=difficult),
    )
