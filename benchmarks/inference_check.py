"""Whether the outputs of a program of inference.py are those of the plain Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DETECTIONS = "detection_out"
# Of SSD300's picture in pixels; scores below the least differ in whether they reach the net's own threshold of 0.01.
SIDE, PIXELS, SCORE, LEAST_SCORE = 300, 2.0, 0.02, 0.05


def difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The largest difference as a part of the largest magnitude of an output; infinite if an output is missing."""
    if expected.keys() != found.keys():
        return np.inf
    return max(_difference(name, value, found[name]) for name, value in expected.items())


def _difference(name: str, expected: Array, found: Array) -> float:
    if name == DETECTIONS:
        if expected.shape != found.shape:
            return np.inf
        rows, others = expected.reshape(-1, 7), found.reshape(-1, 7)
        # The scores of two rows may be equal but for rounding: each row has its own place in the order.
        order = [np.abs(others - row).max(1).argmin() for row in rows]
        if len(set(order)) != len(rows) or not np.array_equal(rows[:, :2], others[order, :2]):
            return np.inf
        return float(np.abs(rows[:, 2:] - others[order, 2:]).max() / np.abs(rows[:, 2:]).max())
    found = found.reshape(expected.shape)
    return float(np.abs(expected - found).max() / np.abs(expected).max())


def same_in_bfloat16(expected: Mapping[str, Array], found: Mapping[str, Array]) -> str:
    """What differs: boxes by over 2 pixels, scores by over 0.02, other outputs by over 2%; or nothing."""
    for name, value in expected.items():
        if name != DETECTIONS:
            distance = np.abs(value - found[name].reshape(value.shape)).max() / np.abs(value).max()
            if distance > SCORE:
                return f"{name} differs by {distance:.1e}"
            continue
        rows, others = value.reshape(-1, 7), found[name].reshape(-1, 7)
        for one, other in ((rows, others), (others, rows)):
            missing = [row for row in one if row[2] >= LEAST_SCORE + SCORE and not _has(other, row)]
            if missing:
                return f"{len(missing)} of {len(one)} detections have no equal"
    return ""


def _has(rows: Array, row: Array) -> bool:
    near = np.abs(rows[:, 3:] - row[3:]).max(1) * SIDE <= PIXELS
    return bool((near & (rows[:, 1] == row[1]) & (np.abs(rows[:, 2] - row[2]) <= SCORE)).any())
