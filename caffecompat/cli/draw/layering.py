"""In which rank a box stands, and where in it: longest paths, and few crossings by barycentres (Sugiyama's method).

A blob that passes ranks on its way takes a place in each, one for all that read it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.cli.draw.nodes import Node, Wire
from caffecompat.errors import UnsupportedError

# Boxes and places of blobs between them, and ways from one to another; what is more is not drawn.
MOST_PLACES = 60_000
SWEEPS = 6
# Of drawings with more ways than these only barycentres are taken, and crossings not counted.
MOST_COUNTED = 20_000


@dataclass
class Layering:
    """Places in ranks.

    Attributes:
        ranks: from the top, each the places in it from the left: numbers of boxes, and beyond them of passing blobs.
        rank: of each place its rank.
        wire: of each passing place the index of its wire, by its number less the number of boxes.
        ways: from a place to one in the next rank, with the index of the wire.
    """

    ranks: list[list[int]]
    rank: list[int]
    wire: list[int]
    ways: list[tuple[int, int, int]]


def layering(nodes: Sequence[Node], wires: Sequence[Wire]) -> Layering:
    """Ranks, and the order in each.

    Raises:
        UnsupportedError: there are more than MOST_PLACES places or ways.
    """
    rank = _ranks(nodes, wires)
    passing: list[int] = []
    ways: list[tuple[int, int, int]] = []
    for index, wire in enumerate(wires):
        if not wire.targets:
            continue
        last, here = max(rank[target] for target in wire.targets), wire.source
        if max(len(rank), len(ways) + len(wire.targets)) + last - rank[wire.source] > MOST_PLACES:
            raise UnsupportedError(
                f"the net has too many layers and blobs to be drawn: more than {MOST_PLACES:,} places would be needed",
                hint="`caffecompat inspect` shows it as a table",
            )
        readers = defaultdict(list)
        for target in wire.targets:
            readers[rank[target]].append(target)
        for level in range(rank[wire.source] + 1, last + 1):
            ways += [(here, target, index) for target in readers[level]]
            if level < last:
                ways.append((here, len(rank), index))
                here = len(rank)
                rank.append(level)
                passing.append(index)
    ranks: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for place, level in enumerate(rank):
        ranks[level].append(place)
    made = Layering(ranks, rank, passing, ways)
    _order(made)
    return made


def _ranks(nodes: Sequence[Node], wires: Sequence[Wire]) -> list[int]:
    """The longest way from a source; sources themselves stand right above what reads them first."""
    rank = [0] * len(nodes)
    made = defaultdict(list)
    for wire in wires:
        made[wire.source].append(wire)
    for index in range(len(nodes)):
        for wire in made[index]:
            for target in wire.targets:
                rank[target] = max(rank[target], rank[index] + 1)
    for index, node in enumerate(nodes):
        readers = [rank[target] for wire in made[index] for target in wire.targets]
        if not node.bottoms and readers:
            rank[index] = max(min(readers) - 1, 0)
    return rank


def _order(made: Layering) -> None:
    """Put the places of each rank where their neighbours are, and keep the order with the fewest crossings."""
    above, below = _neighbours(made)
    counted = len(made.ways) <= MOST_COUNTED
    fewest, best = (_crossings(made, below), [list(rank) for rank in made.ranks]) if counted else (0, [])
    for sweep in range(SWEEPS if counted else 2):
        down = sweep % 2 == 0
        levels = range(1, len(made.ranks)) if down else range(len(made.ranks) - 2, -1, -1)
        for level in levels:
            neighbours = above if down else below
            position = {place: index for index, place in enumerate(made.ranks[level - 1 if down else level + 1])}
            keys = {}
            for index, place in enumerate(made.ranks[level]):
                near = [position[other] for other in neighbours[place]]
                keys[place] = sum(near) / len(near) if near else index
            made.ranks[level].sort(key=keys.__getitem__)
        if counted:
            crossings = _crossings(made, below)
            if crossings < fewest:
                fewest, best = crossings, [list(rank) for rank in made.ranks]
    if counted:
        made.ranks[:] = best


def _neighbours(made: Layering) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in made.rank]
    below: list[list[int]] = [[] for _ in made.rank]
    for start, end, _ in made.ways:
        above[end].append(start)
        below[start].append(end)
    return above, below


def _crossings(made: Layering, below: Sequence[Sequence[int]]) -> int:
    """How many pairs of ways between neighbouring ranks cross."""
    total = 0
    for upper, lower in zip(made.ranks, made.ranks[1:], strict=False):
        position = {place: index for index, place in enumerate(lower)}
        ends: list[int] = []
        for place in upper:
            own = sorted(position[other] for other in below[place])
            total += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
    return total
