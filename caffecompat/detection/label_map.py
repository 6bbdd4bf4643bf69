"""Label maps: `item { name label display_name }`, as prototxts of the SSD branch name them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from caffecompat.errors import FormatError, quoted
from caffecompat.formats import read_text
from caffecompat.schema import caffe_pb2

MAX_LABELS = 1_000_000


@dataclass(frozen=True)
class LabelMap:
    """The classes of a label map.

    Attributes:
        names: label -> what annotations and files of results call the class.
        display_names: label -> what people are shown; the name where the item has none.
    """

    names: dict[int, str]
    display_names: dict[int, str]


def read_label_map(path: str | os.PathLike[str]) -> LabelMap:
    """A label map.

    Raises:
        FormatError: the file cannot be read or is no label map; a label is below 0 or a million or more; two items
            have the same one.
    """
    parsed = read_text(path, caffe_pb2.LabelMap)
    if parsed.unknown:
        field = parsed.unknown[0]
        raise FormatError(
            f"a label map has no field {quoted(field.name)}",
            file=path,
            line=field.position.line,
            column=field.position.column,
            hint="an item has name, label and display_name",
        )
    names: dict[int, str] = {}
    display_names: dict[int, str] = {}
    for index, item in enumerate(parsed.message.item):
        fault = None
        if not 0 <= item.label < MAX_LABELS:
            fault = f"expected a label from 0 to {MAX_LABELS - 1}, got {item.label}"
        elif item.label in names:
            fault = f"label {item.label} is {quoted(names[item.label])} already, and {quoted(item.name)} again"
        if fault is not None:
            place = parsed.position("item", index)
            raise FormatError(fault, file=path, line=place.line, column=place.column)
        names[item.label] = item.name
        display_names[item.label] = item.display_name or item.name
    return LabelMap(names, display_names)
