"""What pycaffe's nets are called with: a constructor of two forms, and arrays of any length."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UsageError, quoted
from caffecompat.graph.spec import Phase

TRAIN, TEST = 0, 1
PHASES: dict[int, Phase] = {TRAIN: "TRAIN", TEST: "TEST"}
PathLike = str | os.PathLike[str]
Array = npt.NDArray[Any]


def arguments(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Phase, int, list[str], PathLike | None]:
    """Phase, level, stages and weights, in the new form or the old one."""
    names = ["phase", "level", "stages", "weights"]
    if args and isinstance(args[0], (str, os.PathLike)):
        names = ["weights", "phase"]
    if len(args) > len(names):
        raise UsageError(f"Net takes a file and at most {len(names)} more arguments, got {len(args)}")
    values = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in ("phase", "level", "stages", "weights") or name in values:
            raise UsageError(f"Net does not take {quoted(name)} here", hint="Net(file, phase, weights=file)")
        values[name] = value
    if "phase" not in values:
        raise UsageError("Net needs a phase", hint="Net(file, caffe.TEST)")
    phase = PHASES.get(values["phase"])
    if phase is None:
        raise UsageError(f"phase must be caffe.TRAIN (0) or caffe.TEST (1), got {quoted(values['phase'])}")
    stages = values.get("stages")
    return phase, int(values.get("level") or 0), [] if stages is None else list(stages), values.get("weights")


def batches(arrays: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    """The arrays in pieces of a batch, the last one padded with zeros."""
    if not arrays:
        return
    for place in range(0, len(next(iter(arrays.values()))), size):
        batch = {name: np.asarray(array[place : place + size]) for name, array in arrays.items()}
        yield {
            name: np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
            if len(part) < size
            else part
            for name, part in batch.items()
        }
