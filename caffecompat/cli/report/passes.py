"""Passing batches of a net's own data, once through all of it or as often as is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from caffecompat.cli.progress import Progress
from caffecompat.cli.scoring import Scoring
from caffecompat.data.prefetch import Prefetcher
from caffecompat.data.source import EndOfItemsError
from caffecompat.net import Net

# Where nothing says when the data begins anew, as many as `caffecompat test` takes.
DEFAULT = 50


class Gatherer(Protocol):
    """Takes some blobs of each pass."""

    blobs: tuple[str, ...]

    def add(self, blobs: Mapping[str, Tensor], items: int | None) -> None:
        """Take the blobs of a pass; of its items so many, where not all are to be counted."""


@dataclass
class Passed:
    """What was passed.

    Attributes:
        batches: how many batches.
        items: how many items, 0 if that is not known.
        repeated: how many more the last batch had, which had come before.
    """

    batches: int = 0
    items: int = 0
    repeated: int = 0


def pass_batches(net: Net, scoring: Scoring, gatherers: Sequence[Gatherer], iterations: int | None) -> Passed:
    """Pass batches, and give the outputs to `scoring` and the blobs of each pass to `gatherers`.

    Args:
        net: the net, whose data layers read.
        scoring: takes the outputs.
        gatherers: take what they want.
        iterations: how many batches; None for all of the data once.

    Raises:
        CaffeCompatError: a record cannot be read, or there is none.
    """
    reader = next(iter(net.readers), None)
    most = DEFAULT if iterations is None and reader is None else iterations
    passed = Passed()
    first: str | None = None
    net.keep = {name for one in gatherers for name in one.blobs}
    with Progress(most, "batches") as progress, torch.inference_mode():
        while passed.batches != most:
            try:
                outputs = net()
            except EndOfItemsError:
                if not passed.batches:
                    raise
                break
            keys = _keys(reader)
            first = first or next(iter(keys), None)
            # In the first batch the first item is no repetition.
            start = 0 if passed.batches else 1
            again = keys.index(first, start) if iterations is None and first in keys[start:] else None
            if again == 0:
                break
            scoring.add(outputs)
            for one in gatherers:
                one.add(net.blobs, again)
            passed.batches += 1
            passed.items += len(keys) if again is None else again
            progress.add()
            if again is not None:
                passed.repeated = len(keys) - again
                break
    return passed


def _keys(reader: Prefetcher | None) -> tuple[str, ...]:
    return reader.batch.keys if reader is not None and reader.batch is not None else ()
