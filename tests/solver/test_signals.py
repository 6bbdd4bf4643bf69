from __future__ import annotations

import signal
import threading

import pytest

from caffecompat.solver.signals import Signals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


def send(number):
    # To this very thread: one to the process may come after the call, if a library's thread takes it.
    signal.raise_signal(number)


@pytest.mark.parametrize("effect", ["stop", "snapshot", "none"])
@pytest.mark.parametrize("name", ["sigint", "sighup"])
def test_each_signal_asks_once_for_its_effect(name, effect):
    number = getattr(signal, name.upper())
    with Signals(**{name: effect}) as signals:
        assert signals.action() == "none"
        send(number)
        assert signals.action() == effect
        assert signals.action() == "none"


def test_caffes_defaults_and_its_order():
    with Signals() as signals:
        send(signal.SIGINT)
        send(signal.SIGHUP)
        assert [signals.action() for _ in range(3)] == ["snapshot", "stop", "none"]


def test_the_handlers_of_before_come_back():
    def mine(number, frame):
        raise AssertionError("not to be called")

    before = signal.signal(signal.SIGHUP, mine)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGHUP) is not mine
        assert signal.getsignal(signal.SIGHUP) is mine
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("first", [signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)])
def test_a_second_interrupt_ends_at_once(first):
    with Signals(sighup="stop"):
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_interrupts_that_mean_no_stop_never_end():
    with Signals(sigint="snapshot") as signals:
        for _ in range(3):
            send(signal.SIGINT)
            assert signals.action() == "snapshot"


def test_what_was_heard_is_told_at_once():
    heard = []
    with Signals(sighup="none", heard=heard.append):
        send(signal.SIGHUP)
        send(signal.SIGINT)
    assert heard == ["stop"]


def test_another_thread_catches_nothing():
    before = signal.getsignal(signal.SIGINT)
    found = []

    def enter():
        with Signals() as signals:
            found.append((signals.action(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [("none", before)]
