"""What is checked: a solver with its nets, or a net, built as a run would build them, as far as that goes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, FormatError, quoted
from caffecompat.formats import read_weights, upgrade_net, upgrade_solver
from caffecompat.formats.either import read_net_or_solver
from caffecompat.formats.parsed import ParsedNet, ParsedSolver, UnknownField
from caffecompat.formats.unknown import hint_of
from caffecompat.formats.weights import Weights
from caffecompat.graph.spec import Graph, LayerSpec, Shape
from caffecompat.layers import build
from caffecompat.layers.data import DataLayer
from caffecompat.layers.detection_writing import NOT_WRITTEN
from caffecompat.layers.picture_data import PictureData
from caffecompat.net import Net
from caffecompat.net.meanings import state_meanings
from caffecompat.schema import caffe_pb2
from caffecompat.solver.lint.asked import Asked
from caffecompat.solver.lint.detections import bad_results
from caffecompat.solver.lint.files import missing_in, missing_nets, weight_paths
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.phases import is_source, phases_of
from caffecompat.solver.lint.reading import Read, look
from caffecompat.solver.lint.samplers import bad_samplers
from caffecompat.solver.nets import Planned, planned_test_nets, planned_train_net

UNREADABLE = Rule("unreadable", "error", "A file must be what it is named as, and each value one that its field holds.")
UNKNOWN_FIELD = Rule(
    "unknown-field", "error", "A layer with a field that nobody knows would not compute what is meant."
)
PASSED_OVER = Rule("passed-over", "warning", "A field that is not known, and computes nothing, is passed over.")
BAD_SOLVER = Rule("bad-solver", "error", "A solver names one train net, and a test_iter for each test net.")
BROKEN_NET = Rule("broken-net", "error", "The layers of each phase must make a net, their shapes fit one another.")
NOT_CHECKED = Rule("not-checked", "info", "Without the size of its input the shapes of a net are not known.")
TOLD = Rule("told", "warning", "What a run would warn of.")
RULES = (UNREADABLE, UNKNOWN_FIELD, PASSED_OVER, BAD_SOLVER, BROKEN_NET, NOT_CHECKED, TOLD)


@dataclass
class LintedNet:
    """A net of the subject.

    Attributes:
        parsed: its text.
        graph: its layers, in its phase.
        number: which of the test nets it is; None for the train net.
        read: what its data layers read, by the index of the layer.
        net: the net, without memory; None if it cannot be built.
        guessed: whether a size of its input is not stated, but guessed.
    """

    parsed: ParsedNet
    graph: Graph
    number: int | None
    read: dict[int, Read] = field(default_factory=dict)
    net: Net | None = None
    guessed: bool = False

    @property
    def data_layers(self) -> list[LayerSpec]:
        """The layers whose tops come from outside."""
        return [spec for spec in self.graph.layers if spec.row.data]

    @property
    def reads_itself(self) -> bool:
        """Whether a run lets it read its data, rather than feed it."""
        return any(spec.type not in ("DummyData", "Input", "MemoryData") for spec in self.data_layers)


@dataclass
class Subject:
    """What is checked.

    Attributes:
        file: the file that was named.
        asked: how the check is asked for.
        solver: the solver; None if the file is a net.
        train: the net of phase TRAIN, if there is one and its layers make a net.
        tests: the nets of phase TEST whose layers make a net.
        weights: the weight files that the run starts from and that can be read.
        findings: what was found while all this was made.
    """

    file: str
    asked: Asked
    solver: ParsedSolver | None = None
    train: LintedNet | None = None
    tests: list[LintedNet] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def nets(self) -> list[LintedNet]:
        """All nets, the train net first."""
        return [*([self.train] if self.train is not None else []), *self.tests]


def read_subject(path: Path, asked: Asked) -> Subject:
    """Read a solver or a net, and build what belongs to it."""
    subject = Subject(str(path), asked)
    try:
        with _told(subject):
            parsed = read_net_or_solver(path)
            if isinstance(parsed.message, caffe_pb2.SolverParameter):
                _add_solver(subject, upgrade_solver(parsed))
            else:
                _add_net_file(subject, upgrade_net(parsed))
    except CaffeCompatError as error:
        error.add_context(file=path)
        subject.findings.append(UNREADABLE.of(error))
    return subject


@contextmanager
def _told(subject: Subject) -> Iterator[None]:
    """Take what would be warned of; unknown fields have rules of their own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = str(warning.message)
        if not issubclass(warning.category, CaffeCompatWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not re.search(r"(: unknown field|more unknown fields) ", f": {text}"):
            subject.findings.append(_finding(text))


def _finding(text: str) -> Finding:
    """A warning, whose text may begin with a place, as a finding."""
    place = re.match(r'(.*?):(\d+):(?:\d+:)? (?:layer "([^"]*)": )?', text)
    if place is None:
        return Finding(TOLD.name, TOLD.severity, text)
    return Finding(TOLD.name, TOLD.severity, text[place.end() :], place[1], int(place[2]), place[3])


def _read_weights(subject: Subject, solver: ParsedSolver | None) -> None:
    for found in weight_paths(solver, subject.asked):
        if isinstance(found, Finding):
            subject.findings.append(found)
            continue
        try:
            subject.weights.append(read_weights(found))
        except CaffeCompatError as error:
            error.add_context(file=found)
            subject.findings.append(UNREADABLE.of(error))


def _add_solver(subject: Subject, solver: ParsedSolver) -> None:
    """The solver, and its nets as far as they are there."""
    subject.solver = solver
    _read_weights(subject, solver)
    for unknown in solver.unknown:
        if not any(unknown.path[:1] == (name,) for name in ("net_param", "train_net_param", "test_net_param")):
            hint = hint_of(unknown, "SolverParameter")
            text = f"unknown field {quoted(unknown.name)} is ignored"
            subject.findings.append(PASSED_OVER.at(unknown.position, text, hint=hint))
    missing = list(missing_nets(solver, subject.asked))
    subject.findings += missing
    names = {finding.message.split(" ")[0] for finding in missing}
    options = subject.asked.options
    if not names & {"net", "train_net"}:
        with _noted(subject, solver):
            subject.train = _linted(subject, planned_train_net(solver, options), None)
    if not names & {"net", "test_net"}:
        with _noted(subject, solver):
            for number, planned in enumerate(planned_test_nets(solver, options)):
                net = _linted(subject, planned, number)
                subject.tests += [net] if net is not None else []


def _add_net_file(subject: Subject, parsed: ParsedNet) -> None:
    """The net, in each of its phases."""
    _read_weights(subject, None)
    options = subject.asked.options
    for phase in phases_of(parsed, subject.asked):
        training = phase == "TRAIN"
        number = caffe_pb2.TRAIN if training else caffe_pb2.TEST
        state = caffe_pb2.NetState(phase=number, level=options.level, stage=options.stages)
        net = _linted(subject, Planned(parsed, subject.file, state), None if training else 0)
        if net is not None and training:
            subject.train = net
        elif net is not None:
            subject.tests.append(net)


@contextmanager
def _noted(subject: Subject, solver: ParsedSolver) -> Iterator[None]:
    """An error about the nets that a solver names becomes a finding: of the solver, or of the net's file."""
    try:
        yield
    except CaffeCompatError as error:
        own = error.file == solver.file and not isinstance(error, FormatError)
        subject.findings.append((BAD_SOLVER if own else UNREADABLE).of(error))


def _linted(subject: Subject, planned: Planned, number: int | None) -> LintedNet | None:
    """The net of a plan; None if its layers make none."""
    parsed = planned.parsed
    subject.findings += _unknown_fields(parsed, subject.asked.options.ignore_fields)
    ignored = (*subject.asked.options.ignore_fields, *(unknown.name for unknown in parsed.unknown))
    try:
        graph = planned.graph(replace(subject.asked.options, ignore_fields=ignored))
    except CaffeCompatError as error:
        error.add_context(file=parsed.file)
        subject.findings.append(BROKEN_NET.of(error))
        return None
    linted = LintedNet(parsed, graph, number)
    try:
        _build(subject, linted)
    except CaffeCompatError as error:
        error.add_context(file=parsed.file)
        subject.findings.append(BROKEN_NET.of(error))
    return linted


def _unknown_fields(parsed: ParsedNet, ignored: Sequence[str]) -> Iterator[Finding]:
    for unknown in parsed.unknown:
        layer = parsed.message.layer[int(unknown.path[1])] if unknown.path[:1] == ("layer",) else None
        computes = layer is not None and not is_source(layer)
        hint, text = hint_of(unknown, "NetParameter"), f"unknown field {quoted(unknown.name)}"
        name = None if layer is None else layer.name
        if computes and unknown.name not in ignored:
            yield UNKNOWN_FIELD.at(unknown.position, text, layer=name, hint=hint or _ignoring(unknown))
        else:
            yield PASSED_OVER.at(unknown.position, f"{text} is ignored", layer=name, hint=hint)


def _ignoring(unknown: UnknownField) -> str:
    return f"to pass over it: --ignore-field {quoted(unknown.name)[1:-1]}"


def _build(subject: Subject, linted: LintedNet) -> None:
    """Look at what the data layers read, and build the net with such shapes.

    Raises:
        CaffeCompatError: the layers do not fit one another.
    """
    asked = subject.asked
    shapes: dict[str, Shape] = {}
    open_: list[str] = []
    for spec in linted.graph.layers:
        missing = [*missing_in(spec, asked), *bad_samplers(spec)]
        subject.findings += missing
        subject.findings += bad_results(spec, asked) if linted.reads_itself else ()
        if not spec.row.data:
            continue
        layer = build(spec, ())
        assert isinstance(layer, DataLayer)
        found: list[Finding] = []
        read = None if missing or _is_camera(spec) else look(layer, asked, found)
        subject.findings += found
        if read is not None:
            linted.read[spec.index] = read
            shapes.update(zip((key.name for key in spec.tops), read.shapes, strict=True))
            continue
        open_ += [key.name for key in spec.tops if key.name not in layer.declared]
        linted.guessed |= (bool(missing) or bool(found) or _is_camera(spec)) and isinstance(layer, PictureData)
    unknown = [name for name in open_ if name not in shapes]
    if unknown and (linted.guessed or subject.solver is None):
        text = f"the shapes of the net were not checked: that of {quoted(unknown[0])} is not known"
        subject.findings.append(NOT_CHECKED.at(linted.data_layers[0].position, text))
        return
    state_meanings(linted.graph, subject.weights)
    with warnings.catch_warnings():
        if linted.reads_itself:
            # That results are not written, as they are not from here.
            warnings.filterwarnings("ignore", message=f".*{NOT_WRITTEN}", category=CaffeCompatWarning)
        linted.net = Net(linted.graph, shapes)


def _is_camera(spec: LayerSpec) -> bool:
    """Whether a camera would have to be switched on."""
    return spec.type == "VideoData" and spec.message.video_data_param.video_type == caffe_pb2.VideoDataParameter.WEBCAM
