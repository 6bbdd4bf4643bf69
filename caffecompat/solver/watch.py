"""Watch: notices within moments, and by name, that another of the processes that train together has ended.

What PyTorch's backends notice themselves is not enough: NCCL waits for a process that is gone, and gloo does not say
which one it was. So each process keeps a connection to the first one, over which nothing is sent; the system closes it
however the other process ends, and where a machine is lost TCP's keep-alive finds out.
"""

from __future__ import annotations

import faulthandler
import json
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from caffecompat.errors import WorkerError, presentable

# Seconds after which a process whose main thread does not find out by itself that another one ended is ended.
PATIENCE = 5.0
# Seconds after which it is ended whatever it does, such as waiting for a GPU while the interpreter shuts down.
LAST = 15.0
# Seconds in which the end of another process explains a request to terminate: torchrun sends it to all the others.
EXPLAINED = 1.0
MAX_TEXT = 4000


@dataclass(frozen=True)
class Lost:
    """A process that has ended before its time, and the error that it told of, if any."""

    rank: int
    cause: str | None = None


class Watch:
    """The connections of this process, and a thread that listens to them.

    Args:
        rank: which process this is.
        links: connections by rank: the first process has one to each other, the others one to the first.
        quiet: whoever started the processes tells of one that ended without a word.

    Attributes:
        lost: the first process that was found to have ended, or None.
        left: the processes that have done their part and left.
    """

    def __init__(self, rank: int, links: Mapping[int, socket.socket], quiet: bool = False) -> None:
        self.lost: Lost | None = None
        self._rank, self._links, self._quiet = rank, dict(links), quiet
        self._causes: dict[int, str] = {}
        self.left: set[int] = set()
        self._buffers: dict[int, bytes] = dict.fromkeys(links, b"")
        self._found, self._taken = threading.Event(), threading.Event()
        self._over = False
        self._terminate_at: float | None = None
        self._waker, self._wake = socket.socketpair()
        self._before: Any = None
        self._catch_terminate()
        self._thread = threading.Thread(target=self._listen, name="caffecompat-watch", daemon=True)
        self._thread.start()

    # --- asked by the main thread

    def within(self, seconds: float) -> Lost | None:
        """The process that ended, or None if that is not heard of in this time."""
        self._found.wait(seconds)
        return self.lost

    def error(self, lost: Lost) -> WorkerError:
        """The error that ends this process because another one ended."""
        self._taken.set()
        return self._error(lost)

    def fail(self, error: BaseException) -> bool:
        """This process ends by an error of its own: tell the others.

        Returns:
            Whether another process will tell the user of it.
        """
        self._over = True
        self._arm()
        text = str(error)[:MAX_TEXT] or type(error).__name__
        told = [self._send(peer, {"failed": text}) for peer in self._links if peer not in self.left]
        return (self._rank != 0 and any(told)) or self._causes.get(0) == text

    def causes(self, seconds: float) -> dict[int, str]:
        """The errors that others tell of within this time, by rank."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self._causes) < len(self._links):
            time.sleep(0.01)
        return dict(self._causes)

    def close(self, left: bool) -> None:
        """Stop listening.

        Args:
            left: this process has done its part, and needs the others no more.
        """
        self._over = True
        if left:
            for peer in self._links:
                self._send(peer, {"left": self._rank})
        with suppress(OSError):
            self._wake.send(b"\0")
        self._thread.join(1.0)
        if self._before is not None:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
        for link in (*self._links.values(), self._waker, self._wake):
            link.close()

    # --- the thread

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for peer, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, peer)
            selector.register(self._waker, selectors.EVENT_READ)
            while True:
                wait = None if self._terminate_at is None else max(self._terminate_at - time.monotonic(), 0)
                for key, _ in selector.select(wait):
                    if key.data is None:
                        if not self._woken():
                            return
                    elif not self._receive(key.data):
                        selector.unregister(key.fileobj)
                if self._terminate_at is not None and time.monotonic() >= self._terminate_at:
                    if self.lost is None:
                        os._exit(128 + signal.SIGTERM)
                    self._terminate_at = None

    def _woken(self) -> bool:
        """A signal came, or it is time to stop: whether to go on listening."""
        numbers = self._waker.recv(64)
        if signal.SIGTERM in numbers and self.lost is None:
            self._terminate_at = time.monotonic() + EXPLAINED
        return 0 not in numbers

    def _receive(self, peer: int) -> bool:
        """Read what came from a process: whether more may come."""
        try:
            data = self._links[peer].recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            if peer not in self.left:
                self._lose(Lost(peer, self._causes.get(peer)))
            return False
        *lines, self._buffers[peer] = (self._buffers[peer] + data).split(b"\n")
        for line in lines:
            self._heard(peer, json.loads(line))
        return True

    def _heard(self, peer: int, said: Mapping[str, Any]) -> None:
        if "left" in said:
            self.left.add(peer)
        elif "failed" in said:
            self._causes[peer] = said["failed"]
            self._lose(Lost(peer, said["failed"]))
        elif "lost" in said:
            self._lose(Lost(said["lost"], said["cause"]))

    def _lose(self, lost: Lost) -> None:
        """A process ended; where this one did not know of an end yet, it ends too."""
        if self.lost is not None or self._over:
            return
        self.lost = lost
        for peer in self._links:
            if peer != lost.rank:
                self._send(peer, {"lost": lost.rank, "cause": lost.cause})
        self._found.set()
        self._arm()
        threading.Thread(target=self._end, args=(lost,), name="caffecompat-end", daemon=True).start()

    def _end(self, lost: Lost) -> None:
        """End the process, if its main thread is waiting for what never comes."""
        if not self._taken.wait(PATIENCE) and not self._over:
            error = self._error(lost)
            if not error.told:
                os.write(2, f"Error: {presentable(str(error))}\n".encode(errors="backslashreplace"))
            os._exit(1)

    def _error(self, lost: Lost) -> WorkerError:
        if lost.cause is None:
            hint = (
                "it was killed, or crashed, or its machine was lost; see what it and its machine's log say (memory may "
                "have run out), then resume from the last snapshot"
            )
            error = WorkerError(f"worker {lost.rank} ended, and the others with it", hint=hint)
        else:
            first, _, rest = lost.cause.partition("\n")
            error = WorkerError(f"worker {lost.rank}: {first}", hint=rest.strip() or None)
        # One process speaks: the first, or where that one is gone without a word the second.
        speaker = 0 if lost.rank else 1
        error.told = self._rank != speaker or (self._quiet if lost.cause is None else lost.rank == 0)
        return error

    # --- small things

    def _send(self, peer: int, message: Mapping[str, Any]) -> bool:
        try:
            self._links[peer].sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def _arm(self) -> None:
        """See to it that the process ends; this needs neither the main thread nor the interpreter's lock."""
        faulthandler.dump_traceback_later(LAST, exit=True, file=_nowhere())

    def _catch_terminate(self) -> None:
        """Wait for a moment when asked to terminate: the reason is to be told first.

        The signal wakes the thread that listens; the main thread may be waiting for another process.
        """
        mine = threading.current_thread() is threading.main_thread() and sys.platform != "win32"
        if mine and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._wake.setblocking(False)
            self._before = signal.signal(signal.SIGTERM, lambda number, frame: None)
            signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)


@cache
def _nowhere() -> int:
    """The descriptor of a file that stays open as long as the process lives; tracebacks are lost in it."""
    return os.open(os.devnull, os.O_WRONLY)
