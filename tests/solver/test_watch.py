"""Watch: what processes hear of each other's end. Here all are of one process, which must not end."""

from __future__ import annotations

import signal
import socket
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


def test_a_request_to_terminate_waits_for_the_reason(watches, ended, monkeypatch):
    monkeypatch.setattr(module, "EXPLAINED", 0.3)
    before = signal.getsignal(signal.SIGTERM)
    first, second, _ = watches()
    # Of the watches of a process only the first catches the signal.
    assert signal.getsignal(signal.SIGTERM) is not before
    vanish(second)
    assert first.within(5)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.6)
    assert ended == []


def test_a_request_to_terminate_without_a_reason(watches, ended, monkeypatch):
    monkeypatch.setattr(module, "EXPLAINED", 0.2)
    before = signal.getsignal(signal.SIGTERM)
    first, *others = watches()
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.6)
    assert ended == [143]
    for watch in (first, *others):
        watch.close(left=True)
    assert signal.getsignal(signal.SIGTERM) is before
