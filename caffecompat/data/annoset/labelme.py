"""Annotations of LabelMe: today's JSON beside each image, and the XML of the tool at MIT.

Boxes are the bounds of rectangles, polygons and circles; a single point has none. Difficult is what has `difficult`
among its flags, or as a value of its own. What the XML says is deleted is gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caffecompat.data.annoset.boxes import MAX_BOXES, Corners, Marked, MarkedBox
from caffecompat.data.annoset.json_file import number, parse_json, read_text, taken
from caffecompat.data.annoset.record import Entry
from caffecompat.data.annoset.voc_xml import number_of
from caffecompat.data.annoset.xml_tree import Element, read_xml
from caffecompat.data.images import IMAGE_SUFFIXES
from caffecompat.errors import FormatError, quoted

# The image may be in the file too, as a text; what is left without it is small.
MAX_BYTES = 1 << 27
MAX_REST = 1 << 23
SUFFIXES = (".json", ".xml")
_IMAGE_DATA = re.compile(r'("imageData"\s*:\s*)"[^"]*"')


def find_labelme(folder: Path) -> list[Path]:
    """The annotations of a folder, searched to the bottom, in order of their names.

    Raises:
        FormatError: there is none.
    """
    if not folder.is_dir():
        raise FormatError("there is no such folder", file=folder)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise FormatError("no annotation of LabelMe is in it, no .json and no .xml", file=folder)
    return found


def read_labelme(path: Path, folder: Path) -> Entry:
    """The image of an annotation, and its boxes or what is wrong with it.

    Args:
        path: the annotation.
        folder: what names start from.
    """
    listed = os.path.relpath(path, folder)
    try:
        image, marked = (_from_xml if path.suffix.lower() == ".xml" else _from_json)(path)
    except FormatError as error:
        return Entry(listed, str(_beside(path) or path), error, listed, path.stem, str(path))
    name = os.path.relpath(image, folder)
    if name.startswith(".."):
        name = image.name
    return Entry(name, str(image), marked, listed, image.stem, str(path))


def _beside(path: Path) -> Path | None:
    """The image that is called as an annotation."""
    for suffix in sorted(IMAGE_SUFFIXES):
        for ending in (suffix, suffix.upper()):
            image = path.with_suffix(ending)
            if image.exists():
                return image
    return None


def _found(tried: Sequence[Path], path: Path) -> Path:
    """The first of these that is there, or else what lies beside the annotation."""
    return next((image for image in tried if image.exists()), _beside(path) or tried[0])


def _from_json(path: Path) -> tuple[Path, Marked]:
    text = _IMAGE_DATA.sub(r"\1null", read_text(path, MAX_BYTES), count=1)
    if len(text) > MAX_REST:
        raise FormatError(f"expected an annotation of at most {MAX_REST:,} bytes without its image", file=path)
    whole = parse_json(text, path)
    shapes = taken(whole, "shapes", list, "", path)
    name = taken(whole, "imagePath", str, "", path)
    if not name or "\0" in name:
        raise FormatError(f"expected the name of an image as 'imagePath', got {quoted(name)}", file=path)
    if len(shapes) > MAX_BOXES:
        raise FormatError(f"expected at most {MAX_BOXES} shapes, got {len(shapes)}", file=path)
    boxes: list[MarkedBox] = []
    notes: list[str] = []
    for index, shape in enumerate(shapes):
        where = f"shapes[{index}]"
        label = taken(shape, "label", str, where, path)
        kind = shape.get("shape_type", "polygon")
        points = [_point(point, where, path) for point in taken(shape, "points", list, where, path)]
        if kind == "point" or len(points) < 2:
            notes.append(f"{where} ({label}): a single point has no box, it is left out")
            continue
        corners = _around(points) if kind == "circle" else bounds(points)
        boxes.append(MarkedBox(label.strip(), corners, _is_difficult(shape)))
    sizes = [whole.get("imageHeight"), whole.get("imageWidth")]
    height, width = (size if type(size) is int and 0 < size < 2**31 else None for size in sizes)
    size = None if height is None or width is None else (height, width)
    places = [path.parent / name, path.parent / name.replace("\\", "/")]
    return _found(places, path), Marked(boxes, size, notes=tuple(notes))


def _is_difficult(shape: Any) -> bool:
    flags = shape.get("flags")
    return shape.get("difficult") is True or (isinstance(flags, dict) and flags.get("difficult") is True)


def _point(value: Any, where: str, path: Path) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise FormatError(f"{where}: expected points of two numbers, got {quoted(value)}", file=path)
    return number(value[0], where, path), number(value[1], where, path)


def bounds(points: Sequence[tuple[float, float]]) -> Corners:
    """The box around points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _around(points: Sequence[tuple[float, float]]) -> Corners:
    """The box around a circle: its centre, and a point on it."""
    (x, y), (other_x, other_y) = points[:2]
    radius = ((other_x - x) ** 2 + (other_y - y) ** 2) ** 0.5
    return x - radius, y - radius, x + radius, y + radius


def _from_xml(path: Path) -> tuple[Path, Marked]:
    root = read_xml(path, "annotation")
    name = root.text_of("filename")
    if not name:
        raise FormatError("expected the name of an image as 'filename'", file=path)
    objects = [child for child in root.children if child.name == "object" and child.text_of("deleted") != "1"]
    if len(objects) > MAX_BOXES:
        raise FormatError(f"expected at most {MAX_BOXES} objects, got {len(objects)}", file=path)
    boxes: list[MarkedBox] = []
    notes: list[str] = []
    for index, element in enumerate(objects, 1):
        label = element.text_of("name")
        if not label:
            raise FormatError(f"object {index}: expected a name", file=path)
        points = _points(element, index, path)
        if len(points) < 2:
            notes.append(f"object {index} ({label}): a single point has no box, it is left out")
        else:
            boxes.append(MarkedBox(label, bounds(points), element.text_of("difficult") == "1"))
    folder = root.text_of("folder") or ""
    places = [path.parent / name, *(parent / "Images" / folder / name for parent in path.parents[:3])]
    return _found(places, path), Marked(boxes, _xml_size(root), notes=tuple(notes))


def _points(element: Element, index: int, path: Path) -> list[tuple[float, float]]:
    polygon = element.find("polygon")
    if polygon is None:
        if element.find("bndbox") is not None:
            hint = "caffecompat data voc, or data annoset, reads these"
            raise FormatError("expected an annotation of LabelMe, got one of VOC", file=path, hint=hint)
        raise FormatError(f"object {index}: expected a polygon", file=path)
    found = [child for child in polygon.children if child.name == "pt"]
    return [(number_of(point.text_of("x")), number_of(point.text_of("y"))) for point in found]


def _xml_size(root: Element) -> tuple[int, int] | None:
    size = root.find("imagesize")
    sides = [None if size is None else size.text_of(name) for name in ("nrows", "ncols")]
    if any(side is None or not (side.isascii() and side.isdigit() and 0 < len(side) < 10) for side in sides):
        return None
    height, width = (int(side or 0) for side in sides)
    return (height, width) if height and width else None
