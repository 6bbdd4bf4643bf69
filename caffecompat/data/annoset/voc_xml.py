"""Annotations of PASCAL VOC and ILSVRC: one XML file for each picture.

Source of the rules: ReadXMLToAnnotatedDatum in util/io.cpp of the SSD branch.
"""

from __future__ import annotations

import math
import os
import re
from typing import Literal

from caffecompat.data.annoset.boxes import MAX_BOXES, Corners, Marked, MarkedBox
from caffecompat.data.annoset.xml_tree import Element, read_xml
from caffecompat.errors import FormatError, quoted

XmlRules = Literal["original", "meant"]
_WHOLE = re.compile(r"[+-]?[0-9]{1,10}")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc_xml(path: str | os.PathLike[str], rules: XmlRules = "original") -> Marked:
    """The boxes of an annotation file.

    Args:
        path: the file.
        rules: "original" reads as convert_annoset does: a corner that is no whole number, such as `12.0`, is 0, and
            `difficult` counts only where it stands before `bndbox`; each such box is noted. "meant" takes fractions as
            they are and `difficult` wherever it stands.

    Raises:
        FormatError: it cannot be read, or is no such annotation.
    """
    root = read_xml(path, "annotation")
    objects = [child for child in root.children if child.name == "object"]
    if len(objects) > MAX_BOXES:
        raise FormatError(f"expected at most {MAX_BOXES} boxes, got {len(objects)}", file=path)
    boxes = [_box(element, number, path, rules) for number, element in enumerate(objects, 1)]
    size, notes = _size(root)
    return Marked(boxes, size, notes=notes)


def _size(root: Element) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """(height, width), or None where none is stated that a picture can have."""
    element = root.find("size")
    texts = [None if element is None else element.text_of(side) for side in ("height", "width")]
    height, width = (_whole(text) for text in texts)
    if height is not None and width is not None and height > 0 and width > 0:
        return (height, width), ()
    if texts == [None, None]:
        return None, ()
    return None, (f"states a height of {quoted(texts[0])} and a width of {quoted(texts[1])}; the image's are taken",)


def _box(element: Element, number: int, path: str | os.PathLike[str], rules: XmlRules) -> MarkedBox:
    names = [child.text for child in element.children if child.name == "name"]
    if len(names) != 1:
        raise FormatError(f"object {number}: expected one name, got {len(names)}", file=path)
    places = [place for place, child in enumerate(element.children) if child.name == "bndbox"]
    if len(places) > 1:
        raise FormatError(f"object {number}: expected one bndbox, got {len(places)}", file=path)
    if not places:
        return MarkedBox(names[0], (math.nan,) * 4, notes=("it states no bndbox",))
    difficult, notes = _difficult(element, places[0], rules)
    corners, odd = _corners(element.children[places[0]], rules)
    return MarkedBox(names[0], corners, difficult, notes + odd)


def _difficult(element: Element, box: int, rules: XmlRules) -> tuple[bool, tuple[str, ...]]:
    flags = [(place, child.text == "1") for place, child in enumerate(element.children) if child.name == "difficult"]
    if rules == "meant":
        return any(flag for _, flag in flags), ()
    before = [flag for place, flag in flags if place < box]
    late = any(flag for place, flag in flags if place > box)
    note = ("difficult stands after bndbox and is not heeded, as in the original; --xml-rules meant heeds it",)
    return bool(before and before[-1]), note if late else ()


def _corners(element: Element, rules: XmlRules) -> tuple[Corners, tuple[str, ...]]:
    texts = [element.text_of(side) for side in _SIDES]
    wholes = [_whole(text) for text in texts]
    values: list[float] = []
    odd = []
    for side, text, whole in zip(_SIDES, texts, wholes, strict=True):
        if whole is not None:
            values.append(whole)
        elif rules == "meant":
            values.append(number_of(text))
        else:
            values.append(0)
            odd.append(f"{side} {quoted(text)}" if text is not None else f"no {side}")
    note = f"{', '.join(odd)}: read as 0, as in the original; --xml-rules meant reads fractions"
    return (values[0], values[1], values[2], values[3]), (note,) if odd else ()


def _whole(text: str | None) -> int | None:
    """A number as C++ reads an int; None if it is none."""
    if text is None or not _WHOLE.fullmatch(text):
        return None
    value = int(text)
    return value if -(2**31) <= value < 2**31 else None


def number_of(text: str | None) -> float:
    """A text as a number; NaN if it is none."""
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan
