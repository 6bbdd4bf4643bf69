"""LevelDB, by the package `plyvel`, which is an extra."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from caffecompat.data.databases import Cursor, Database, empty_database
from caffecompat.data.lmdb_file import Record
from caffecompat.errors import FormatError, UnsupportedError


class LevelDatabase(Database):
    """A LevelDB. LevelDB itself writes to the folder when it opens it, and one process at a time may have it open.

    Args:
        path: its folder.

    Raises:
        FormatError: it is damaged or empty, or another process has it open.
        UnsupportedError: `plyvel` is not installed.
    """

    backend = "LEVELDB"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._shared: _Shared | None = _opened(path)
        self._count: int | None = None
        try:
            self.read(0)
        except FormatError:
            self.close()
            raise

    def count(self) -> int:
        """The number of records; the database is read through for it, once."""
        if self._count is None:
            with self.shared().faults():
                self._count = sum(1 for _ in self.shared().database.iterator(include_value=False))
        return self._count

    def known_count(self) -> int | None:
        """The number of records if somebody has come to their end yet."""
        return self._count

    def note_count(self, count: int) -> None:
        """Keep the number of records that a cursor came upon."""
        self._count = count

    def shared(self) -> _Shared:
        """The open database."""
        assert self._shared is not None, "closed"
        return self._shared

    def _cursor(self) -> Cursor:
        return _Cursor(self)

    def close(self) -> None:
        """Let go of the database."""
        self._threads = threading.local()
        self._shared = None


class _Cursor:
    """A place among the records."""

    def __init__(self, database: LevelDatabase) -> None:
        self._database = database
        self._rewind()

    def _rewind(self) -> None:
        self._records: Iterator[tuple[bytes, bytes]] = iter(self._database.shared().database.iterator())
        self._position = -1
        self._record: tuple[bytes, bytes] = b"", b""

    def read(self, position: int) -> Record:
        count = self._database.known_count()
        position = position if count is None else position % count
        with self._database.shared().faults():
            if position < self._position:
                self._rewind()
            while self._position < position:
                record = next(self._records, None)
                if record is None:
                    return self._beyond(position)
                self._record = record
                self._position += 1
        key, value = self._record
        return key, memoryview(value)

    def _beyond(self, position: int) -> Record:
        """The record of a position that lies beyond the last one."""
        count = self._position + 1
        if count == 0:
            raise empty_database(self._database.path)
        self._database.note_count(count)
        self._rewind()
        return self.read(position)


class _Shared:
    """A LevelDB opened once for a process, closed when nobody in it reads it any more."""

    def __init__(self, path: Path) -> None:
        plyvel = _plyvel()
        self.path = path
        self._errors = plyvel.Error
        with self.faults():
            self.database = plyvel.DB(str(path), create_if_missing=False, max_open_files=100)

    def faults(self) -> _Faults:
        """A block in which LevelDB's own errors become ours."""
        return _Faults(self.path, self._errors)


class _Faults:
    def __init__(self, path: Path, errors: type[Exception]) -> None:
        self._path, self._errors = path, errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._errors):
            told = error.args[0] if error.args else error
            text = told.decode("utf-8", "backslashreplace") if isinstance(told, bytes) else str(told)
            hint = None
            if "already held" in text or "temporarily unavailable" in text:
                hint = "close the program that has it open, or copy it"
            elif "denied" in text or "Read-only" in text:
                hint = "LevelDB writes to the folder of a database that it opens: copy it to where you may write"
            raise FormatError(f"the LevelDB cannot be read: {text}", file=self._path, hint=hint) from error


_OPEN: WeakValueDictionary[Path, _Shared] = WeakValueDictionary()
_LOCK = threading.Lock()


def _opened(path: Path) -> _Shared:
    """LevelDB opens a database once in a process; nets that read the same one share it."""
    with _LOCK:
        place = path.resolve()
        shared = _OPEN.get(place)
        if shared is None:
            shared = _OPEN[place] = _Shared(path)
        return shared


def _plyvel() -> Any:
    try:
        import plyvel
    except ImportError as error:
        raise UnsupportedError(
            "reading a LevelDB needs the package plyvel", hint="pip install 'caffecompat[leveldb]'"
        ) from error
    return plyvel
