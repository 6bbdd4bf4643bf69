"""Pairs of files that appear together: written under other names, tried there, and then given theirs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caffecompat.errors import CaffeCompatError


@contextmanager
def drafted(path: Path, beside: str) -> Iterator[Path]:
    """A name to write to in a folder of its own; at the end of the block both files take theirs, the second one first.

    Args:
        path: the name of the one file.
        beside: the suffix of the other.

    Yields:
        Where to write the one meanwhile, and beside it the other, which has the same name but for its suffix.

    Raises:
        CaffeCompatError: a file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}.", dir=path.parent) as folder:
            draft = Path(folder) / f"net{path.suffix.lower()}"
            yield draft
            for file in (path.with_suffix(beside), path):
                if file.is_dir():
                    raise CaffeCompatError("expected the name of a file to write, got a directory", file=file)
            take_name(draft.with_suffix(beside), path.with_suffix(beside))
            take_name(draft, path)
    except OSError as error:
        hint = None if path.parent.is_dir() else "its folder does not exist: make it first, or give another one"
        raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path, hint=hint) from error


def take_name(draft: Path, path: Path) -> None:
    """Give a finished draft its name, and the access rights of the file that had it; a link stays.

    Raises:
        CaffeCompatError: it is the name of a folder.
        OSError: it cannot be given.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise CaffeCompatError("expected the name of a file to write, got a directory", file=path)
    if path.exists():
        draft.chmod(path.stat().st_mode & 0o777)
    os.replace(draft, path)
