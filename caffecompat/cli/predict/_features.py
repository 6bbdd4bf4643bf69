"""Blobs by name for pictures, and arrays as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.cli.predict._session import Arrays, Session
from caffecompat.data.images import Item
from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted
from caffecompat.formats.arrays import read_arrays
from caffecompat.net import Net

Array = npt.NDArray[Any]
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})


def keep(net: Net, blobs: Sequence[str], *, every: bool = False) -> None:
    """Let the net keep these blobs of a pass.

    Args:
        net: the net.
        blobs: the names.
        every: the name "all" means all blobs.

    Raises:
        UsageError: a name that is no blob of the net.
    """
    whole = every and "all" in blobs
    known = net.graph.last
    for blob in blobs:
        if blob not in known and not (whole and blob == "all"):
            raise UsageError(f"the net has no blob {quoted(blob)}", hint=did_you_mean(blob, known))
    net.keep = "all" if whole else frozenset(blobs)


def features(session: Session, items: Sequence[Item], blobs: Sequence[str], pool: str) -> list[Arrays]:
    """The values of the blobs for each picture of a batch.

    Args:
        session: a net that keeps the blobs.
        items: the pictures.
        blobs: the names.
        pool: "none", or "avg" or "max" over height and width.

    Raises:
        ShapeError: a blob has no row for each picture, or nothing to pool.
    """
    found = session.pictures(session.preprocessing.apply([item.image for item in items]))
    values = {blob: pooled(blob, found[blob], pool) for blob in blobs}
    for blob, array in values.items():
        if array.shape[:1] != (len(items),):
            hint = "give --batch 1, or see `run`"
            raise ShapeError(f'blob "{blob}" has shape {array.shape} for {len(items)} images', hint=hint)
    return [{blob: array[index] for blob, array in values.items()} for index in range(len(items))]


def pooled(blob: str, array: Array, pool: str) -> Array:
    """The array, or its "avg" or "max" over height and width, (N, C).

    Raises:
        ShapeError: it has no channels.
    """
    if pool == "none":
        return array
    if array.ndim < 2:
        raise ShapeError(f'blob "{blob}" has shape {array.shape}: there is nothing to pool')
    flat = array.reshape(*array.shape[:2], -1)
    return np.asarray(flat.mean(axis=2) if pool == "avg" else flat.max(axis=2))


def stack(blob: str, arrays: Sequence[Array]) -> Array:
    """One array for all pictures.

    Raises:
        ShapeError: they are not equally large.
    """
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ShapeError(
            f'blob "{blob}" comes out in {len(shapes)} shapes: {sorted(shapes)}', hint="see --pool, --size"
        )
    return np.stack(arrays)


def read_inputs(path: Path, inputs: Sequence[str]) -> Arrays:
    """The inputs in a `.npy` (of the net's first input) or `.npz` file (by the inputs' names), as float32.

    Raises:
        FormatError: the file is broken, or too large.
        UsageError: it names no input of the net.
    """
    arrays = {name or inputs[0]: array for name, array in read_arrays(path).items()}
    unknown = [name for name in arrays if name not in inputs]
    if unknown:
        raise UsageError(f"the net has no input {quoted(unknown[0])}; its inputs are {', '.join(inputs)}", file=path)
    return dict(arrays)


def summary(name: str, array: Array) -> dict[str, Any]:
    """A blob in one row: shape, least, greatest, mean."""
    values = {"min": array.min(), "max": array.max(), "mean": array.mean()} if array.size else {}
    return {"blob": name, "shape": array.shape, **{key: float(value) for key, value in values.items()}}
