"""Detection: the rows of a DetectionOutput layer as boxes in pixels of the picture; COCO JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from caffecompat.cli.predict._session import Session
from caffecompat.data.images import Image, Item
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.detection.drawing import DrawnBox
from caffecompat.errors import ShapeError, UsageError

ROW = 7
_NUMBER = re.compile(r"\d{1,18}$")


class Detection(DrawnBox):
    """One object, its box clipped to the picture."""

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        xmin, ymin, xmax, ymax = self.box
        place = {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax}
        return {"class": self.label, "name": self.name, "score": self.score, **place}


def detection_blob(session: Session) -> str:
    """The top of the net's DetectionOutput layer.

    Raises:
        UsageError: the net has none.
    """
    for spec in reversed(session.net.graph.layers):
        if spec.type == "DetectionOutput":
            return spec.tops[0].name
    raise UsageError("the net has no DetectionOutput layer, so it gives no boxes", hint="see `run` and `features`")


def detect(session: Session, images: Sequence[Image], blob: str, threshold: float) -> list[list[Detection]]:
    """The objects in each picture with a score of at least `threshold`, in the order of the net."""
    outputs = session.pictures(session.preprocessing.apply(images))
    rows = outputs[blob].reshape(-1, outputs[blob].shape[-1])
    if rows.shape[1] != ROW:
        raise ShapeError(f'output "{blob}" has shape {outputs[blob].shape}; expected rows of {ROW} values')
    found: list[list[Detection]] = [[] for _ in images]
    for row in rows:
        # A picture without objects has one row that begins with -1.
        if 0 <= row[0] < len(images) and row[2] >= threshold:
            place = int(row[0])
            found[place].append(_detection(row, session.preprocessing, images[place]))
    return found


def _detection(row: np.ndarray[Any, Any], preprocessing: Preprocessing, image: Image) -> Detection:
    height, width = image.shape[:2]
    net = preprocessing.net_size or preprocessing.resized(image).shape[:2]
    placed = preprocessing.geometry(height, width)
    x = np.clip((row[[3, 5]].astype(np.float64) * net[1] - placed.offset_x) / placed.scale_x, 0, width)
    y = np.clip((row[[4, 6]].astype(np.float64) * net[0] - placed.offset_y) / placed.scale_y, 0, height)
    label = int(row[1])
    labels = preprocessing.labels
    name = labels[label] if 0 <= label < len(labels) else ""
    return Detection(label, name, float(row[2]), (float(x[0]), float(y[0]), float(x[1]), float(y[1])))


def coco(found: Iterable[tuple[Item, list[Detection]]], labels: Sequence[str]) -> dict[str, Any]:
    """Detections as COCO's JSON: images, annotations with scores (what COCO's evaluation loads), categories.

    The id of an image is the number that its file's name is or ends in (`000000000139.jpg`,
    `COCO_val2014_000000000042.jpg`) if all have one and no two the same, else its place, from 1.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers: list[int | None] = []
    for place, (item, detections) in enumerate(found):
        height, width = item.image.shape[:2]
        images.append({"id": place, "file_name": item.name, "width": width, "height": height})
        number = _NUMBER.search(item.file.stem) if item.frame is None else None
        numbers.append(int(number[0]) if number else None)
        for detection in detections:
            xmin, ymin, xmax, ymax = detection.box
            box = [xmin, ymin, xmax - xmin, ymax - ymin]
            values = {"bbox": box, "area": box[2] * box[3], "score": detection.score, "iscrowd": 0}
            annotations.append({"image_id": place, "category_id": detection.label, **values})
    usable = None not in numbers and len(set(numbers)) == len(numbers)
    ids = numbers if usable else list(range(1, len(images) + 1))
    for image in images:
        image["id"] = ids[image["id"]]
    for index, annotation in enumerate(annotations, start=1):
        annotation.update(id=index, image_id=ids[annotation["image_id"]])
    used = {annotation["category_id"] for annotation in annotations} | {i for i, name in enumerate(labels) if name}
    names = {index: labels[index] if index < len(labels) else str(index) for index in sorted(used)}
    categories = [{"id": index, "name": name} for index, name in names.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
