"""Running a test net over `test_iter` passes: the mean of its outputs, or the average precision of its detections.

Source of the rules: Solver::TestClassification and Solver::TestDetection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from caffecompat.detection.average_precision import AP_VERSIONS, ROW, AveragePrecisions, mean_of
from caffecompat.errors import SchemaError, did_you_mean, located, quoted
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.graph.spec import LayerSpec
from caffecompat.net import Net, Outputs
from caffecompat.solver.debug import DebugInfo
from caffecompat.solver.listeners import Score, Test

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

EVAL_TYPES = ("classification", "detection")


class _Evaluation(Protocol):
    """What is made of the outputs of the passes."""

    def add(self, net: Net, outputs: Mapping[str, Tensor]) -> None: ...

    def scores(self, net: Net) -> list[Score]: ...


def check_evaluation(parsed: ParsedSolver) -> None:
    """Whether the solver's way of evaluating is known.

    Raises:
        SchemaError: `eval_type` or `ap_version` is not.
    """
    for field, known in (("eval_type", EVAL_TYPES), ("ap_version", AP_VERSIONS)):
        value = getattr(parsed.message, field)
        if value not in known:
            hint = did_you_mean(value, known) or f"{field} is one of {', '.join(known)}"
            error = SchemaError(f"{field} {quoted(value)} is not known", hint=hint)
            raise located(error, parsed.position(field, 0))


def run_test(solver: Solver, index: int, net: Net) -> Test | None:
    """What a test net gives, or None if a stop was asked for meanwhile.

    Args:
        solver: whose net it is.
        index: its number.
        net: the net.

    Raises:
        CaffeCompatError: a record cannot be read, or the outputs are no rows of DetectionEvaluate where they should be.
    """
    evaluation: _Evaluation = _Detection(solver) if solver.param.eval_type == "detection" else _Means()
    passes = solver.param.test_iter[index]
    loss = 0.0
    with torch.no_grad(), DebugInfo(net, solver.say, wanted=solver.param.debug_info):
        for _ in range(passes):
            if solver.interrupted():
                return None
            outputs = solver.test_pass(net)
            evaluation.add(net, outputs)
            if solver.param.test_compute_loss and isinstance(outputs, Outputs):
                loss += float(net.loss(outputs))
    mean_loss = loss / passes if solver.param.test_compute_loss and passes > 0 else None
    return Test(solver.iteration, index, tuple(evaluation.scores(net)), mean_loss)


class _Means:
    """The mean of every value of the outputs."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._passes = 0

    def add(self, net: Net, outputs: Mapping[str, Tensor]) -> None:
        self._passes += 1
        for name in net.outputs:
            value = outputs[name].detach().reshape(-1).double()
            if name in self._sums and len(value) != len(self._sums[name]):
                raise _producer(net, name).error(
                    f'"{name}" has {len(value)} values in pass {self._passes}, and {len(self._sums[name])} before: '
                    "they have no mean",
                    hint='eval_type: "detection" in the solver makes average precisions of DetectionEvaluate\'s rows',
                )
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def scores(self, net: Net) -> list[Score]:
        weights = net.loss_weights
        return [
            Score(name, value / self._passes, weights.get(name, 0.0))
            for name in net.outputs
            if name in self._sums
            for value in self._sums[name].tolist()
        ]


class _Detection:
    """The mean over the classes of the average precision of what DetectionEvaluate found right and wrong."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._found: dict[str, AveragePrecisions] = {}

    def add(self, net: Net, outputs: Mapping[str, Tensor]) -> None:
        for name in net.outputs:
            rows = outputs[name].detach()
            if rows.dim() < 2 or rows.shape[-1] != ROW:
                raise _producer(net, name).error(
                    f'expected rows of {ROW} values in "{name}", as DetectionEvaluate gives, got shape '
                    f"{tuple(rows.shape)}",
                    hint='with eval_type: "detection" every output of the test net is one of DetectionEvaluate',
                )
            found = self._found.setdefault(name, AveragePrecisions(self._solver.param.ap_version))
            found.add(rows.float().cpu().numpy())

    def scores(self, net: Net) -> list[Score]:
        scores = []
        for name, found in self._found.items():
            precisions = found.by_label()
            if self._solver.param.show_per_class_result:
                for label, precision in precisions.items():
                    self._solver.say(f"class{label}: {precision:.6g}", "solver.cpp:536")
            scores.append(Score(name, mean_of(precisions)))
        return scores


def _producer(net: Net, output: str) -> LayerSpec:
    """The layer that makes an output."""
    return next(spec for spec in net.graph.layers if net.graph.last[output] in spec.tops)
