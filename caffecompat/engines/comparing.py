"""How far an engine's outputs are from the plain net's, and how far they may be."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from caffecompat.engines.registry import Precision
from caffecompat.export.comparing import chooses, difference
from caffecompat.layers.detection import DetectionOutput
from caffecompat.net import Net

# The difference of an output that is allowed, as a part of it: the largest one; of int8, which errs much in a few
# places, the root of the mean square.
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 5e-2, "int8": 2e-1}
# Of a detection: of its score, and of its box, where 1 is the picture.
SCORES: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 2e-2, "int8": 1e-1}
BOXES: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 2 / 300, "int8": 5e-2}
# So many detections, or values of other layers that choose, may be others: the least difference decides near a limit.
MAX_OTHERS: dict[Precision, float] = {"float32": 0.02, "bfloat16": 0.02, "int8": 0.2}
# Detections that count: of int8, those that are no guesses.
LEAST_SCORES: dict[Precision, float] = {"float32": 0.0, "bfloat16": 0.0, "int8": 0.5}


def apart(net: Net, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], precision: Precision) -> float:
    """How far outputs are from the plain net's: the largest difference of all, in parts of what is allowed.

    Values are compared by their largest magnitude. Detections are compared one by one: each must have its like, of
    the same image and label; of them, and of the values of other layers that choose, a few may differ.

    Args:
        net: the plain net.
        found: the outputs to judge.
        wanted: the plain net's.
        precision: what the engine computes in.

    Returns:
        At most 1 if all holds; infinite if an output is missing or has another shape.
    """
    makers = {key.name: layer for layer in net.layers for key in layer.spec.tops}
    worst = 0.0
    for name, right in wanted.items():
        value = found.get(name)
        if value is None:
            return float("inf")
        maker = makers[name]
        if isinstance(maker, DetectionOutput):
            worst = max(worst, others_of(value, right, precision) / MAX_OTHERS[precision])
        elif value.shape != right.shape:
            return float("inf")
        elif chooses(maker):
            worst = max(worst, float((value != right).double().mean()) / MAX_OTHERS[precision])
        else:
            apart_by = _typical_difference if precision == "int8" else difference
            worst = max(worst, apart_by(value, right) / TOLERANCES[precision])
    return worst


def others_of(found: Tensor, wanted: Tensor, precision: Precision) -> float:
    """The share of detections that count, (1, 1, K, 7) each, that have none like them in the other."""
    first, second = (_counted(rows.reshape(-1, 7), precision) for rows in (found, wanted))
    same = (first[:, None, :2] == second[None, :, :2]).all(-1)
    same &= (first[:, None, 2] - second[None, :, 2]).abs() <= SCORES[precision]
    # Boxes may be many times as large as the picture.
    limit = BOXES[precision] * second[None, :, 3:].abs().clamp_min(1)
    same &= ((first[:, None, 3:] - second[None, :, 3:]).abs() <= limit).all(-1)
    lonely = int((~same.any(1)).sum()) + int((~same.any(0)).sum())
    return lonely / max(1, len(first) + len(second))


def _counted(rows: Tensor, precision: Precision) -> Tensor:
    least = LEAST_SCORES[precision]
    return rows[rows[:, 2] >= least] if least else rows


def _typical_difference(found: Tensor, wanted: Tensor) -> float:
    """The root of the mean square of the difference, as a part of that of the values wanted."""
    whole, apart = float(wanted.double().norm()), float((found.double() - wanted).norm())
    return apart / whole if whole else apart


def reference(net: Net, example: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plain net's outputs for an example."""
    keywords = {name: keyword for keyword, name in net.input_names.items()}
    with torch.inference_mode():
        outputs = net(**{keywords.get(name, name): value for name, value in example.items()})
    return dict(outputs)
