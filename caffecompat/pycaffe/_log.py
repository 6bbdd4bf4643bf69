"""What the original's logging is to scripts: how much of it goes to stderr."""

from __future__ import annotations

import os
import sys

from caffecompat.errors import printable
from caffecompat.solver.log import glog_line


class _Level:
    minimum: int | None = None


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Choose what is logged.

    Args:
        level: 0 for everything, 1 and above for warnings alone, as GLOG_minloglevel.
        stderr: whether it goes to stderr, the only place there is.
    """
    _Level.minimum = level if stderr else 1


def enabled() -> bool:
    """Whether lines of the log are written."""
    if _Level.minimum is not None:
        return _Level.minimum <= 0
    stated = os.environ.get("GLOG_minloglevel", "0")  # noqa: SIM112 - the name that glog reads
    return not stated.isdigit() or int(stated) == 0


def log(text: str) -> None:
    """Write a line of the log; what follows a line break goes on without a prefix."""
    if enabled():
        first, *others = str(text).split("\n")
        print("\n".join([glog_line(first, "_caffe.cpp:62"), *map(printable, others)]), file=sys.stderr)
