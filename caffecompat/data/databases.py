"""The databases of data layers, LMDB and LevelDB: records in the order of their keys, read by any number of threads."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from caffecompat.data.lmdb_file import FILE_NAME, LmdbFile, Record
from caffecompat.data.lmdb_writer import LmdbWriter as LmdbWriter
from caffecompat.errors import CaffeCompatError, FormatError, context

Backend = Literal["LMDB", "LEVELDB"]


class Cursor(Protocol):
    """A place in a database, of one thread."""

    def read(self, position: int) -> Record:
        """The record of a position."""


class Database(ABC):
    """A database, open to be read; `open_database` makes one.

    Attributes:
        path: its folder.
        backend: what it is, as a prototxt says it.
    """

    backend: Backend

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.local()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def count(self) -> int:
        """The number of records; a LevelDB is read through for it, once."""

    def read(self, position: int) -> Record:
        """The record of a position, from 0 in the order of the keys; beyond the last it goes on with the first.

        Any thread may call it. Each thread has a place of its own in the database, from which it steps forward;
        stepping back starts anew.

        Returns:
            The key, and the value without a copy of it.

        Raises:
            FormatError: the database is damaged.
        """
        cursor: Cursor | None = getattr(self._threads, "cursor", None)
        if cursor is None:
            cursor = self._threads.cursor = self._cursor()
        try:
            return cursor.read(position)
        except CaffeCompatError as error:
            error.add_context(file=self.path)
            raise

    def records(self) -> Iterator[Record]:
        """All records, each once, in the order of their keys."""
        for position in range(self.count()):
            yield self.read(position)

    @abstractmethod
    def _cursor(self) -> Cursor:
        """What reads a position, for one thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it; no read may be under way, and none may follow. Values of an LMDB stay."""


class LmdbDatabase(Database):
    """An LMDB. It is never written to and takes no lock: a folder that may only be read will do."""

    backend = "LMDB"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: LmdbFile | None = LmdbFile(path)
        self._count = self._file.entries
        if not self._count:
            raise empty_database(path)

    def count(self) -> int:
        """The number of records."""
        return self._count

    def read(self, position: int) -> Record:
        """See `Database.read`."""
        return super().read(position % self._count)

    def _cursor(self) -> Cursor:
        assert self._file is not None, "closed"
        return self._file.cursor()

    def table(self) -> RecordTable:
        """The places of all records, so that they may be read in any order as fast as one after the other.

        Raises:
            FormatError: the database is damaged.
        """
        assert self._file is not None, "closed"
        with context(file=self.path):
            return RecordTable(self._file)

    def close(self) -> None:
        """Let go of the file; it stays mapped for as long as a value of it is held."""
        self._file = None
        self._threads = threading.local()


class RecordTable:
    """The records of an LMDB by their positions, 16 bytes for each; any thread may read them.

    Args:
        file: the database.
    """

    def __init__(self, file: LmdbFile) -> None:
        self._file = file
        cursor = file.cursor()
        self._pages, self._nodes = array("Q"), array("Q")
        for position in range(file.entries):
            page, node = cursor.place(position)
            self._pages.append(page)
            self._nodes.append(node)

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, position: int) -> Record:
        return self._file.record(self._pages[position], self._nodes[position])


def open_database(path: str | os.PathLike[str], backend: Backend | None = None) -> Database:
    """Open a database.

    Args:
        path: its folder; of an LMDB, the file will do.
        backend: what it has to be, or None to take what it is.

    Raises:
        FormatError: there is none, it is another one, it is empty or damaged.
        UnsupportedError: it is a LevelDB, and `plyvel` is not installed.
    """
    place = Path(path)
    found = backend_of(place)
    if backend is not None and backend != found:
        raise FormatError(
            f"expected a database of backend {backend}, got one of {found}", file=place, hint=f"state backend: {found}"
        )
    if found == "LMDB":
        return LmdbDatabase(place)
    from caffecompat.data.leveldb import LevelDatabase

    return LevelDatabase(place)


def backend_of(path: str | os.PathLike[str]) -> Backend:
    """What kind of database lies at a path.

    Raises:
        FormatError: none does.
    """
    place = Path(path)
    try:
        if not place.exists():
            raise FormatError("no such database", file=place)
        if not place.is_dir() or (place / FILE_NAME).exists():
            return "LMDB"
        if (place / "CURRENT").exists():
            return "LEVELDB"
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", file=place) from error
    raise FormatError(
        f"no database: the folder has no {FILE_NAME} (LMDB) and no CURRENT (LevelDB)",
        file=place,
        hint="caffecompat data imageset makes an LMDB of picture files",
    )


def empty_database(path: Path) -> FormatError:
    """The error that a database has no record."""
    return FormatError("the database is empty", file=path, hint="it was not written or copied completely")


def key_text(key: bytes) -> str:
    """A key as people read it."""
    return key.decode("utf-8", "backslashreplace")
