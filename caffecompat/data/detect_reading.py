"""What `caffecompat detect` writes, read again: the names of COCO's JSON, CSV, and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caffecompat.data.annoset.json_file import number, parse_json, read_text, taken
from caffecompat.data.result_rows import MAX_BYTES, Rows
from caffecompat.errors import FormatError, context, quoted

CORNERS = ("xmin", "ymin", "xmax", "ymax")
COLUMNS = ("image", "class", "name", "score", *CORNERS)


def identity(item: Any, key: str, where: str, path: Path) -> str:
    """What an item of JSON says as an id, a number or a text.

    Raises:
        FormatError: it says none.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise FormatError(f"{where}: expected a number as {quoted(key)}, got {quoted(value)}", file=path)
    return str(value)


def take_names(whole: dict[str, Any], path: Path, rows: Rows) -> dict[str, str]:
    """Take the images and categories of COCO's JSON, where it has them.

    Returns:
        What images are called, by their ids: the names of their files, where it says them.

    Raises:
        FormatError: they are none, or stand twice.
    """
    names: dict[str, str] = {}
    with context(file=path):
        for key, file in _named(whole, "images", "file_name", path):
            names[key] = file or key
            rows.image(names[key], file or None)
        for key, name in _named(whole, "categories", "name", path):
            # Without a file of labels `detect` has only their numbers.
            rows.title(key, "" if name == key else name)
    return names


def _named(whole: dict[str, Any], what: str, title: str, path: Path) -> Iterator[tuple[str, str]]:
    """The id of each item of a list, and its name, which may be empty."""
    seen: set[str] = set()
    for index, item in enumerate(taken(whole, what, list, "", path) if what in whole else []):
        where = f"{what}[{index}]"
        key = identity(item, "id", where, path)
        if key in seen:
            raise FormatError(f"{where}: the id {quoted(key)} stands twice", file=path)
        seen.add(key)
        yield key, taken(item, title, str, where, path) if title in item else ""


def take_csv(path: Path, rows: Rows) -> None:
    """Take the detections of a CSV file.

    Raises:
        FormatError: it cannot be read, or is none of `caffecompat detect`.
    """
    reader = csv.reader(io.StringIO(read_text(path, MAX_BYTES), newline=""), strict=True)
    try:
        header = next(reader, [])
        if header and not set(COLUMNS) <= set(header):
            raise FormatError(f"expected the columns {','.join(COLUMNS)}, got {quoted(header)}", file=path, line=1)
        for line in filter(None, reader):
            with context(file=path, line=reader.line_num):
                _take_line(dict(zip(header, line, strict=False)), rows)
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", file=path, line=reader.line_num) from None


def _take_line(row: dict[str, str], rows: Rows) -> None:
    try:
        _take_object(row["image"], row, [float(row[name]) for name in ("score", *CORNERS)], rows)
    except (KeyError, ValueError):
        raise FormatError(f"expected {','.join(COLUMNS)}, got {quoted(','.join(row.values()))}") from None


def take_json_lines(path: Path, rows: Rows) -> None:
    """Take the detections of a file of JSON lines, one for each image.

    Raises:
        FormatError: it cannot be read, or is none of `caffecompat detect`.
    """
    for index, line in enumerate(read_text(path, MAX_BYTES).split("\n"), 1):
        if not line.strip():
            continue
        whole = parse_json(line, path)
        with context(file=path, line=index):
            image = taken(whole, "image", str, "", path)
            rows.image(image, image)
            for one in taken(whole, "objects", list, "", path):
                label = identity(one, "class", "object", path)
                values = [number(one.get(name), name, path) for name in ("score", *CORNERS)]
                try:
                    _take_object(image, {"class": label, "name": one.get("name")}, values, rows)
                except ValueError:
                    raise FormatError(f"expected a score and corners, got {quoted(values)}") from None


def _take_object(image: str, row: dict[str, Any], values: list[float], rows: Rows) -> None:
    label, name = str(int(row["class"])), row["name"]
    score, left, top, right, bottom = values
    rows.files[image] = image
    rows.title(label, name if isinstance(name, str) else "")
    rows.add(image, label, score, (left, top, right - left, bottom - top))
