"""Order: which item of a data layer's list comes next."""

from __future__ import annotations

from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading, State
from caffecompat.errors import quoted
from caffecompat.graph.spec import LayerSpec


def share(spec: LayerSpec, reading: Reading, count: int) -> tuple[int, int]:
    """Which process takes the items of a layer, of how many: those that train share them.

    Raises:
        CaffeCompatError: there are fewer items than processes.
    """
    if spec.phase == "TEST":
        return 0, 1
    if count < reading.world:
        raise spec.error(f"expected an item for each of {reading.world} processes or more, got {count}")
    return reading.rank, reading.world


class Order:
    """Which item comes next, over and over; with several training processes, those of this one.

    Without a shuffle process r takes the items at places r, r + world, r + 2 world, ... of the endless repetition of
    the list (as BVLC's Data and HDF5Data do). With one, the items of numbers r, r + world, ... are its own, and it
    shuffles them anew in each round, so that processes with different seeds share none (in BVLC each shuffles the
    whole list for itself).

    Args:
        count: how many items there are.
        reading: which process this is, of how many.
        shuffle: the generator that shuffles; None keeps the order of the list.
        start: the place in the (shuffled) list at which to begin.

    Raises:
        CaffeCompatError: there are fewer items than processes.
    """

    def __init__(
        self, count: int, spec: LayerSpec, reading: Reading, shuffle: Draws | None = None, start: int = 0
    ) -> None:
        rank, self._world = share(spec, reading, count)
        self._count = count
        self._shuffle = shuffle
        self._own = range(rank, count, self._world)
        # It is replaced, never changed, so that states can hold it without a copy.
        self._order: list[int] = []
        self._at = (start + rank) % count
        if shuffle is not None:
            self._order = [self._own[place] for place in shuffle.shuffled(len(self._own))]
            self._at = start % len(self._own)

    def peek(self) -> int:
        """The next item, which stays the next."""
        return self._at if self._shuffle is None else self._order[self._at]

    def next(self) -> int:
        """The next item. When the last one of a round is taken, the shuffle of the next is applied to this order."""
        item = self.peek()
        if self._shuffle is None:
            self._at = (self._at + self._world) % self._count
        elif self._at + 1 < len(self._order):
            self._at += 1
        else:
            self._order = [self._order[place] for place in self._shuffle.shuffled(len(self._order))]
            self._at = 0
        return item

    def following(self, item: int) -> int:
        """The item of this process that stands after `item` in the list: what takes the place of a bad one."""
        return self._own[(item // self._world + 1) % len(self._own)]

    def state(self) -> State:
        """What decides the items to come."""
        if self._shuffle is None:
            return {"at": self._at}
        return {"at": self._at, "order": self._order, "shuffle": self._shuffle.state()}

    def restore(self, state: State) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no state of such an order.
        """
        at, order = state["at"], state.get("order", [])
        if self._shuffle is not None:
            if sorted(order) != list(self._own):
                raise ValueError("it holds the order of another list, or of another of several processes")
            self._shuffle.restore(state["shuffle"])
            self._order = list(order)
        if type(at) is not int or not 0 <= at < (self._count if self._shuffle is None else len(self._own)):
            raise ValueError(f"a place of {quoted(at)} in a list of {self._count}")
        self._at = at
