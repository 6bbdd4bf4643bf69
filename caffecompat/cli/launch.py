"""Several processes on this machine that run the same command together: started, watched, ended together.

They are spawned, not forked, on every system. Under torchrun none of this is used: that starts and watches them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from caffecompat.errors import WorkerError

# Seconds that the others have to end by themselves once one has ended; then until they are killed.
GRACE = 8.0
KILL = 3.0
TERMINATED = 128 + 15


class _Terminated(BaseException):
    """This process was asked to terminate."""


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `caffecompat ARGUMENTS` in so many processes, as workers of each other; all end when one fails.

    SIGINT and SIGHUP are passed on to the first of them, and Ctrl-Z halts all. If this process ends, so do they.

    Args:
        arguments: of the command line, the command's name first.
        processes: how many.

    Returns:
        The exit status: 0, or that of a process which told what was wrong.

    Raises:
        WorkerError: one ended without a word.
    """
    with tempfile.TemporaryDirectory(prefix="caffecompat-") as folder:
        crew = _Crew(arguments, processes, os.path.join(folder, "store"))
        try:
            with _signals(crew):
                return crew.supervise()
        except _Terminated:
            return TERMINATED
        finally:
            crew.end()


class _Crew:
    """The processes."""

    def __init__(self, arguments: Sequence[str], count: int, store: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.processes: list[SpawnProcess] = []
        self._reports: list[Any] = []
        self._spoke = [False] * count
        with _deaf():
            for rank in range(count):
                ours, theirs = context.Pipe(duplex=False)
                stated = _environment(rank, count, store)
                process = context.Process(target=_work, args=(list(arguments), stated, theirs), name=f"worker {rank}")
                process.start()
                theirs.close()
                self.processes.append(process)
                self._reports.append(ours)

    def supervise(self) -> int:
        """Wait for all, and end all when one failed; the exit status."""
        running = set(range(len(self.processes)))
        failed: list[int] = []
        end: float | None = None
        while running and (end is None or time.monotonic() < end):
            sentinels = [self.processes[rank].sentinel for rank in running]
            wait(sentinels, None if end is None else max(end - time.monotonic(), 0))
            done = {rank for rank in running if self.processes[rank].exitcode is not None}
            running -= done
            failed += sorted(rank for rank in done if self._status(rank) != 0)
            if failed and end is None:
                end = time.monotonic() + GRACE
        self.end()
        silent = [rank for rank in failed if not self._spoke[rank]]
        if silent:
            raise _silent(silent[0], self._status(silent[0]))
        return self._status(failed[0]) if failed else 0

    def _status(self, rank: int) -> int:
        """The status of a process that has ended; whether it told of what was wrong is noted."""
        with suppress(EOFError, OSError):
            self._spoke[rank] |= self._reports[rank].poll() and bool(self._reports[rank].recv())
        return self.processes[rank].exitcode or 0

    def end(self) -> None:
        """End those that still run."""
        for process in self.processes:
            process.terminate()
        end = time.monotonic() + KILL
        for process in self.processes:
            process.join(max(end - time.monotonic(), 0))
        for process in self.processes:
            if process.exitcode is None:
                process.kill()
                process.join()

    def send(self, number: int, everyone: bool = False) -> None:
        """Pass a signal on to the first process, or to all."""
        for process in self.processes if everyone else self.processes[:1]:
            if process.pid is not None and process.exitcode is None:
                with suppress(OSError):
                    os.kill(process.pid, number)


def _environment(rank: int, count: int, store: str) -> dict[str, str]:
    """What a process is told, as torchrun tells it."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "CAFFECOMPAT_STORE": store,
    }


def _silent(rank: int, status: int) -> WorkerError:
    """The error for a process that ended without a word."""
    hint = "go on from the last snapshot with --snapshot auto"
    if status >= 0:
        return WorkerError(f"worker {rank} ended with status {status}, and the others with it", hint=hint)
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        hint = f"the system kills so where memory runs out; {hint}"
    return WorkerError(f"worker {rank} was ended by {name}, and the others with it", hint=hint)


# --- in each process


def _work(arguments: list[str], stated: Mapping[str, str], report: Connection) -> None:
    """Run the command line in one of the processes."""
    if hasattr(os, "setpgid"):
        # The terminal's signals are to come once, from the process that started this one.
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_follow, name="caffecompat-parent", daemon=True).start()
    os.environ.update(stated)
    from caffecompat.cli.main import main

    try:
        main(arguments)
    finally:
        sys.stdout.flush()
        with suppress(OSError):
            report.send(True)


def _follow() -> None:
    """End with the process that started this one, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# --- signals of the process that starts them


@contextmanager
def _deaf() -> Iterator[None]:
    """No SIGINT while processes are started: they would be interrupted before they can say so."""
    with _handlers({signal.SIGINT: signal.SIG_IGN}):
        yield


@contextmanager
def _signals(crew: _Crew) -> Iterator[None]:
    """Signals are passed on."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        crew.send(number)

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    handlers: dict[int, Any] = {signal.SIGTERM: terminate, signal.SIGINT: pass_on}
    if sys.platform == "win32":
        # The console tells every process of its own accord.
        handlers[signal.SIGINT] = signal.SIG_IGN
    else:

        def halt(number: int, frame: FrameType | None) -> None:
            crew.send(signal.SIGSTOP, everyone=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            crew.send(signal.SIGCONT, everyone=True)

        handlers |= {signal.SIGHUP: pass_on, signal.SIGTSTP: halt}
    with _handlers(handlers):
        yield


@contextmanager
def _handlers(handlers: Mapping[int, Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
