"""Running a test net: the mean of its outputs over `test_iter` passes. (Caffe: Solver::TestClassification.)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from caffecompat.errors import UnsupportedError, located, quoted
from caffecompat.net import Net, Outputs
from caffecompat.solver.listeners import Score, Test

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver


def run_test(solver: Solver, index: int, net: Net) -> Test | None:
    """What a test net gives, or None if a stop was asked for meanwhile.

    Args:
        solver: whose net it is.
        index: its number.
        net: the net.

    Raises:
        UnsupportedError: the solver's `eval_type` is not known.
        CaffeCompatError: a record cannot be read.
    """
    kind = solver.param.eval_type
    if kind != "classification":
        hint = "take eval_type out to see the outputs' means"
        error = UnsupportedError(f"eval_type {quoted(kind)}: only classification is evaluated", hint=hint)
        raise located(error, solver.parsed.position("eval_type", 0))
    passes = solver.param.test_iter[index]
    sums: dict[str, Tensor] = {}
    loss = 0.0
    with torch.no_grad():
        for _ in range(passes):
            if solver.interrupted():
                return None
            outputs = net()
            for name in net.outputs:
                value = outputs[name].detach().reshape(-1).double()
                sums[name] = sums[name] + value if name in sums else value
            if solver.param.test_compute_loss and isinstance(outputs, Outputs):
                loss += float(net.loss(outputs))
    weights = net.loss_weights
    means = [
        Score(name, float(total) / passes, weights.get(name, 0.0))
        for name in net.outputs
        for total in sums[name].tolist()
    ]
    return Test(solver.iteration, index, tuple(means), loss / passes if solver.param.test_compute_loss else None)
