"""What the tests of sources share: nets that read, their batches, and the checks that hold for every source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from caffecompat import Net
from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph

Tops = list[dict[str, np.ndarray]]


class Twister:
    """boost::mt19937 and caffe::shuffle, independent of `Draws`: what models of the layers draw from."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937()
        self._bits._legacy_seeding(seed)

    def __call__(self) -> int:
        return int(self._bits.random_raw())

    def draws(self, count: int) -> list[int]:
        return [self() for _ in range(count)]

    def shuffle(self, items: list[Any]) -> None:
        for last in range(len(items) - 1, 0, -1):
            bucket = (2**32 - 1) // (last + 1) + ((2**32 - 1) % (last + 1) == last)
            other = self() // bucket
            while other > last:
                other = self() // bucket
            items[last], items[other] = items[other], items[last]


@contextmanager
def reading_net(text: str, root: Any, phase: str = "TRAIN", seed: int = 7, **options: Any) -> Iterator[Net]:
    """A net that reads below `root`; options are those of `Reading`."""
    options = {"workers": 0, **options}
    net = Net(build_graph(parse_net(text), phase), reading=Reading(root=root, draws=Draws(seed), **options))
    try:
        yield net
    finally:
        net.close()


def passes(net: Net, count: int) -> Tops:
    """The tops of so many passes."""
    return [{name: top.numpy().copy() for name, top in net().items()} for _ in range(count)]


def keys_of(net: Net, count: int) -> list[str]:
    """What the items of so many passes are called."""
    keys: list[str] = []
    for _ in range(count):
        net()
        keys += net.readers[0].batch.keys
    return keys


def assert_same(some: Tops, others: Tops) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def check_workers(text: str, root: Any, count: int = 5, **options: Any) -> Tops:
    """However many threads read, the batches are the same; returns them."""
    with reading_net(text, root, **options) as net:
        expected = passes(net, count)
    for workers in (1, 3):
        with reading_net(text, root, workers=workers, **options) as net:
            assert_same(passes(net, count), expected)
    return expected


def check_restore(text: str, root: Any, before: int = 3, after: int = 6, **options: Any) -> None:
    """A state, kept as JSON, goes on as the run it was taken from, in a net with another seed too."""
    with reading_net(text, root, workers=2, **options) as net:
        passes(net, before)
        state = json.loads(json.dumps(net.readers[0].state()))
        expected = passes(net, after)
        net.readers[0].restore(state)
        assert_same(passes(net, after), expected)
    with reading_net(text, root, workers=0, seed=99, **options) as net:
        passes(net, 1)
        net.readers[0].restore(state)
        assert_same(passes(net, after), expected)


def check_no_state(text: str, root: Any, **options: Any) -> None:
    """What is no state of the source is a ValueError."""
    with reading_net(text, root, **options) as net:
        good = net.readers[0].state()
        bad: list[Any] = [{}, [], None, 3, dict.fromkeys(good), {name: {} for name in good}]
        for state in bad:
            try:
                net.readers[0].source.restore(state)
            except ValueError:
                continue
            raise AssertionError(f"{state} was taken for a state")


def check_ranks(text: str, root: Any, items: set[str], per_rank: int, world: int = 3, **options: Any) -> None:
    """The processes, each with a seed of its own, take disjoint items in a round, and all of them together."""
    taken = []
    for rank in range(world):
        with reading_net(text, root, seed=7 + rank, rank=rank, world=world, **options) as net:
            taken.append(set(keys_of(net, per_rank)))
    assert sum(map(len, taken)) == len(items)
    assert set().union(*taken) == items
