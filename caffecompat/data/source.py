"""What fills the tops of a data layer: sources, and what decides each of their items.

A source does two things. `tickets` decides, in order and quickly, what the next batch is made of: which items, and
which random numbers were drawn for each. `load` makes the batch of such tickets and depends on nothing else, so that
any number of threads may load at once and the result is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.data.draws import Draws
from caffecompat.errors import CaffeCompatError
from caffecompat.graph.spec import LayerSpec, Shape

Floats = npt.NDArray[np.float32]
# As JSON holds it: dictionaries, lists, numbers, texts.
State = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """How the data layers of a net read.

    Attributes:
        root: the folder that relative paths start from; None is the working directory, as in Caffe.
        draws: where data layers take their seeds from, in the order of the layers.
        workers: how many threads load batches ahead; 0 loads each when it is asked for.
        rank: which of several training processes this is.
        world: how many training processes share the items; each takes every `world`-th of them.
        skip_bad_records: an item that cannot be read is replaced by the next one that can, and reported.
        pin: hand out tensors in pinned memory, for a GPU.
        results: layers that state files of results (DetectionOutput) write them.
        optional_results: where a file that these need is not there, a warning says so and none are written.
    """

    root: Path | None = None
    draws: Draws = field(default_factory=Draws)
    workers: int = 2
    rank: int = 0
    world: int = 1
    skip_bad_records: bool = False
    pin: bool = False
    results: bool = True
    optional_results: bool = False


@dataclass(frozen=True)
class Ticket:
    """One item of a batch: its number in the source, and the random numbers drawn for it."""

    item: int
    draws: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """The tops of a data layer for one pass.

    Attributes:
        tops: float32, one for each top of the layer.
        keys: what each item is called: its key in the database, its file.
        skipped: for each bad record that was passed over, what was wrong, its key included.
        items: the number of each item in the source, where the source can show what is stored of it.
    """

    tops: tuple[Floats, ...]
    keys: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    items: tuple[int, ...] = ()


class EndOfItemsError(CaffeCompatError):
    """A source that does not begin again, as a video, has no more items for a batch."""


class Source(ABC):
    """The items of one data layer.

    Args:
        spec: the layer.
        reading: how to read.

    Attributes:
        sequential: batches must be loaded one after the other (a video).
    """

    sequential = False

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        self.spec = spec
        self.reading = reading

    @abstractmethod
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of the tops of the first batch."""

    @abstractmethod
    def tickets(self) -> tuple[Ticket, ...]:
        """Those of the next batch. Called by one thread, in order."""

    @abstractmethod
    def load(self, tickets: Sequence[Ticket]) -> Batch:
        """The batch of these tickets. Called by several threads at once; depends on nothing but the tickets.

        Raises:
            CaffeCompatError: an item cannot be read; it names the item and where it was to be found.
        """

    @abstractmethod
    def state(self) -> State:
        """What decides the tickets to come."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no state of this source.
        """

    def count(self) -> int | None:
        """How many items there are, where that is known without reading them."""
        return None

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Let go of files and databases."""
