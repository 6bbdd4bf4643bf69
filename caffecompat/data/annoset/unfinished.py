"""What is being made: a hidden folder beside the one that is wanted, which takes its name when all is complete."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from caffecompat.data.annoset.journal import UnfinishedDatabase
from caffecompat.data.lmdb_writer import refuse_what_is_there
from caffecompat.errors import CaffeCompatError, UsageError
from caffecompat.formats import atomic_write

LOCK = "in-use"
JOURNAL = "journal"


class UnfinishedFolder:
    """A folder of one or several databases and files, whole or not at all.

        with UnfinishedFolder("VOC0712") as folder:
            database = folder.database("VOC0712_test_lmdb", job)
            ...
            folder.finish()

    If the block ends before `finish` and a database has records on the disk, the hidden folder stays, and the next
    run of the same job goes on with it; else nothing is left.

    Args:
        path: the folder to make; none may be there yet.
        anew: throw away what an earlier run has left.

    Attributes:
        hidden: where it lies until it is complete.
        kept: whether it stayed because it can be gone on with.

    Raises:
        UsageError: something is there, or another process is making it.
        CaffeCompatError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], anew: bool = False) -> None:
        self._path = Path(os.path.abspath(path))
        refuse_what_is_there(self._path)
        self.hidden = self._path.parent / f".{self._path.name[:100]}.unfinished"
        self.kept = False
        self._finished = False
        self._databases: list[UnfinishedDatabase] = []
        self._journals: list[Path] = []
        try:
            self.hidden.mkdir(exist_ok=True)
            self._lock = _locked(self.hidden / LOCK, self._path)
            if anew:
                self._empty()
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path) from error

    def _empty(self) -> None:
        for item in self.hidden.iterdir():
            if item.name == LOCK:
                continue
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()

    def __enter__(self) -> UnfinishedFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for database in self._databases:
            database.abandon()
        self._lock.close()
        if not self._finished:
            self.kept = any(database.committed for database in self._databases)
            if not self.kept:
                shutil.rmtree(self.hidden, ignore_errors=True)

    def database(self, name: str, job: str) -> UnfinishedDatabase:
        """A database in the folder.

        Args:
            name: its path in the folder; "" makes the folder itself the database.
            job: what identifies the work.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        journal = self.hidden / f"{name.replace('/', '.')}.{JOURNAL}" if name else self.hidden / JOURNAL
        database = UnfinishedDatabase(self.hidden / name, journal, self._path / name, job)
        self._databases.append(database)
        self._journals.append(journal)
        return database

    def write(self, name: str, text: str) -> None:
        """Write a text file in the folder.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        path = self.hidden / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "surrogateescape"))

    def finish(self) -> None:
        """Give the folder its name; all databases are closed.

        Raises:
            CaffeCompatError: it cannot be written, or something has come to lie there.
        """
        refuse_what_is_there(self._path)
        try:
            for journal in self._journals:
                journal.unlink()
            self._lock.close()
            with suppress(OSError):
                (self.hidden / LOCK).unlink()
            os.rename(self.hidden, self._path)
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=self._path) from error
        self._finished = True


def _locked(path: Path, named: Path) -> IO[str]:
    """A file that no other process has open so."""
    file = open(path, "a")  # noqa: SIM115
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError("another process is making it", file=named, hint="wait until it has ended") from None
    return file
