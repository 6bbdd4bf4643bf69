"""The ranges of a net's values, which eight bits divide: taken of typical inputs, in several ways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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
SAMPLE = 1 << 15
# The part of the values that one way keeps, and how narrow a range the other tries, as a part of the whole.
KEPT = 0.9999
NARROWEST, TRIED = 0.2, 41


class Range(NamedTuple):
    """Least and largest value; 0 lies between them, for it must be one of the steps."""

    low: float
    high: float


class _Histogram(NamedTuple):
    """How often a value came near each of `centres`; 0 itself, which costs nothing, is left out."""

    centres: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]


def find_ranges(
    proto: ModelProto, names: Collection[str], batches: Callable[[], Iterable[Arrays]]
) -> dict[str, dict[str, Range]]:
    """The ranges of values by name, found in several ways.

    "all" takes all values, "most" all but the outermost, and "error" so many that the mean square of what rounding and
    cutting off change is least.

    Args:
        proto: the model, with the shapes of its values.
        names: which values.
        batches: gives inputs by name; is called twice.
    """
    session = session_of(_showing(proto, names))
    shown = [output.name for output in session.get_outputs()]

    def passes() -> Iterator[tuple[str, Tensor]]:
        for batch in batches():
            found = dict(zip(shown, session.run(shown, dict(batch)), strict=True))
            values = {**batch, **found}
            yield from ((name, torch.from_numpy(values[name])) for name in names if values[name].size)

    whole: dict[str, Range] = {}
    for name, value in passes():
        least, largest = (float(limit) for limit in value.aminmax())
        low, high = whole.get(name, Range(0.0, 0.0))
        whole[name] = Range(min(low, least), max(high, largest))
    counts = {name: torch.zeros(BINS, dtype=torch.float64) for name in whole}
    for name, value in passes():
        low, high = whole[name]
        if low < high:
            few = value.flatten()[:: value.numel() // SAMPLE | 1]
            counts[name] += torch.histc(few[few != 0], BINS, low, high).double()
    histograms = {name: _histogram(whole[name], found.numpy()) for name, found in counts.items()}
    return {
        "all": whole,
        "most": {name: _most(whole[name], histogram) for name, histogram in histograms.items()},
        "error": {name: _least_error(whole[name], histogram) for name, histogram in histograms.items()},
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


def _histogram(whole: Range, counts: npt.NDArray[np.float64]) -> _Histogram:
    edges = np.linspace(*whole, BINS + 1)
    return _Histogram((edges[1:] + edges[:-1]) / 2, counts)


def _most(whole: Range, histogram: _Histogram) -> Range:
    """Without the outermost on each side."""
    total = histogram.counts.sum()
    if not total:
        return whole
    below = histogram.counts.cumsum() / total
    outer = (1 - KEPT) / 2
    inside = histogram.centres[(below >= outer) & (below - histogram.counts / total <= 1 - outer)]
    return Range(min(float(inside.min()), 0.0), max(float(inside.max()), 0.0))


def _least_error(whole: Range, histogram: _Histogram) -> Range:
    """The part of the whole that costs least: a rounded value errs by a step's square over twelve, in the mean."""
    centres, counts = histogram
    parts = np.linspace(NARROWEST, 1, TRIED)
    errors = []
    for part in parts:
        beyond = centres - centres.clip(whole.low * part, whole.high * part)
        step = (whole.high - whole.low) * part / STEPS
        errors.append(float(counts @ beyond**2 + counts @ (beyond == 0) * step**2 / 12))
    best = float(parts[int(np.argmin(errors))])
    return Range(whole.low * best, whole.high * best)
