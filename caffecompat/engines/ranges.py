"""The ranges of a net's values, which eight bits divide: taken of typical inputs, in several ways."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import ModelProto
from torch import Tensor

Arrays = Mapping[str, npt.NDArray[Any]]

BINS, STEPS = 2048, 255
# So many values of a blob, or some more, tell how all are spread.
SAMPLE = 1 << 17
# The part of the values that one way keeps, and how narrow a range the other tries, as a part of the whole.
KEPT = 0.9999
NARROWEST, TRIED = 0.2, 41


class Range(NamedTuple):
    """Least and largest value; 0 lies between them, for it must be one of the steps."""

    low: float
    high: float


def find_ranges(
    proto: ModelProto, names: Collection[str], batches: Iterable[Arrays], count: int
) -> dict[str, dict[str, Range]]:
    """The ranges of values by name, found in several ways.

    "all" takes all values, "most" all but the outermost, and "error" so many that the mean square of what rounding and
    cutting off change is least.

    Args:
        proto: the model, with the shapes of its values.
        names: which values.
        batches: inputs by name.
        count: how many batches there are.
    """
    session = session_of(_showing(proto, names))
    shown = [output.name for output in session.get_outputs()]
    whole: dict[str, Range] = dict.fromkeys(names, Range(0.0, 0.0))
    samples: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in batches:
        found = {**batch, **dict(zip(shown, session.run(shown, dict(batch)), strict=True))}
        for name in names:
            value = torch.from_numpy(found[name]).flatten()
            if value.numel():
                low, high = (float(limit) for limit in value.aminmax())
                whole[name] = Range(min(whole[name].low, low), max(whole[name].high, high))
                few = value[:: value.numel() * count // SAMPLE | 1]
                # 0 itself costs nothing.
                samples[name].append(few[few != 0])
    spread = {name: torch.cat(parts).numpy() for name, parts in samples.items() if parts}
    return {
        "all": {name: whole[name] for name in spread},
        "most": {name: _most(whole[name], values) for name, values in spread.items()},
        "error": {name: _least_error(whole[name], values) for name, values in spread.items()},
    }


def session_of(proto: ModelProto) -> Any:
    """The model in ONNX Runtime, which says nothing of its own accord."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _showing(proto: ModelProto, names: Collection[str]) -> ModelProto:
    """The model with these values as outputs, inputs and weights aside."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    made = {name for node in proto.graph.node for name in node.output}
    known = {value.name for value in proto.graph.output}
    empty = [onnx.helper.make_empty_tensor_value_info(name) for name in names if name in made and name not in known]
    copy.graph.output.extend(empty)
    return copy


def _most(whole: Range, values: npt.NDArray[np.float32]) -> Range:
    """Without the outermost on each side."""
    if not len(values):
        return whole
    low, high = np.quantile(values, [(1 - KEPT) / 2, (1 + KEPT) / 2])
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def _least_error(whole: Range, values: npt.NDArray[np.float32]) -> Range:
    """The part of the whole that costs least: a rounded value errs by a step's square over twelve, in the mean."""
    if whole.low == whole.high:
        return whole
    counts, edges = np.histogram(values, BINS, whole)
    centres = (edges[1:] + edges[:-1]) / 2
    parts = np.linspace(NARROWEST, 1, TRIED)
    errors = []
    for part in parts:
        beyond = centres - centres.clip(whole.low * part, whole.high * part)
        step = (whole.high - whole.low) * part / STEPS
        errors.append(float(counts @ beyond**2 + counts @ (beyond == 0) * step**2 / 12))
    best = float(parts[int(np.argmin(errors))])
    return Range(whole.low * best, whole.high * best)
