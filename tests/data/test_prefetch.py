"""The prefetcher, with a source whose batches tell when and where they were made."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from caffecompat.data.draws import Draws
from caffecompat.data.prefetch import AHEAD, Prefetcher
from caffecompat.data.source import Batch, Reading, Source, Ticket
from caffecompat.errors import FormatError
from tests.data.records import layer

SPEC = layer('layer { name: "d" type: "Data" top: "data" data_param { source: "x" batch_size: 1 } }')


class Counting(Source):
    """Batch n holds n, and what was drawn for it; later batches are made faster than earlier ones."""

    def __init__(self, workers: int = 2, bad: int = -1, slow: float = 0.0) -> None:
        super().__init__(SPEC, Reading(workers=workers))
        self.bad, self.slow = bad, slow
        self.number, self.draws = 0, Draws(3)
        self.ticket_threads: set[int] = set()
        self.load_threads: set[int] = set()
        self.closed = 0
        self.active = self.most_active = 0
        self._lock = threading.Lock()

    def shapes(self):
        return ((2,),)

    def tickets(self):
        self.ticket_threads.add(threading.get_ident())
        self.number += 1
        return (Ticket(self.number - 1, (self.draws(),)),)

    def load(self, tickets):
        with self._lock:
            self.load_threads.add(threading.get_ident())
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        number = tickets[0].item
        time.sleep(self.slow / (number % 3 + 1))
        with self._lock:
            self.active -= 1
        if number == self.bad:
            raise FormatError(f"item {number} is bad")
        top = np.array([number, tickets[0].draws[0] % 1000], np.float32)
        return Batch((top,), (f"key {number}",), (f"skipped before {number}",) if number % 4 == 3 else ())

    def state(self):
        return {"number": self.number, "draws": self.draws.state()}

    def restore(self, state):
        self.number = state["number"]
        self.draws.restore(state["draws"])

    def close(self):
        self.closed += 1


def values(reader: Prefetcher, count: int) -> list[list[float]]:
    return [reader.next()[0].tolist() for _ in range(count)]


def expected(count: int) -> list[list[float]]:
    draws = Draws(3)
    return [[number, draws() % 1000] for number in range(count)]


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_come_in_order(workers):
    reader = Prefetcher(Counting(workers, slow=0.01))
    assert values(reader, 12) == expected(12)
    assert reader.batch is not None
    assert reader.batch.keys == ("key 11",)
    assert reader.skipped == ["skipped before 3", "skipped before 7", "skipped before 11"]
    reader.close()


def test_tickets_are_made_by_the_one_who_asks_and_batches_by_threads():
    source = Counting(3, slow=0.01)
    reader = Prefetcher(source)
    values(reader, 10)
    assert source.ticket_threads == {threading.get_ident()}
    assert threading.get_ident() not in source.load_threads
    assert 2 <= source.most_active <= 3
    reader.close()


def test_a_source_that_must_be_read_in_order_has_one_thread():
    source = Counting(4, slow=0.005)
    source.sequential = True
    reader = Prefetcher(source)
    assert values(reader, 8) == expected(8)
    assert source.most_active == 1
    reader.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_so_many_are_ahead_and_no_more(workers):
    source = Counting(workers)
    reader = Prefetcher(source)
    assert source.number == 0
    reader.next()
    assert source.number == 1 + workers + AHEAD
    values(reader, 5)
    assert source.number == 6 + workers + AHEAD
    reader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_is_that_of_what_was_handed_out(workers):
    reader = Prefetcher(Counting(workers))
    first = reader.state()
    values(reader, 5)
    state = reader.state()
    assert state["number"] == 5
    values(reader, 4)
    reader.restore(state)
    assert reader.state() == state
    assert values(reader, 3) == expected(8)[5:]
    reader.restore(first)
    assert values(reader, 3) == expected(3)
    reader.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_place(workers):
    reader = Prefetcher(Counting(workers, bad=3))
    assert values(reader, 3) == expected(3)
    with pytest.raises(FormatError, match="item 3 is bad"):
        reader.next()
    reader.close()


def test_closing_ends_the_threads():
    before = threading.active_count()
    source = Counting(3, bad=4, slow=0.01)
    reader = Prefetcher(source)
    values(reader, 2)
    assert threading.active_count() > before
    reader.close()
    assert threading.active_count() == before
    assert source.closed == 1
    assert source.active == 0
