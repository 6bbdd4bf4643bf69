"""Scalars of a run for TensorBoard."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.solver.listeners import Listener, Score, Step, Test

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

# A rate of every single iteration would be noise.
PACE = 1.0


class TensorBoard(Listener):
    """Writes scalars: `train/loss`, `train/smoothed_loss`, `train/rate`, `train/images_per_second`, `test/...`.

    A test net's outputs are `test/NAME`, those of further test nets `test_1/NAME`; an output of several values is
    `test/NAME/0`, `test/NAME/1`, ... The step is the iteration.

    Args:
        folder: where the event files go; made if it is not there.

    Raises:
        UnsupportedError: the package `tensorboard` is not installed.
        CaffeCompatError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            hint = "pip install 'caffecompat[tensorboard]'"
            raise UnsupportedError("scalars for TensorBoard need the package tensorboard", hint=hint) from error
        try:
            self._writer: Any = SummaryWriter(os.fspath(folder))
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=folder) from error
        self._images = 0
        self._since = time.monotonic()

    def stepped(self, solver: Solver, step: Step) -> None:
        """Write what an iteration gave."""
        self._scalar("train/loss", step.loss, step.iteration)
        self._scalar("train/smoothed_loss", step.smoothed_loss, step.iteration)
        self._scalar("train/rate", step.rate, step.iteration)
        self._images += step.images
        now = time.monotonic()
        if self._images and now - self._since >= PACE:
            self._scalar("train/images_per_second", self._images / (now - self._since), step.iteration)
            self._images, self._since = 0, now

    def tested(self, solver: Solver, test: Test) -> None:
        """Write what a test net gave."""
        group = f"test_{test.net}" if test.net else "test"
        for name, score in zip(_names(test.scores), test.scores, strict=True):
            self._scalar(f"{group}/{name}", score.value, test.iteration)
        if test.loss is not None:
            self._scalar(f"{group}/total_loss", test.loss, test.iteration)
        self._writer.flush()
        self._images, self._since = 0, time.monotonic()

    def finished(self, solver: Solver) -> None:
        """Write what is still in memory."""
        self._writer.close()

    def _scalar(self, name: str, value: float, iteration: int) -> None:
        self._writer.add_scalar(name, value, iteration)


def _names(scores: tuple[Score, ...]) -> list[str]:
    """A name for each score: the blob's, with its place in the blob if that has several values."""
    blobs = [score.name for score in scores]
    seen: dict[str, int] = {}
    names = []
    for blob in blobs:
        place = seen.get(blob, 0)
        seen[blob] = place + 1
        names.append(f"{blob}/{place}" if blobs.count(blob) > 1 else blob)
    return names
