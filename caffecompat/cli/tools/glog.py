"""What our commands say, as glog wrote it to stderr: scripts read the tools' logs there."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from caffecompat.errors import printable
from caffecompat.solver.log import glog_line

_LINE = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\] ")


class _Glog(io.TextIOBase):
    """A stream that gives each line glog's prefix, if it has none; empty lines are left out."""

    def __init__(self, stream: TextIO, place: str) -> None:
        self._stream = stream
        self._place = place
        self._rest = ""

    def write(self, text: str) -> int:
        """Write text; a line appears when it is whole."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            # Tabs stay: they are the table of `caffe time`.
            text_of = "\t".join(map(printable, line.rstrip().split("\t")))
            self._stream.write(line + "\n" if _LINE.match(line) else f"{glog_line('', self._place)}{text_of}\n")
            self._stream.flush()
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """That of the stream below."""
        return self._stream.fileno()

    def end(self) -> None:
        """Write what is left."""
        if self._rest:
            self.write("\n")


@contextmanager
def as_glog(place: str) -> Iterator[None]:
    """While it is entered, whatever goes to stdout or stderr goes to stderr as lines of a log.

    Args:
        place: the file that the lines name, such as `caffe.cpp:1`.
    """
    stream = _Glog(sys.stderr, place)
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield
    finally:
        stream.end()
