"""Writing LMDBs that Caffe reads: whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from caffecompat.errors import CaffeCompatError, UsageError, quoted

# As many records as Caffe's tools write in one transaction.
BATCH = 1000
FIRST_SIZE = 1 << 24
MAX_KEY = 511


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
        import lmdb

        self._errors = lmdb.Error
        self._full = lmdb.MapFullError
        self._path = Path(os.path.abspath(path))
        if os.path.lexists(self._path):
            raise UsageError("there is something already", file=path, hint="remove it, or give another name")
        self._folder = self._path.parent / f".{self._path.name[:100]}.{secrets.token_hex(8)}.tmp"
        self._waiting: list[tuple[bytes, bytes]] = []
        try:
            self._folder.mkdir()
            self._environment = lmdb.open(str(self._folder), map_size=FIRST_SIZE, sync=False, mode=0o664)
        except (OSError, lmdb.Error) as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise self._unwritten(error) from error

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
        if not 1 <= len(key) <= MAX_KEY:
            raise UsageError(f"expected a key of 1 to {MAX_KEY} bytes, got {len(key)}: {quoted(key)}")
        self._waiting.append((key, value))
        if len(self._waiting) >= BATCH:
            self._write()

    def close(self) -> None:
        """Write what is left, and give the database its name.

        Raises:
            CaffeCompatError: it cannot be written; nothing is left of it.
        """
        try:
            self._write()
            self._environment.sync(True)
            self._environment.close()
            os.rename(self._folder, self._path)
        except (OSError, self._errors) as error:
            self.abandon()
            raise self._unwritten(error) from error
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Leave nothing of it."""
        with suppress(self._errors):
            self._environment.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self) -> None:
        try:
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for key, value in self._waiting:
                            transaction.put(key, value)
                    break
                except self._full:
                    self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        except (OSError, self._errors) as error:
            raise self._unwritten(error) from error
        self._waiting.clear()

    def _unwritten(self, error: Exception) -> CaffeCompatError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return CaffeCompatError(f"cannot be written: {reason}", file=self._path)


def record_key(number: int, name: str) -> bytes:
    """A key as Caffe's convert_imageset makes it: the number in eight digits, and the name."""
    return f"{number:08d}_{name}".encode("utf-8", "surrogateescape")
