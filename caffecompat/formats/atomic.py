"""Files appear whole or not at all: the one way in which this package writes a file."""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import BinaryIO

from caffecompat.errors import CaffeCompatError

if sys.platform != "win32":
    import fcntl

MAX_NAME = 100
_TEMPORARY = re.compile(r"\.(.*)\.[0-9a-f]{16}\.tmp", re.DOTALL)
# Elsewhere an open file can be neither renamed nor deleted.
_LOCKS = sys.platform != "win32"


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file under a temporary name in its folder; at the end of the block it takes its own name.

    Whoever reads `path` meanwhile, or after a crash, finds the old file or the new one, never a part; a reader
    that has the old file mapped keeps it. If the block raises, `path` is left as it was. A new file gets the
    usual permissions, a replaced one keeps its own; a link stays, and what it points to is replaced.

    Args:
        path: the file to write.

    Yields:
        A binary file, open to write, read and seek.

    Raises:
        CaffeCompatError: the file cannot be written (no such folder, no permission, a full disk).
    """
    try:
        target = os.path.realpath(path)
    except ValueError as error:
        raise CaffeCompatError(f"expected the name of a file to write: {error}", file=path) from error
    try:
        mode = _mode(target)
        file, temporary = _create(target)
        with file:
            try:
                if mode is not None:
                    os.chmod(temporary, mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not _LOCKS:
                    file.close()
                os.replace(temporary, target)
            except BaseException:
                with suppress(OSError):
                    file.close()
                with suppress(OSError):
                    os.unlink(temporary)
                raise
    except OSError as error:
        raise _unwritten(error, path) from error


def _create(target: str) -> tuple[BinaryIO, str]:
    """A new file beside `target`, and its path. It is locked while it is open, which shows that it has a writer."""
    folder, name = os.path.split(target)
    while True:
        temporary = os.path.join(folder, f".{name[:MAX_NAME]}.{secrets.token_hex(8)}.tmp")
        file = open(temporary, "x+b")  # noqa: SIM115 - the caller closes it
        _lock(file)
        if not _LOCKS or os.fstat(file.fileno()).st_nlink:
            return file, temporary
        # Taken away by `remove_leftovers` before it was locked.
        file.close()


def remove_leftovers(folder: str | os.PathLike[str], wanted: Callable[[str], object]) -> None:
    """Delete what writers that were killed have left in a folder; what has a writer stays.

    Args:
        folder: the folder; nothing happens if it cannot be read.
        wanted: tells by the name of the file that was to be written, its first 100 characters, whether to delete.
    """
    with suppress(OSError):
        for name in os.listdir(folder):
            match = _TEMPORARY.fullmatch(name)
            if match is not None and wanted(match[1]):
                path = os.path.join(folder, name)
                # Where files cannot be locked, an open one cannot be deleted.
                with suppress(OSError), open(path, "r+b") if _LOCKS else nullcontext() as file:
                    if file is None or _lock(file, wait=False):
                        os.unlink(path)


def _lock(file: BinaryIO, wait: bool = True) -> bool:
    """Lock a file, if its system can: whether it is locked."""
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return True
    return False


def _mode(target: str) -> int | None:
    """The permissions of the file that is to be replaced, or None where there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise CaffeCompatError(f"expected the name of a file to write, got {kind}", file=target)
    return stat.S_IMODE(status.st_mode)


def _unwritten(error: OSError, path: str | os.PathLike[str]) -> CaffeCompatError:
    hint = None
    if isinstance(error, FileNotFoundError):
        hint = "its folder does not exist: make it first, or give another one"
    elif isinstance(error, PermissionError):
        hint = "give a folder where you may write"
    return CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path, hint=hint)
