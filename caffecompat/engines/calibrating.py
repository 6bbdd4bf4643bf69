"""What int8 is calibrated and measured with: pictures of a folder, a list or a database, or inputs as they are."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.engines.accuracy import counted
from caffecompat.engines.typical import Arrays, Sample, Truth, Typical, open_typical
from caffecompat.errors import UsageError, quoted
from caffecompat.graph.spec import Shape

# Of more items so many give the ranges, which change little after some hundred, and so many are measured.
MAX_USED, MAX_HELD_OUT = 300, 400
# The part of all that is held out.
HELD_OUT = 4


class Batch(NamedTuple):
    """What a net is fed with.

    Attributes:
        inputs: all inputs by name, as large as the net was made for.
        truths: what is known of each item; what lies behind them fills the batch up, and does not count.
    """

    inputs: dict[str, Tensor]
    truths: list[Truth]


class Calibration:
    """Inputs such as a net will get: some give the ranges of its values, by others it is measured what int8 costs.

    Which are which is drawn at random, the same way each time. Of one item alone, both are done with it, which
    `Accuracy.took_part` says.

    Attributes:
        source: where they come from, in words.
        used: the items of which ranges are taken.
        held_out: those by which int8 is measured; none of `used`, if there are several. None at all: not measured.
        classes: of how many folders the order says the classes; None if the classes are stated, or not known.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        preprocessing: Preprocessing | None = None,
        *,
        limit: int = MAX_USED,
        held_out: int | None = None,
        labels: Sequence[int] | None = None,
    ) -> None:
        """Look what there is; pictures are read when they are needed.

        Args:
            source: a folder of pictures or of folders of classes, a list of pictures, the folder of an LMDB or LevelDB
                of Datums or AnnotatedDatums; or inputs by name, all items stacked; or a list of such batches.
            preprocessing: how pictures become the net's input.
            limit: at most so many items give the ranges.
            held_out: so many are measured; 0: none. A quarter of all, at most 400, if not given.
            labels: the class of each item, where `source` holds inputs.

        Raises:
            UsageError: there is nothing to calibrate with, or inputs do not fit together; `held_out` leaves none to
                calibrate with, or a number is out of range.
            FormatError: the folder cannot be read.
        """
        self._record = preprocessing or Preprocessing()
        self._items: Typical
        if isinstance(source, (str, os.PathLike)):
            if labels is not None:
                raise UsageError("labels go with inputs; files and databases say their own")
            self._items = open_typical(Path(source), self._record.labels)
            self.source = str(source)
        else:
            self._items = Arrays([source] if isinstance(source, Mapping) else source, labels)
            self.source = "the inputs given"
        count = len(self._items)
        if not count:
            raise UsageError("there is nothing to calibrate with", hint="give some dozen typical pictures")
        if limit < 1:
            raise UsageError(f"limit: expected 1 or more items to take ranges of, got {limit}")
        self.classes = self._items.classes
        order = np.random.default_rng(0).permutation(count)
        share = _share(count, held_out)
        self.held_out: list[int] = sorted(order[:share].tolist())
        self.used: list[int] = sorted(order[share:][:limit].tolist()) or self.held_out

    def fitted(self, shapes: Mapping[str, Shape]) -> Calibration:
        """The same, with pictures as large as the input they become.

        Args:
            shapes: those of the net's inputs, by name.
        """
        shape = shapes.get(self._record.input, ())
        if len(shape) != 4 or self._record.net_size == shape[2:]:
            return self
        found = copy.copy(self)
        found._record = replace(self._record, size=(shape[2], shape[3]), crop=None, resize="warp")
        return found

    def stamp(self) -> str:
        """Another text if other items would be taken, or other inputs made of them.

        Raises:
            FormatError: a file cannot be read.
        """
        return f"{self._items.stamp()} {len(self.used)} {len(self.held_out)} {self._record.to_json()}"

    def batches(self, items: Sequence[int], example: Mapping[str, Tensor]) -> Iterator[Batch]:
        """The inputs of a net for some items, as many at once as it was made for.

        Args:
            items: some of `used` or `held_out`.
            example: the net's inputs; what is not calibrated with is taken from it.

        Raises:
            UsageError: the net has no such input, or it is of another size.
            CaffeCompatError: an item cannot be read.
        """
        names: list[str] = []
        size = 1
        samples: list[Sample] = []
        for number, item in enumerate(items, 1):
            samples.append(self._items.read(item, self._record))
            if not names:
                names = self._named(samples[0], example)
                size = max(1, len(example[names[0]]))
            if len(samples) == size or number == len(items):
                filled = samples + [samples[0]] * (size - len(samples))
                stacked = {name: torch.cat([sample.inputs[name] for sample in filled]) for name in names}
                yield Batch({**example, **stacked}, [sample.truth for sample in samples])
                samples = []

    def _named(self, sample: Sample, example: Mapping[str, Tensor]) -> list[str]:
        """The inputs of the net that are calibrated with."""
        names = [name for name in example if name in sample.inputs]
        if not names:
            raise UsageError(f"{self.source} has none of the net's inputs: {', '.join(example) or 'none'}")
        for name in names:
            got, wanted = tuple(sample.inputs[name].shape[1:]), tuple(example[name].shape[1:])
            if got != wanted:
                raise UsageError(
                    f"{self.source}: expected items of shape {wanted} for input {quoted(name)}, got {got}",
                    hint="an example of another size makes the engine for it",
                )
        return names


def _share(count: int, asked: int | None) -> int:
    """How many of all items are held out.

    Raises:
        UsageError: as many are asked for as cannot be.
    """
    if asked is None:
        return max(1, min(count // HELD_OUT, MAX_HELD_OUT))
    if not 0 <= asked < count:
        raise UsageError(
            f"held_out: expected 0 to {count - 1} of {counted(count, 'item')}, got {asked}",
            hint="one at least is calibrated with; 0 measures nothing",
        )
    return asked
