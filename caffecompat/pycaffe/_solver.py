"""Solvers, as pycaffe has them. Source of the rules: _caffe.cpp and solver.cpp of the original, of both branches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor

from caffecompat import net as core
from caffecompat.errors import UnsupportedError
from caffecompat.formats import read_solver
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.layers.python import python_layers
from caffecompat.pycaffe._arguments import PathLike
from caffecompat.pycaffe._errors import runtime_errors
from caffecompat.pycaffe._log import enabled
from caffecompat.pycaffe._net import Net
from caffecompat.pycaffe._python_layer import find_python_layer
from caffecompat.pycaffe._state import STATE, device
from caffecompat.schema import caffe_pb2
from caffecompat.solver import solver as base
from caffecompat.solver.diffs import keep_steps
from caffecompat.solver.listeners import Listener, Test
from caffecompat.solver.log import glog_line
from caffecompat.solver.options import Options

Callback = Callable[[], object]


class _Stderr(Listener):
    """Writes the lines of a run to stderr, as the original did, unless GLOG_minloglevel or `init_log` forbid it."""

    def line(self, text: str, place: str) -> None:
        if enabled():
            print(glog_line(text, place), file=sys.stderr)


class _Taped(base.Solver):
    """The solver, its passes being those of pycaffe's nets: every blob has its data and its diff after a step.

    Attributes:
        started: called before the passes of an iteration.
        finished: called between them and the update.
    """

    def __init__(self, parsed: ParsedSolver) -> None:
        self.started: list[Callback] = []
        self.finished: list[Callback] = []
        self._taped: dict[int, Net] = {}
        self._pass = 0
        options = Options(dialect=STATE.dialect, device=str(device()), visible=True)
        with python_layers(find_python_layer):
            super().__init__(parsed, options=options, listeners=[_Stderr()])
        for net in (self.net, *self.test_nets):
            self._taped[id(net)] = Net.of(net)
        if not parsed.message.snapshot_diff:
            keep_steps(self.update)

    def taped(self, net: core.Net) -> Net:
        """One of the nets, as pycaffe shows it."""
        return self._taped[id(net)]

    def train_pass(self) -> float:
        """One pass of the train net, forward and backward."""
        if self._pass == 0:
            for call in self.started:
                call()
        # A script may choose another after it made the solver.
        self.device = device()
        net = self.taped(self.net)
        last = len(net.layers) - 1
        loss = net._forward(0, last)
        net._backward(last, 0)
        self.outputs = self._outputs(net)
        self._pass = (self._pass + 1) % self.param.iter_size
        if self._pass == 0:
            for call in self.finished:
                call()
        return loss

    def test(self) -> list[Test]:
        """Run the test nets; they take the train net's parameters now, as in Caffe."""
        for net in self.test_nets:
            net.share_with(self.net)
        return super().test()

    def test_pass(self, net: core.Net) -> Mapping[str, Tensor]:
        """One pass forward of a test net."""
        taped = self.taped(net)
        taped._forward(0, len(taped.layers) - 1)
        return self._outputs(taped)

    def _outputs(self, net: Net) -> core.Outputs:
        outputs = core.Outputs({name: net.blobs[name].tensor for name in net.outputs})
        outputs.losses = tuple((weight, net.blobs[name].tensor) for name, weight in net._net.loss_weights.items())
        return outputs


class Solver:
    """Trains a net as a solver prototxt says.

    Args:
        solver_file: the solver's prototxt, of any age.

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, or a setting makes no sense.
    """

    TYPE: ClassVar[str | None] = None

    @runtime_errors()
    def __init__(self, solver_file: PathLike) -> None:
        parsed = read_solver(solver_file)
        if self.TYPE is not None:
            parsed.message.ClearField("solver_type")
            parsed.message.type = self.TYPE
        self._solver = _Taped(parsed)

    @property
    def net(self) -> Net:
        """The net that is trained."""
        return self._solver.taped(self._solver.net)

    @property
    def test_nets(self) -> list[Net]:
        """The nets that are tested; their parameters are the train net's."""
        return [self._solver.taped(net) for net in self._solver.test_nets]

    @property
    def iter(self) -> int:
        """How many updates were made."""
        return self._solver.iteration

    @property
    def param(self) -> caffe_pb2.SolverParameter:
        """What the prototxt states; `base_lr`, `max_iter` and `display` may be changed on the way."""
        return self._solver.param

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        solver = self._solver
        return solver.rate.rate(solver.iteration, solver.smoothed.value, lambda text: None)

    def step(self, iterations: int) -> None:
        """Make so many updates, with tests, lines of the log and snapshots as they fall due.

        Raises:
            CaffeCompatError: the loss is not finite, a record cannot be read, a snapshot cannot be written.
        """
        self._solver.step(iterations)

    def solve(self, resume_file: PathLike | None = None) -> None:
        """Train up to `max_iter`.

        Args:
            resume_file: a `.solverstate` to go on from.

        Raises:
            CaffeCompatError: as `step`.
        """
        self._solver.solve(resume_file or None)

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        self.net._prepare()
        self._solver.snapshot()

    def restore(self, path: PathLike) -> None:
        """Go on from a `.solverstate`, of the original or of ours."""
        self._solver.restore(os.fspath(path))

    def apply_update(self) -> None:
        """Update the parameters by their diffs as they are."""
        self.net._prepare()
        self._solver.apply_update()

    def add_callback(self, on_start: Callback, on_gradients: Callback | None = None) -> None:
        """Have functions called in every iteration.

        Args:
            on_start: called before its passes; or an `NCCL`.
            on_gradients: called when the diffs of all passes are added up, before the update.
        """
        self._solver.started.append(on_start)
        if on_gradients is not None:
            self._solver.finished.append(on_gradients)

    def share_weights(self, net: Net) -> None:
        """Let a net use the parameters of the net that is trained."""
        net.share_with(self.net)


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    TYPE = "SGD"


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    TYPE = "Nesterov"


class AdaGradSolver(SGDSolver):
    """AdaGrad."""

    TYPE = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """RMSProp."""

    TYPE = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """AdaDelta."""

    TYPE = "AdaDelta"


class AdamSolver(SGDSolver):
    """Adam."""

    TYPE = "Adam"


_BY_TYPE = {
    cls.TYPE: cls for cls in (SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver)
}


@runtime_errors()
def get_solver(solver_file: PathLike) -> Solver:
    """The solver of the type that the prototxt states."""
    return _BY_TYPE.get(read_solver(solver_file).message.type, SGDSolver)(solver_file)


class NCCL:
    """Taken so that scripts for several GPUs run on one; `caffecompat train` trains on several.

    Args:
        solver: the solver of this process.
        uid: the name of the group, see `new_uid`.

    Raises:
        UnsupportedError: there are several solvers, as `set_solver_count` says.
    """

    def __init__(self, solver: Solver, uid: object) -> None:
        if STATE.solver_count > 1:
            raise UnsupportedError(
                f"expected one solver, got {STATE.solver_count}: those of scripts do not train together",
                hint="give the script one GPU, or train on several with `caffecompat train --gpu 0,1`",
            )
        self.solver = solver

    def __call__(self, layer: int = 0) -> None:
        """Nothing, as a callback of a solver or of its net."""

    @staticmethod
    def new_uid() -> bytes:
        """A name for a group of solvers."""
        return b""

    def bcast(self) -> None:
        """Nothing: there is one solver."""


def has_nccl() -> bool:
    """Whether several solvers of scripts can train together: no."""
    return False
