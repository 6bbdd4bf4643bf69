"""Results out: rows as a table, JSON lines or CSV, and arrays; to stdout or, atomically, to a file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from caffecompat.cli.files import tell_written
from caffecompat.errors import UsageError
from caffecompat.formats import atomic_write

Row = Mapping[str, Any]


@contextmanager
def output(path: Path | None) -> Iterator[IO[bytes]]:
    """A binary stream: stdout, or a file that appears at `path` when all is written, and then is told of on stderr."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with atomic_write(path) as file:
            yield file
        tell_written(path)


def choose_format(given: str | None, path: Path | None, known: Mapping[str, Sequence[str]]) -> str:
    """The format asked for, or that of the file's suffix, or the first one known.

    Args:
        given: the value of --format.
        path: the value of -o.
        known: the formats of the command, each with the suffixes that mean it.

    Raises:
        UsageError: arrays would go to stdout.
    """
    chosen = given
    if chosen is None:
        suffix = path.suffix.lower() if path is not None else ""
        chosen = next((name for name, suffixes in known.items() if suffix in suffixes), next(iter(known)))
    if chosen in ("npy", "npz") and path is None:
        raise UsageError(f"--format {chosen} writes arrays: give a file with -o")
    return chosen


def write_rows(stream: IO[bytes], rows: Iterable[Row], kind: str, columns: Sequence[str]) -> None:
    """Write rows as "table" (when all are there), "jsonl" or "csv" (each as it comes).

    Args:
        stream: where to.
        rows: values by column; JSON lines have all that a row has, the others only `columns`.
        kind: the format.
        columns: the columns of table and CSV.
    """
    if kind == "table":
        stream.write(_table(list(rows), columns).encode())
        return
    for index, row in enumerate(rows):
        if kind == "csv":
            lines = ([columns] if index == 0 else []) + [[_plain(row.get(column, "")) for column in columns]]
            stream.write(_csv(lines).encode())
        else:
            stream.write((json.dumps(_jsonable(row)) + "\n").encode())
        stream.flush()


def write_json(stream: IO[bytes], value: Any) -> None:
    """Write one JSON value, and a line end."""
    stream.write((json.dumps(_jsonable(value), indent=1) + "\n").encode())


def write_arrays(stream: IO[bytes], arrays: Mapping[str, Any], kind: str) -> None:
    """Write "npy" (one array) or "npz" (several by name).

    Raises:
        UsageError: several arrays for .npy.
    """
    if kind == "npz":
        np.savez(stream, **arrays)
        return
    check_single(arrays)
    np.save(stream, next(iter(arrays.values())))


def check_single(names: Collection[str]) -> None:
    """Whether one .npy file can hold arrays of these names.

    Raises:
        UsageError: there are several.
    """
    if len(names) != 1:
        raise UsageError(f"a .npy file holds one array, not {len(names)}: {', '.join(names)}", hint="write .npz")


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    if not rows:
        return ""
    cells = [list(columns)] + [[_shown(row.get(column, "")) for column in columns] for row in rows]
    numeric = [isinstance(rows[0].get(column), (int, float)) for column in columns]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = []
    for line in cells:
        parts = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    value = _plain(value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return "x".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def _jsonable(value: Any) -> Any:
    """Numbers as JSON has them: those that are infinite or none become null."""
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(part) for part in value]
    return value
