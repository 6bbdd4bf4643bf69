"""The result of a comparison for people, programs and pipelines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from caffecompat.errors import printable, shown
from caffecompat.verify.comparing import Row

COLUMNS = ("", "layer", "blob", "shape", "largest", "difference", "share")
_MARKS = {"equal": "", "departs": "!", "shape": "!", "missing": "?"}


def as_text(rows: Sequence[Row]) -> str:
    """A table in the order of the layers; `!` marks what departs, `?` what the other program does not have."""
    lines = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    shape = _by(row.shape)
    if row.verdict == "shape" and row.other_shape is not None:
        shape += f" against {_by(row.other_shape)}"
    numbers = ("", "", "") if row.verdict == "missing" else (row.largest, row.difference, row.relative)
    figures = (number if isinstance(number, str) else f"{number:.3g}" for number in numbers)
    return (_MARKS[row.verdict], shown(row.layer), shown(row.blob), shape, *figures)


def as_json(rows: Sequence[Row], against: str, tolerance: float) -> str:
    """The same for programs; numbers that are not finite are null."""
    first = first_departing(rows)
    content: dict[str, Any] = {
        "against": against,
        "tolerance": tolerance,
        "equal": first is None,
        "first_departing": None if first is None else {"layer": first.layer, "blob": first.blob},
        "blobs": [
            {
                "layer": row.layer,
                "blob": row.blob,
                "verdict": row.verdict,
                "shape": list(row.shape),
                "other_shape": None if row.other_shape is None else list(row.other_shape),
                "largest": _finite(row.largest),
                "difference": _finite(row.difference),
            }
            for row in rows
        ],
    }
    return json.dumps(content, indent=1)


def as_junit(rows: Sequence[Row], name: str) -> bytes:
    """The same as JUnit's XML, a test case for each blob: what pipelines show."""
    failures = sum(row.departs for row in rows)
    skipped = sum(row.verdict == "missing" for row in rows)
    suite = ElementTree.Element(
        "testsuite", name=printable(name), tests=str(len(rows)), failures=str(failures), skipped=str(skipped)
    )
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=printable(row.layer), name=printable(row.blob))
        if row.departs:
            ElementTree.SubElement(case, "failure", message=sentence(row))
        elif row.verdict == "missing":
            ElementTree.SubElement(case, "skipped", message="the other program has no such blob")
    text: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text


def first_departing(rows: Sequence[Row]) -> Row | None:
    """The first blob on which the two programs do not agree."""
    return next((row for row in rows if row.departs), None)


def sentence(row: Row) -> str:
    """What is wrong with a blob."""
    if row.verdict == "shape" and row.other_shape is not None:
        return f'blob "{shown(row.blob)}" has shape {_by(row.shape)}, and {_by(row.other_shape)} there'
    return (
        f'blob "{shown(row.blob)}" differs by {row.difference:.3g}, which is {row.relative:.2g} of its largest '
        f"magnitude {row.largest:.3g}"
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _finite(number: float) -> float | None:
    return number if number - number == 0 else None
