"""Results do not overwrite what they were made from, and are told of on stderr."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from caffecompat.cli.errors import tell
from caffecompat.errors import UsageError


def keep_inputs(target: Path | None, sources: Iterable[Path | None]) -> None:
    """Refuse to write over a file that the command reads.

    Args:
        target: where a result goes; None is stdout.
        sources: what is read; None stands for what was not given.

    Raises:
        UsageError: they are the same file.
    """
    if target is None or not target.exists():
        return
    for source in sources:
        if source is not None and source.exists() and os.path.samefile(target, source):
            raise UsageError(f"{target} is an input of this command", hint="write to another file")


def tell_written(path: Path) -> None:
    """Say on stderr that a file was written, and how large it is."""
    try:
        size = f" ({path.stat().st_size:,} bytes)" if path.is_file() else ""
    except OSError:
        size = ""
    tell(f"wrote {path}{size}")
