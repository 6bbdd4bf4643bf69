"""What a conversion has done, kept beside the unfinished database, so that an interrupted one goes on.

The journal is a text of JSON lines. The first names the job; then comes one line for each item; then, once the disk
has the records of these items, one that counts them. What stands after the last count is done again.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, get_args

from caffecompat.data.annoset.boxes import Kind, Problem
from caffecompat.data.annoset.record import Outcome
from caffecompat.data.lmdb_file import FILE_NAME, LmdbFile
from caffecompat.data.lmdb_writer import LmdbFolder
from caffecompat.errors import CaffeCompatError

VERSION = 1
# So often, in seconds, what was done is made sure of.
PAUSE = 10.0
_KINDS = frozenset(get_args(Kind))


class UnfinishedDatabase:
    """An LMDB that is being made, with its journal.

    Args:
        folder: where it lies.
        journal: the file of the journal.
        named: what errors call the database.
        job: what identifies the work; what another job has left is thrown away.

    Attributes:
        outcomes: what came of the items that are done, in order, without their records.

    Raises:
        CaffeCompatError: it cannot be written.
    """

    def __init__(self, folder: Path, journal: Path, named: Path, job: str) -> None:
        self._named = named
        self._last = time.monotonic()
        self.outcomes: list[Outcome] = []
        self._counted = 0
        found, length = _read(journal, job)
        if found and _is_sound(folder, found):
            self.outcomes, self._counted = found, len(found)
        else:
            length = 0
        try:
            if length == 0:
                _remove(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._open(journal, length, job)
        except OSError as error:
            raise _unwritten(error, named) from error
        try:
            self._folder = LmdbFolder(folder, named, durable=True)
            self._folder.delete_from(f"{self._counted:08d}".encode())
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path, length: int, job: str) -> IO[str]:
        """The journal, to go on after `length` bytes."""
        with open(path, "ab") as file:
            file.truncate(length)
        opened = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115
        if length == 0:
            opened.write(json.dumps({"job": job, "version": VERSION}) + "\n")
        return opened

    @property
    def committed(self) -> int:
        """Of how many items the disk has the records."""
        return self._counted

    def add(self, key: bytes, outcome: Outcome) -> None:
        """Add the next item; its record is written with others.

        Raises:
            UsageError: LMDB takes no such key.
            CaffeCompatError: it cannot be written.
        """
        written = outcome.record is not None and self._folder.put(key, outcome.record)
        self.outcomes.append(Outcome(None, outcome.sizes, outcome.file_size, outcome.boxes, outcome.problems))
        self._write_line([outcome.sizes, outcome.file_size, outcome.boxes, outcome.problems])
        if written or time.monotonic() - self._last > PAUSE:
            self.commit()

    def commit(self) -> None:
        """Make sure of all that was added.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        self._folder.write()
        self._counted = len(self.outcomes)
        self._write_line({"done": self._counted})
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritten(error, self._named) from error
        self._last = time.monotonic()

    def _write_line(self, value: Any) -> None:
        try:
            self._file.write(json.dumps(value) + "\n")
        except OSError as error:
            raise _unwritten(error, self._named) from error

    def close(self) -> None:
        """Make sure of all, and let go of it.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        self.commit()
        self._folder.close()
        self._file.close()

    def abandon(self) -> None:
        """Let go of it as it is."""
        self._folder.abandon()
        with suppress(OSError):
            self._file.close()


def _read(path: Path, job: str) -> tuple[list[Outcome], int]:
    """What a journal says is done, and how many bytes say so; nothing if it is another job's, or damaged."""
    try:
        with open(path, "rb") as file:
            lines = file.readlines()
        if not lines or json.loads(lines[0]) != {"job": job, "version": VERSION}:
            return [], 0
        done: list[Outcome] = []
        waiting: list[Outcome] = []
        at = length = len(lines[0])
        for line in lines[1:]:
            at += len(line)
            value = json.loads(line) if line.endswith(b"\n") else None
            if isinstance(value, list):
                waiting.append(_outcome(value))
            elif isinstance(value, dict):
                done += waiting
                waiting = []
                if value != {"done": len(done)}:
                    return [], 0
                length = at
        return done, length if done else 0
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return [], 0


def _outcome(value: list[Any]) -> Outcome:
    sizes, file_size, boxes, problems = value
    if any(kind not in _KINDS for kind, _ in problems):
        raise ValueError("a problem of no kind")
    return Outcome(
        None,
        None if sizes is None else (int(sizes[0]), int(sizes[1]), int(sizes[2])),
        None if file_size is None else (int(file_size[0]), int(file_size[1])),
        int(boxes),
        tuple(Problem(kind, str(text)) for kind, text in problems),
    )


def _is_sound(folder: Path, done: list[Outcome]) -> bool:
    """Whether an unfinished LMDB can be read through, and has the records of these items."""
    records = [number for number, outcome in enumerate(done) if outcome.sizes is not None]
    if not records:
        return (folder / FILE_NAME).exists()
    try:
        file = LmdbFile(folder)
        cursor = file.cursor()
        return file.entries >= len(records) and all(
            cursor.read(place)[0].startswith(b"%08d_" % number) for place, number in enumerate(records)
        )
    except CaffeCompatError:
        return False


def _remove(folder: Path) -> None:
    for name in (FILE_NAME, "lock.mdb"):
        with suppress(FileNotFoundError):
            (folder / name).unlink()


def _unwritten(error: OSError, named: Path) -> CaffeCompatError:
    return CaffeCompatError(f"cannot be written: {error.strerror or error}", file=named)
