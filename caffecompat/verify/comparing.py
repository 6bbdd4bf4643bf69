"""Where two programs' blobs depart: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from caffecompat.graph.spec import Graph

Arrays = Mapping[str, npt.NDArray[Any]]
Verdict = Literal["equal", "departs", "shape", "missing"]
# Of blobs of smaller values the tolerance is that of this one.
LEAST = 1e-6
# A row of detections: image, label, score and four corners.
DETECTION = 7


@dataclass(frozen=True)
class Row:
    """One blob.

    Attributes:
        layer: the layer that makes it last.
        blob: its name.
        shape: its shape here.
        largest: the largest magnitude of the other program's values.
        difference: the largest difference of two values; nan where the shapes differ or the blob is missing.
        verdict: "equal" within the tolerance, "departs", "shape" if the shapes differ, "missing" if the other program
            has no such blob.
        other_shape: its shape there.
    """

    layer: str
    blob: str
    shape: tuple[int, ...]
    largest: float
    difference: float
    verdict: Verdict
    other_shape: tuple[int, ...] | None = None

    @property
    def relative(self) -> float:
        """The difference as a share of the largest magnitude."""
        return self.difference / max(self.largest, LEAST)

    @property
    def departs(self) -> bool:
        """Whether the two programs do not agree on it; of a blob that one of them lacks that is not known."""
        return self.verdict in ("departs", "shape")


def compare(graph: Graph, ours: Arrays, theirs: Arrays, tolerance: float) -> list[Row]:
    """The blobs of a net, in the order of the layers that make them.

    Args:
        graph: the net.
        ours: what the net computed, by blob.
        theirs: what the other program computed.
        tolerance: the largest difference that is allowed, as a share of the blob's largest magnitude.
    """
    return [
        _row(spec.name, spec.type, key.name, ours[key.name], theirs.get(key.name), tolerance)
        for spec in graph.layers
        for key in spec.tops
        if graph.last.get(key.name) == key and key.name in ours and not spec.row.data
    ]


def _row(
    layer: str, kind: str, blob: str, ours: npt.NDArray[Any], theirs: npt.NDArray[Any] | None, tolerance: float
) -> Row:
    shape = tuple(ours.shape)
    if theirs is None:
        return Row(layer, blob, shape, float("nan"), float("nan"), "missing")
    if kind == "DetectionOutput":
        theirs = _detections(theirs)
        ours = _detections(ours)
    other = tuple(theirs.shape)
    if ours.size != theirs.size or _squeezed(ours.shape) != _squeezed(other):
        return Row(layer, blob, shape, _largest(theirs), float("nan"), "shape", other)
    largest = _largest(theirs)
    difference = _difference(ours.reshape(-1), theirs.reshape(-1))
    verdict: Verdict = "equal" if difference <= tolerance * max(largest, LEAST) else "departs"
    return Row(layer, blob, shape, largest, difference, verdict, other)


def _detections(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows that are detections: programs fill up with rows of zeros, or of -1 where there are none."""
    found = rows.reshape(-1, DETECTION) if rows.size % DETECTION == 0 else rows
    return found[found[:, 2] > 0] if found.ndim == 2 and found.shape[1] == DETECTION else found


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes above 1: programs keep axes of size 1, or not."""
    return tuple(size for size in shape if size != 1)


def _largest(values: npt.NDArray[Any]) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    """The largest difference; infinite where one value is finite and the other not."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    left = np.abs(a[~same] - b[~same])
    return float("inf") if np.isnan(left).any() else float(left.max())
