"""Writing LMDBs that Caffe reads: whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from caffecompat.data.lmdb_file import FILE_NAME
from caffecompat.errors import CaffeCompatError, UsageError, quoted

# As many records as Caffe's tools write in one transaction, and no more bytes than memory holds easily.
BATCH = 1000
BATCH_BYTES = 1 << 26
FIRST_SIZE = 1 << 24
MAX_KEY = 511


class LmdbFolder:
    """An LMDB being written in a folder that is there; `LmdbWriter` gives it its name when it is complete.

    Args:
        folder: where it lies; what an earlier run wrote there stays.
        named: what errors call it.
        durable: each `write` ends when the disk has it.

    Raises:
        CaffeCompatError: it cannot be written.
    """

    def __init__(self, folder: Path, named: Path, durable: bool = False) -> None:
        import lmdb

        self._errors = (OSError, lmdb.Error)
        self._full = lmdb.MapFullError
        self._named = named
        self._waiting: list[tuple[bytes, bytes]] = []
        self._bytes = 0
        try:
            there = folder / FILE_NAME
            size = max(FIRST_SIZE, 2 * there.stat().st_size if there.exists() else 0)
            self._environment = lmdb.open(str(folder), map_size=size, sync=durable, mode=0o664)
        except self._errors as error:
            raise self.unwritten(error) from error

    def put(self, key: bytes, value: bytes) -> bool:
        """Add a record, or replace that of the same key; it is written with others, or by `write`.

        Returns:
            Whether it was written now, with all that waited.

        Raises:
            UsageError: LMDB takes no such key.
            CaffeCompatError: it cannot be written (a full disk).
        """
        if not 1 <= len(key) <= MAX_KEY:
            raise UsageError(f"expected a key of 1 to {MAX_KEY} bytes, got {len(key)}: {quoted(key)}")
        self._waiting.append((key, value))
        self._bytes += len(value)
        if len(self._waiting) < BATCH and self._bytes < BATCH_BYTES:
            return False
        self.write()
        return True

    def write(self) -> None:
        """Write the records that wait.

        Raises:
            CaffeCompatError: they cannot be written.
        """
        try:
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for key, value in self._waiting:
                            transaction.put(key, value)
                    break
                except self._full:
                    self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        except self._errors as error:
            raise self.unwritten(error) from error
        self._waiting.clear()
        self._bytes = 0

    def delete_from(self, key: bytes) -> None:
        """Take out the record of `key` and all that come after it.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        try:
            with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                left = cursor.set_range(key)
                while left:
                    left = cursor.delete()
        except self._errors as error:
            raise self.unwritten(error) from error

    def close(self) -> None:
        """Write what waits, and wait for the disk.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        self.write()
        try:
            self._environment.sync(True)
            self._environment.close()
        except self._errors as error:
            raise self.unwritten(error) from error

    def abandon(self) -> None:
        """Close it as it is."""
        with suppress(*self._errors):
            self._environment.close()

    def unwritten(self, error: Exception) -> CaffeCompatError:
        """What to say of a fault of the disk or of LMDB."""
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return CaffeCompatError(f"cannot be written: {reason}", file=self._named)


class LmdbWriter:
    """A new LMDB, written into a temporary folder beside its own, which takes its name when it is complete.

        with LmdbWriter("train_lmdb") as writer:
            writer.put(record_key(0, "cat.jpg"), datum.SerializeToString())

    If the block raises, nothing is left.

    Args:
        path: the folder to make. As in Caffe, none may be there yet.

    Raises:
        UsageError: something is there.
        CaffeCompatError: it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.path.abspath(path))
        refuse_what_is_there(self._path)
        self._temporary = self._path.parent / f".{self._path.name[:100]}.{secrets.token_hex(8)}.tmp"
        try:
            self._temporary.mkdir()
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=self._path) from error
        try:
            self._folder = LmdbFolder(self._temporary, self._path)
        except BaseException:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise

    def __enter__(self) -> LmdbWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record, or replace that of the same key.

        Raises:
            UsageError: LMDB takes no such key.
            CaffeCompatError: it cannot be written (a full disk).
        """
        self._folder.put(key, value)

    def close(self) -> None:
        """Write what is left, and give the database its name.

        Raises:
            CaffeCompatError: it cannot be written; nothing is left of it.
        """
        try:
            self._folder.close()
            os.rename(self._temporary, self._path)
        except OSError as error:
            self.abandon()
            raise self._folder.unwritten(error) from error
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave nothing of it."""
        self._folder.abandon()
        shutil.rmtree(self._temporary, ignore_errors=True)


def refuse_what_is_there(path: Path) -> None:
    """Raise a UsageError if something lies where a database is to be made."""
    if os.path.lexists(path):
        raise UsageError("there is something already", file=path, hint="remove it, or give another name")


def record_key(number: int, name: str) -> bytes:
    """A key as Caffe's convert_imageset makes it: the number in eight digits, and the name."""
    return f"{number:08d}_{name}".encode("utf-8", "surrogateescape")
