"""A file read whole, with what can be wrong with its path said."""

from __future__ import annotations

import os

from caffecompat.errors import FormatError, did_you_mean


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file.

    Args:
        path: the file.
        limit: the greatest number of bytes that is read.

    Returns:
        The bytes; one more than `limit` of them if the file has more.

    Raises:
        FormatError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        raise no_such_file(path) from None
    except IsADirectoryError:
        raise FormatError("expected a file, got a directory", file=path, hint="name a file in it") from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise FormatError(f"cannot be read: {reason}", file=path) from None


def no_such_file(path: str | os.PathLike[str]) -> FormatError:
    """The error for a file that is not there, with one of a name like it as the hint."""
    return FormatError("there is no such file", file=path, hint=_near(path))


def _near(path: str | os.PathLike[str]) -> str | None:
    """A file beside the one that is missing, with a name like it."""
    folder, name = os.path.split(os.fspath(path))
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry, _ in zip(entries, range(1000), strict=False)]
    except OSError:
        return f"there is no folder {folder} either"
    return did_you_mean(name, names)
