"""The nets of a solver: one to train, any number to test, each with its state.

Source of the rules: Solver::InitTrainNet and Solver::InitTestNets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from caffecompat.data.source import Reading
from caffecompat.errors import FormatError, GraphError, located
from caffecompat.formats import read_net
from caffecompat.formats.parsed import ParsedNet, ParsedSolver
from caffecompat.formats.paths import find
from caffecompat.formats.solver_upgrade import net_inside
from caffecompat.formats.weights import Weights
from caffecompat.graph import build_graph
from caffecompat.graph.passes import split_blobs
from caffecompat.graph.spec import Graph, Phase
from caffecompat.net import Net
from caffecompat.net.meanings import state_meanings
from caffecompat.schema import caffe_pb2
from caffecompat.solver.options import Options

TRAIN_FIELDS = ("net", "net_param", "train_net", "train_net_param")


@dataclass(frozen=True)
class Planned:
    """A net that a solver asks for: its text, where it came from, and the state that its rules are held against."""

    parsed: ParsedNet
    source: str
    state: caffe_pb2.NetState

    def graph(self, options: Options) -> Graph:
        """The graph of its phase.

        Raises:
            CaffeCompatError: the layers make no net.
        """
        phase: Phase = "TRAIN" if self.state.phase == caffe_pb2.TRAIN else "TEST"
        message = caffe_pb2.NetParameter()
        message.CopyFrom(self.parsed.message)
        message.ClearField("state")
        graph = build_graph(
            replace(self.parsed, message=message),
            phase,
            level=self.state.level,
            stages=tuple(self.state.stage),
            dialect=options.dialect,
            ignore_fields=options.ignore_fields,
            root=options.root,
        )
        return split_blobs(graph) if options.visible else graph


def planned_train_net(solver: ParsedSolver, options: Options) -> Planned:
    """The net to train.

    Raises:
        GraphError: the solver names no train net, or several.
        FormatError: the file that it names is not there, or is not prototxt.
    """
    message = solver.message
    given = [name for name in TRAIN_FIELDS if message.HasField(name)]
    if len(given) != 1:
        raise GraphError(
            f"expected one of {', '.join(TRAIN_FIELDS)}, got {' and '.join(given) or 'none of them'}",
            file=solver.file,
            hint='a solver names its net: net: "train_val.prototxt"' if not given else "keep one of them",
        )
    parsed, source = _read(solver, given[0], 0, options)
    state = _state(caffe_pb2.TRAIN, parsed, message.train_state if message.HasField("train_state") else None)
    # As the flags of `caffe train` are: they belong to the train net only.
    state.level = options.level or state.level
    state.stage.extend(options.stages)
    return Planned(parsed, source, state)


def planned_test_nets(solver: ParsedSolver, options: Options) -> list[Planned]:
    """The nets to test, one for each `test_iter`: those of `test_net_param`, of `test_net`, then the train net's file.

    Raises:
        GraphError: there are not as many `test_iter` as nets, or as many `test_state`.
        FormatError: a file is not there, or is not prototxt.
    """
    message = solver.message
    own = len(message.test_net_param) + len(message.test_net)
    wanted = len(message.test_iter)
    generic = "net_param" if message.HasField("net_param") else "net" if message.HasField("net") else ""
    if wanted < own or (wanted > own and not generic):
        raise located(
            GraphError(
                f"expected a test_iter for each of {own} test nets, got {wanted}",
                hint="state test_iter as often as there are test nets",
            ),
            solver.position("test_iter", 0),
        )
    if message.test_state and len(message.test_state) != wanted:
        raise located(
            GraphError(f"expected no test_state or one for each of {wanted} test nets, got {len(message.test_state)}"),
            solver.position("test_state", 0),
        )
    if wanted and message.test_interval <= 0:
        raise located(
            GraphError(
                f"expected a test_interval above 0 where test_iter is given, got {message.test_interval}",
                hint="state test_interval, or leave test_iter out",
            ),
            solver.position("test_iter", 0),
        )
    fields = [("test_net_param", index) for index in range(len(message.test_net_param))]
    fields += [("test_net", index) for index in range(len(message.test_net))]
    fields += [(generic, 0)] * (wanted - own)
    planned = []
    for index, (field, at) in enumerate(fields):
        parsed, source = _read(solver, field, at, options)
        state = _state(caffe_pb2.TEST, parsed, message.test_state[index] if message.test_state else None)
        planned.append(Planned(parsed, source, state))
    return planned


def build_net(planned: Planned, options: Options, reading: Reading, weights: Sequence[Weights]) -> Net:
    """The net, its data layers reading; its parameters have no memory yet.

    Args:
        planned: which net.
        options: how the solver is run.
        reading: how its data layers read.
        weights: what it will be given: they tell what a layer type of several meanings means.

    Raises:
        CaffeCompatError: the layers make no net, or what they read is not there.
    """
    graph = planned.graph(options)
    state_meanings(graph, weights)
    return Net(graph, reading=reading)


def _read(solver: ParsedSolver, field: str, index: int, options: Options) -> tuple[ParsedNet, str]:
    if field.endswith("_param"):
        return net_inside(solver, field, index), field
    value = getattr(solver.message, field)
    name: str = value if isinstance(value, str) else value[index]
    try:
        path = find(name, field, root=options.root, beside=solver.file)
    except FormatError as error:
        raise located(error, solver.position(field, index)) from None
    return read_net(path), f"{field} file: {name}"


def _state(phase: caffe_pb2.Phase, parsed: ParsedNet, own: caffe_pb2.NetState | None) -> caffe_pb2.NetState:
    """The state of a net: the phase, then what the net's own `state` says, then what the solver says for it."""
    state = caffe_pb2.NetState(phase=phase)
    state.MergeFrom(parsed.message.state)
    if own is not None:
        state.MergeFrom(own)
    return state
