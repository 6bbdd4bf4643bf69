"""The loss that is shown: averaged over the last iterations."""

from __future__ import annotations

from typing import Any


class SmoothedLoss:
    """A mean over the last `window` losses. (Caffe: Solver::UpdateSmoothedLoss.).

    Attributes:
        value: the mean so far.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.value = 0.0
        self._losses: list[float] = []
        self._count = 0

    def add(self, loss: float) -> float:
        """Take the loss of the next iteration; the new mean."""
        if len(self._losses) < self.window:
            self._losses.append(loss)
            size = len(self._losses)
            self.value = (self.value * (size - 1) + loss) / size
        else:
            place = self._count % self.window
            self.value += (loss - self._losses[place]) / self.window
            self._losses[place] = loss
        self._count += 1
        return self.value

    def clear(self) -> None:
        """Begin anew."""
        self.value, self._count = 0.0, 0
        self._losses.clear()

    def state(self) -> dict[str, Any]:
        """What it holds, as JSON holds it."""
        return {"value": self.value, "losses": list(self._losses), "count": self._count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no such state.
        """
        losses = [float(loss) for loss in state["losses"]]
        if len(losses) > self.window:
            raise ValueError(f"{len(losses)} losses are kept, average_loss is {self.window}")
        self.value, self._losses, self._count = float(state["value"]), losses, int(state["count"])
