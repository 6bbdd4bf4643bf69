"""A file as memory: pages are read when they are touched, and writing to them changes only our copy."""

from __future__ import annotations

import mmap
import os
import stat

from caffecompat.errors import FormatError


def map_file(path: str | os.PathLike[str]) -> mmap.mmap:
    """Map a file, copy on write.

    The map lives as long as an array points into it and survives that the file is replaced or removed; a file
    that is overwritten or cut in place changes or breaks it, so `atomic_write` never does that.

    Raises:
        FormatError: no such file, a directory, a pipe, an empty file, one that may not be read.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise FormatError("expected a file, got a directory", file=path)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError("expected a regular file, got a device or a pipe", file=path)
        if status.st_size == 0:
            raise FormatError("the file is empty", file=path, hint="it was not written or downloaded completely")
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise FormatError(f"cannot be read: {reason}", file=path) from error
