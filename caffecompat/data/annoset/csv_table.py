"""Boxes in a table: CSV with a line for each box, its image, corners and class.

Lines whose corners and class are empty say that an image has no boxes (as RetinaNet's tables do).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from caffecompat.data.annoset.boxes import Corners, Marked, MarkedBox
from caffecompat.data.annoset.record import Entry
from caffecompat.errors import FormatError, UsageError, did_you_mean, quoted

MAX_ROWS = 50_000_000
COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax", "label")
# What tables call these columns.
_CALLED = {
    "image": ("image", "filename", "file_name", "file", "path", "image_path", "imagepath", "img", "image_id"),
    "xmin": ("xmin", "x_min", "x1", "left"),
    "ymin": ("ymin", "y_min", "y1", "top"),
    "xmax": ("xmax", "x_max", "x2", "right"),
    "ymax": ("ymax", "y_max", "y2", "bottom"),
    "label": ("label", "class", "class_name", "classname", "name", "category", "labelname"),
    "difficult": ("difficult",),
}
_TRUE = ("1", "true", "yes")


@dataclass(frozen=True)
class Columns:
    """Where the values stand in a row.

    Attributes:
        places: of image, xmin, ymin, xmax, ymax, label.
        difficult: of what marks difficult boxes, or None.
    """

    places: tuple[int, ...]
    difficult: int | None = None


@dataclass(frozen=True)
class TableForm:
    """How a table is written.

    Attributes:
        columns: what the columns are called that hold image, xmin, ymin, xmax, ymax, label; none to know them by the
            names that are usual.
        header: the first row has names; None to see.
        delimiter: what stands between values; "" to see.
        fractions: corners are fractions of the image's size.
    """

    columns: Sequence[str] = ()
    header: bool | None = None
    delimiter: str = ""
    fractions: bool = False


def read_table(path: Path, folder: Path, form: TableForm) -> list[Entry]:
    """The images of a table, in the order in which they first come, with their boxes.

    Args:
        path: the table.
        folder: where the names of images start.
        form: how it is written.

    Raises:
        FormatError: it cannot be read, or is no such table.
        UsageError: it has no columns of these names.
    """
    boxes: dict[str, list[MarkedBox]] = {}
    faults: dict[str, FormatError] = {}
    with _opened(path) as file:
        delimiter = form.delimiter or _delimiter(file)
        rows = _rows(csv.reader(file, delimiter=delimiter, strict=True), path)
        columns, first = _columns(next(rows, (0, []))[1], form, path)
        if first is not None:
            _take(first, 1, columns, boxes, faults, path)
        for line, row in rows:
            _take(row, line, columns, boxes, faults, path)
    if not boxes:
        raise FormatError("expected boxes, got a table without any", file=path)
    return [
        Entry(
            name,
            os.path.join(folder, name),
            faults.get(name) or Marked(found, fractions=form.fractions),
            size_name=os.path.splitext(os.path.basename(name))[0],
            about=f"{path}: {name}",
        )
        for name, found in boxes.items()
    ]


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise FormatError("expected a table, in UTF-8", file=path) from None
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", file=path) from error


def _rows(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, with the numbers of their last lines."""
    try:
        for count, row in enumerate(reader):
            if count > MAX_ROWS:
                raise FormatError(f"expected at most {MAX_ROWS} rows", file=path)
            if any(value.strip() for value in row):
                yield reader.line_num, [value.strip() for value in row]  # type: ignore[attr-defined]
    except csv.Error as error:
        raise FormatError(f"not CSV: {error}", file=path, line=reader.line_num) from None  # type: ignore[attr-defined]


def _delimiter(file: IO[str]) -> str:
    """What stands between the values of the first line."""
    line = file.readline(1 << 16)
    file.seek(0)
    return max(",;\t", key=line.count)


def _columns(row: Sequence[str], form: TableForm, path: Path) -> tuple[Columns, Sequence[str] | None]:
    """Where the columns are, and the first row if it has values, not names."""
    if form.columns and len(form.columns) != len(COLUMNS):
        raise UsageError(f"expected 6 columns, {','.join(COLUMNS)}; got {len(form.columns)}")
    lower = [name.lower() for name in row]
    named = form.header
    if named is None:
        named = not any(_is_number(value) for value in row) and any(row[1:])
    if named and form.columns:
        return Columns(tuple(_place(name, row, path) for name in form.columns), _difficult(lower)), None
    if named:
        return Columns(tuple(_usual(column, lower, path) for column in COLUMNS), _difficult(lower)), None
    if form.columns:
        wrong = [name for name in form.columns if not re.fullmatch(r"[1-9]\d{0,3}", name)]
        if wrong:
            hint = "of a table without names give the columns' numbers, from 1; or --header"
            raise UsageError(f"the table has no names of columns, so {quoted(wrong[0])} is none", hint=hint)
        return Columns(tuple(int(name) - 1 for name in form.columns)), row
    return Columns(tuple(range(len(COLUMNS)))), row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _place(name: str, row: Sequence[str], path: Path) -> int:
    if name not in row:
        hint = did_you_mean(name, row)
        raise UsageError(f"the table has no column {quoted(name)}, only {', '.join(row)}", file=path, hint=hint)
    return list(row).index(name)


def _usual(column: str, row: Sequence[str], path: Path) -> int:
    for name in _CALLED[column]:
        if name in row:
            return list(row).index(name)
    hint = f"--columns names those of {','.join(COLUMNS)}"
    raise UsageError(f"the table has no column for {column}, only {', '.join(row)}", file=path, hint=hint)


def _difficult(row: Sequence[str]) -> int | None:
    return list(row).index("difficult") if "difficult" in row else None


def _take(
    row: Sequence[str],
    line: int,
    columns: Columns,
    boxes: dict[str, list[MarkedBox]],
    faults: dict[str, FormatError],
    path: Path,
) -> None:
    """Add the box of a row to its image; what is wrong with one is wrong with its image."""
    if len(row) <= max(columns.places):
        expected = max(columns.places) + 1
        raise FormatError(f"expected {expected} values, got {len(row)}: {quoted(','.join(row))}", file=path, line=line)
    name, *sides, label = (row[place] for place in columns.places)
    if not name:
        raise FormatError("expected the name of an image, got none", file=path, line=line)
    found = boxes.setdefault(name, [])
    if not label and not any(sides):
        return
    try:
        xmin, ymin, xmax, ymax = (float(side) for side in sides)
    except ValueError:
        faults.setdefault(name, FormatError(f"expected four corners, got {quoted(sides)}", file=path, line=line))
        return
    if not label:
        faults.setdefault(name, FormatError("expected a class, got none", file=path, line=line))
        return
    corners: Corners = (xmin, ymin, xmax, ymax)
    marked = columns.difficult is not None and len(row) > columns.difficult
    difficult = marked and row[columns.difficult or 0].lower() in _TRUE
    found.append(MarkedBox(label, corners, difficult))
