"""Watch: what processes hear of each other's end. Most are of one process here, which must not end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import pytest

from caffecompat.errors import CaffeCompatError, WorkerError
from caffecompat.solver import watch as module
from caffecompat.solver.watch import Watch


@pytest.fixture
def ended(monkeypatch):
    """The statuses with which the process would have been ended."""
    statuses = []
    monkeypatch.setattr(module.os, "_exit", statuses.append)
    monkeypatch.setattr(module.faulthandler, "dump_traceback_later", lambda *args, **options: None)
    return statuses


@pytest.fixture
def watches(ended):
    """Three processes: the first has a connection to each other."""
    made = []

    def make(quiet=False):
        pairs = [socket.socketpair() for _ in range(2)]
        made.append(Watch(0, {rank + 1: pair[0] for rank, pair in enumerate(pairs)}, quiet))
        made.extend(Watch(rank + 1, {0: pair[1]}, quiet) for rank, pair in enumerate(pairs))
        return made

    yield make
    for watch in made:
        watch.close(left=True)


def vanish(watch):
    """As if the process were killed: its connections are closed by the system."""
    watch._over = True
    for link in watch._links.values():
        link.shutdown(socket.SHUT_RDWR)


def test_one_that_vanishes_is_named_to_all(watches):
    first, second, third = watches()
    vanish(second)
    for watch in (first, third):
        assert watch.within(5).rank == 1
        error = watch.error(watch.lost)
        assert isinstance(error, WorkerError)
        assert str(error).startswith("worker 1 ended, and the others with it")
        # The first tells of it.
        assert error.told == (watch is third)


def test_of_the_first_the_second_tells(watches):
    first, second, third = watches()
    vanish(first)
    assert [watch.error(watch.within(5)).told for watch in (second, third)] == [False, True]
    assert second.lost.rank == third.lost.rank == 0


def test_nobody_tells_where_the_one_who_started_them_does(watches):
    first, second, third = watches(quiet=True)
    vanish(second)
    assert [watch.error(watch.within(5)).told for watch in (first, third)] == [True, True]


def test_an_error_is_passed_on(watches):
    first, second, third = watches(quiet=True)
    assert second.fail(CaffeCompatError("record 7 is broken", hint="mend it"))
    for watch in (first, third):
        assert watch.within(5).cause == "record 7 is broken\n  mend it"
        error = watch.error(watch.lost)
        assert (error.message, error.hint) == ("worker 1: record 7 is broken", "mend it")
        assert error.told == (watch is third)
    assert first.causes(0) == {1: "record 7 is broken\n  mend it"}


def test_the_first_tells_of_its_own_error_itself(watches):
    first, second, third = watches()
    assert not first.fail(CaffeCompatError("broken"))
    assert [watch.error(watch.within(5)).told for watch in (second, third)] == [True, True]
    # The others come to the same error.
    vanish(first)
    time.sleep(0.1)
    assert second.fail(CaffeCompatError("broken"))


def test_one_that_has_done_its_part_may_leave(watches):
    first, second, third = watches()
    second.close(left=True)
    assert first.within(0.3) is None
    assert first.left == {1}
    third.close(left=False)
    assert first.within(5).rank == 2


def test_a_process_that_does_not_notice_is_ended_with_the_reason(watches, ended, monkeypatch, capfd):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    first, second, third = watches()
    third.error(module.Lost(1))
    vanish(second)
    assert first.within(5)
    time.sleep(0.6)
    # The third one has taken the error up by itself.
    assert ended == [1]
    assert capfd.readouterr().err.startswith("Error: worker 1 ended, and the others with it\n")


# --- requests to terminate, in processes of their own, which they end

TERMINATED = """
import signal, socket, threading, time
from caffecompat.solver import watch as module

module.PATIENCE = {patience}
module.EXPLAINED = 0.3
pairs = [socket.socketpair() for _ in range(2)]
watches = [module.Watch(0, {{1: pairs[0][0], 2: pairs[1][0]}}), module.Watch(1, {{0: pairs[0][1]}})]
caught = signal.getsignal(signal.SIGTERM)
assert caught is not signal.SIG_DFL
{happens}
signal.raise_signal(signal.SIGTERM)
time.sleep(1)
for watch in watches:
    watch.close(left=True)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
print("went on")
"""
VANISHES = "watches[1]._over = True; pairs[0][1].shutdown(socket.SHUT_RDWR); assert watches[0].within(5)"


def terminated(happens, patience):
    """A process that trains with others and is asked to terminate."""
    command = [sys.executable, "-c", TERMINATED.format(happens=happens, patience=patience)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_request_to_terminate_waits_for_the_reason():
    done = terminated(VANISHES, patience=0.6)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("Error: worker 1 ended, and the others with it\n")


def test_a_request_to_terminate_once_the_reason_is_known_ends_nothing():
    done = terminated(VANISHES, patience=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_a_request_to_terminate_without_a_reason():
    done = terminated("", patience=20)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
