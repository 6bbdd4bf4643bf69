"""Files appear whole or not at all: the one way in which this package writes a file."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from caffecompat.errors import CaffeCompatError


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
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        mode = _mode(target)
        with open(temporary, "x+b") as file:
            try:
                if mode is not None:
                    os.chmod(temporary, mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
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
