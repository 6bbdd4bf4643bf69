"""The log of a run, as glog wrote Caffe's: scripts that read those (`parse_log.py`) read these."""

from __future__ import annotations

import os
import platform
import threading
import warnings
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, printable
from caffecompat.solver.listeners import Listener


class CaffeLog(Listener):
    """Writes the lines of a run to a file, each as it comes.

    A file that is there already is continued, so that a run that is resumed may go on in its log. If the disk is
    full later, a warning says so and the run goes on without its log.

    Args:
        path: the file.

    Attributes:
        path: the same.

    Raises:
        CaffeCompatError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._new = not os.path.lexists(path)
        try:
            self._file = open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)  # noqa: SIM115
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            hint = "its folder must be there, and writable; --log none writes no log"
            raise CaffeCompatError(f"the log cannot be written: {reason}", file=path, hint=hint) from error
        self._write(
            f"Log file created at: {datetime.now():%Y/%m/%d %H:%M:%S}\n"
            f"Running on machine: {printable(platform.node())}\n"
            "Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] msg\n"
        )

    def line(self, text: str, place: str) -> None:
        """Write a line."""
        self._write(glog_line(text, place) + "\n")

    def close(self) -> None:
        """Close the file; lines that come later are dropped."""
        with suppress(OSError):
            self._file.close()

    def discard(self) -> None:
        """Close the file, and take it away if it was not there before: nothing happened that is worth a log."""
        self.close()
        if self._new:
            with suppress(OSError):
                self.path.unlink()

    def _write(self, text: str) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(text)
        except OSError as error:
            self.close()
            message = f"{self.path}: the log cannot be written any more: {error.strerror or error}"
            warnings.warn(message, CaffeCompatWarning, stacklevel=3)


def glog_line(text: str, place: str) -> str:
    """A line with glog's prefix: severity, date, time, thread, place; printable whatever names are in it."""
    return f"I{datetime.now():%m%d %H:%M:%S.%f} {threading.get_native_id():5d} {place}] {printable(text)}"


def new_log(prefix: str | os.PathLike[str]) -> Path:
    """A name for the log of a run that begins now: `PREFIX_train_20261124-073532.log`, not there yet.

    Args:
        prefix: the solver's `snapshot_prefix`.
    """
    stem = f"{os.fspath(prefix)}_train_{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(f"{stem}.log")
    count = 1
    while path.exists():
        count += 1
        path = Path(f"{stem}-{count}.log")
    return path
