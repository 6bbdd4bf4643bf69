"""Group: the processes that train together, or the one that trains alone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from caffecompat.net import Net, Outputs


class Group:
    """One process that trains alone; `distributed.Workers` overrides what several do.

    Attributes:
        rank: which of the processes this is; 0 tests, logs and writes snapshots.
        world: how many there are.
        local_rank: which of the processes of this machine it is.
    """

    rank = 0
    world = 1
    local_rank = 0

    def start(self, net: Net) -> None:
        """Give all processes the parameters of the first; called once, before the first pass.

        Raises:
            CaffeCompatError: another process has another net.
        """

    def run(self, net: Net) -> tuple[Tensor, Outputs]:
        """One pass forward; the loss, whose gradients are averaged over the processes, and the outputs."""
        outputs = net()
        assert isinstance(outputs, Outputs)
        return net.loss(outputs), outputs

    def last(self, last: bool) -> AbstractContextManager[None]:
        """Around each pass of an iteration: gradients are averaged in the last one."""
        return nullcontext()

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; the same number, to the last bit, in all of them."""
        return value

    def same(self, value: int) -> int:
        """The number that the first process has. The others wait for it, however long it takes."""
        return value

    def greatest(self, value: int) -> int:
        """The greatest of the numbers that the processes have."""
        return value

    def tell(self, text: str) -> str:
        """The text that the first process has, of at most 8 KiB."""
        return text

    def together(self) -> AbstractContextManager[None]:
        """Around what the processes do together: where one of them fails, all end.

        Raises:
            WorkerError: another process has ended.
        """
        return nullcontext()

    def check(self) -> None:
        """Asked now and then while one process works and the others wait.

        Raises:
            WorkerError: another process has ended.
        """

    def close(self) -> None:
        """Part from the others."""
