"""Annotations of MS COCO split up, one JSON file for each picture, as SSD's authors have them.

Source of the rules: ReadJSONToAnnotatedDatum in util/io.cpp of the SSD branch: `category_id` is the name of the class
in the label map, a crowd is difficult, and the lower right corner is a sum in single precision.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from caffecompat.data.annoset.boxes import MAX_BOXES, Corners, Marked, MarkedBox
from caffecompat.data.annoset.json_file import number, read_json, taken
from caffecompat.errors import FormatError, quoted

MAX_BYTES = 1 << 23


def read_coco_json(path: str | os.PathLike[str]) -> Marked:
    """The boxes of an annotation file.

    Raises:
        FormatError: it cannot be read, or is no such annotation.
    """
    whole = read_json(path, MAX_BYTES)
    objects = taken(whole, "annotation", list, "", path)
    if len(objects) > MAX_BOXES:
        raise FormatError(f"expected at most {MAX_BOXES} boxes, got {len(objects)}", file=path)
    image = whole.get("image")
    return Marked(
        [coco_box(item, f"annotation[{index}]", path, str) for index, item in enumerate(objects)], stated_size(image)
    )


def stated_size(image: Any) -> tuple[int, int] | None:
    """(height, width) that an image's object states, or None."""
    sizes = [image.get(side) if isinstance(image, dict) else None for side in ("height", "width")]
    height, width = (size if type(size) is int and 0 < size < 2**31 else None for size in sizes)
    return None if height is None or width is None else (height, width)


def coco_box(item: Any, where: str, path: str | os.PathLike[str], name_of: Callable[[int | str], str]) -> MarkedBox:
    """A box of COCO.

    Args:
        item: its object.
        where: where it stands in the file.
        path: the file.
        name_of: the class of a category_id.

    Raises:
        FormatError: it lacks something.
    """
    if not isinstance(item, dict):
        raise FormatError(f"{where}: expected an object, got {quoted(item)}", file=path)
    category = item.get("category_id")
    if not isinstance(category, (int, str)) or isinstance(category, bool):
        raise FormatError(f"{where}: expected a category_id, got {quoted(category)}", file=path)
    crowd = item.get("iscrowd", 0)
    return MarkedBox(name_of(category), coco_corners(item, where, path), type(crowd) is int and crowd != 0)


def coco_corners(item: Any, where: str, path: str | os.PathLike[str]) -> Corners:
    """The corners of a `bbox`, which is left, top, width, height.

    Raises:
        FormatError: it is no such box.
    """
    box = taken(item, "bbox", list, where, path)
    if len(box) != 4:
        raise FormatError(f"{where}: expected a bbox of 4 numbers, got {quoted(box)}", file=path)
    with np.errstate(all="ignore"):
        left, top, width, height = (np.float32(number(value, f"{where}: bbox", path)) for value in box)
        return float(left), float(top), float(left + width), float(top + height)
