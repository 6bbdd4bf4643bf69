"""What SIGINT and SIGHUP ask of a run. (Caffe: `signal_handler.cpp`, the flags of `caffe train`.)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caffecompat.solver.solver import Action


class Signals:
    """While it is entered, SIGINT and SIGHUP ask a solver for something, instead of ending the process.

    >>> with Signals() as signals:
    ...     solver.action = signals.action
    ...     solver.solve()

    A second SIGINT after one that means "stop" ends at once, by KeyboardInterrupt. Only the main thread of a process
    may catch signals: in another one nothing is caught, and nothing asked for. SIGHUP is not there on Windows.

    Args:
        sigint: what SIGINT asks for; "none" makes the process deaf to it, as in Caffe.
        sighup: what SIGHUP asks for.
        heard: called with what is asked for as soon as the signal comes. It runs between any two steps of the main
            thread, and so must not print through Python's buffers.
    """

    def __init__(
        self, sigint: Action = "stop", sighup: Action = "snapshot", heard: Callable[[Action], None] | None = None
    ) -> None:
        self._effects: dict[int, Action] = {signal.SIGINT: sigint}
        if hasattr(signal, "SIGHUP"):
            self._effects = {signal.SIGHUP: sighup, signal.SIGINT: sigint}
        self._heard = heard
        self._came: set[int] = set()
        self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in self._effects:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None: a handler that was not set from Python, and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def action(self) -> Action:
        """What the signals since the last call ask for; SIGHUP is asked first, as in Caffe."""
        for number, effect in self._effects.items():
            if number in self._came:
                self._came.discard(number)
                return effect
        return "none"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._stopping:
            raise KeyboardInterrupt
        effect = self._effects[number]
        self._came.add(number)
        if effect == "stop":
            self._stopping = True
        if self._heard is not None and effect != "none":
            self._heard(effect)
