"""Progress on stderr: how far, how fast, how long yet."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import click

TERMINAL_PAUSE = 0.2
LOG_PAUSE = 10.0


class Progress:
    """Says on stderr how far a loop is: over and over on one line of a terminal, else a line every ten seconds.

    Used as a context manager; what takes less than the first pause says nothing.
    """

    def __init__(self, total: int | None, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._done = 0
        self.restart()
        self._terminal = sys.stderr.isatty()
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def restart(self) -> None:
        """Start the clock: what took time before, such as making an engine, is not the loop's."""
        self._start = self._last = time.monotonic()

    def add(self, count: int = 1) -> None:
        """Note that `count` more are done."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= (TERMINAL_PAUSE if self._terminal else LOG_PAUSE):
            self._last = now
            self._show(self.text(now - self._start))

    def line(self, text: str) -> None:
        """Say `text` on stderr, in a line of its own."""
        self._clear()
        click.echo(text, err=True)

    def text(self, seconds: float) -> str:
        """What it says after so many seconds, such as `12/100 images, 3.4/s, 0:26 left`."""
        rate = self._done / seconds if seconds > 0 else 0.0
        if self._total is None:
            return f"{self._done} {self._unit}, {rate:.3g}/s"
        left = max(self._total - self._done, 0) / rate if rate else 0.0
        return f"{self._done}/{self._total} {self._unit}, {rate:.3g}/s, {clock(left)} left"

    def _clear(self) -> None:
        """Take what was said last off the terminal."""
        if self._terminal and self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)
            self._width = 0

    def _show(self, text: str) -> None:
        if self._terminal:
            click.echo("\r" + text.ljust(self._width), nl=False, err=True)
            self._width = len(text)
        else:
            click.echo(text, err=True)


def clock(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
