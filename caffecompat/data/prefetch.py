"""Prefetching: threads that load batches ahead of the net that takes them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from caffecompat.data.source import Batch, Source, State, Ticket

# Batches that are ready or being made, beyond one for each thread.
AHEAD = 2


class Prefetcher:
    """The batches of a source, in order, loaded ahead by threads.

    Attributes:
        source: what is read.
        batch: the batch handed out last, or None.
        skipped: what was wrong with each record that was passed over so far.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.batch: Batch | None = None
        self.skipped: list[str] = []
        self._workers = min(source.reading.workers, 1) if source.sequential else source.reading.workers
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: deque[tuple[Future[Batch], State]] = deque()
        self._state = source.state()

    def next(self) -> tuple[Tensor, ...]:
        """The tops of the next batch, float32 on the CPU.

        Raises:
            CaffeCompatError: an item of it cannot be read.
        """
        if self._workers == 0:
            batch = self.source.load(self.source.tickets())
            self._state = self.source.state()
        else:
            self._fill()
            future, state = self._ahead.popleft()
            batch = future.result()
            self._state = state
            self._fill()
        self.batch = batch
        self.skipped += batch.skipped
        tops = tuple(torch.from_numpy(top) for top in batch.tops)
        return tuple(top.pin_memory() for top in tops) if self.source.reading.pin else tops

    def _fill(self) -> None:
        """Have threads begin what is to be ahead."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="caffecompat-data")
        while len(self._ahead) < self._workers + AHEAD:
            tickets: tuple[Ticket, ...] = self.source.tickets()
            self._ahead.append((self._pool.submit(self.source.load, tickets), self.source.state()))

    def state(self) -> State:
        """What decides the batches after the one handed out last."""
        return self._state

    def restore(self, state: State) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no state of this source.
        """
        self._drop()
        self.source.restore(state)
        self._state = self.source.state()

    def close(self) -> None:
        """Stop the threads and let go of what the source holds open."""
        self._drop()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        self.source.close()

    def _drop(self) -> None:
        """Forget what is ahead."""
        for future, _ in self._ahead:
            future.cancel()
        for future, _ in self._ahead:
            if not future.cancelled():
                future.exception()
        self._ahead.clear()
