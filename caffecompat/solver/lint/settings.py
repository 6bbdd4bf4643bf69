"""Rules about a solver's settings, but for the learning rate's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.schema import caffe_pb2
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.listeners import number
from caffecompat.solver.policies import LearningRate
from caffecompat.solver.updates import make_update

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import Subject

BAD_SETTING = Rule("bad-setting", "error", "A setting must be one that the solver can use.")
MAX_ITER = Rule("max-iter", "warning", "Without max_iter nothing is trained.")
BASE_LR = Rule(
    "base-lr", "warning", "A rate of 0 or below, or far from the usual ones of the solver's type, is a slip."
)
MOMENTUM = Rule("momentum", "warning", "A momentum outside 0..1 diverges; Adam and AdaDelta mean little without one.")
WEIGHT_DECAY = Rule("weight-decay", "warning", "A decay below 0 or above 0.1 outweighs the loss.")
CLIP_GRADIENTS = Rule("clip-gradients", "warning", "clip_gradients: 0 makes every gradient 0.")
TEST_INTERVAL = Rule("test-interval", "warning", "A test that is due after the last iteration is never made.")
NO_SNAPSHOTS = Rule("no-snapshots", "warning", "With snapshot: 0 and snapshot_after_train: false a run leaves nothing.")
LATE_SNAPSHOT = Rule("late-snapshot", "info", "With snapshot above max_iter only the end of the run is kept.")
DISPLAY = Rule("display", "info", "With display: 0 the log shows no losses.")
NO_GPU = Rule("no-gpu", "warning", "solver_mode: GPU where no GPU is: the run takes the CPU.")
NO_H5PY = Rule("no-h5py", "error", "Snapshots in HDF5 are written by h5py.")
RULES = (
    BAD_SETTING,
    MAX_ITER,
    BASE_LR,
    MOMENTUM,
    WEIGHT_DECAY,
    CLIP_GRADIENTS,
    TEST_INTERVAL,
    NO_SNAPSHOTS,
    LATE_SNAPSHOT,
    DISPLAY,
    NO_GPU,
    NO_H5PY,
)

# The greatest usual base_lr of each type, by far.
USUAL_LR = {"SGD": 5.0, "Nesterov": 5.0, "AdaGrad": 1.0, "RMSProp": 0.05, "Adam": 0.05}
MAX_DECAY = 0.1


def check(subject: Subject) -> Iterator[Finding]:
    """A solver's settings."""
    solver = subject.solver
    if solver is None:
        return
    yield from _refused(subject, solver)
    yield from _rate(solver)
    yield from _update(solver)
    yield from _intervals(solver)
    yield from _machine(solver)


def _refused(subject: Subject, solver: ParsedSolver) -> Iterator[Finding]:
    """What the solver itself refuses."""
    for field in ("average_loss", "iter_size"):
        value = getattr(solver.message, field)
        if value < 1:
            yield BAD_SETTING.at(solver.position(field, 0), f"{field} must be at least 1, got {value}")
    try:
        LearningRate(solver)
    except CaffeCompatError as error:
        yield BAD_SETTING.of(error)
    if subject.train is None or subject.train.net is None:
        return
    try:
        make_update(solver, subject.train.net.learnable)
    except CaffeCompatError as error:
        error.add_context(file=solver.file)
        yield BAD_SETTING.of(error)


def _rate(solver: ParsedSolver) -> Iterator[Finding]:
    message = solver.message
    rate, type_ = message.base_lr, message.type
    place = solver.position("base_lr", 0)
    if message.max_iter <= 0:
        yield MAX_ITER.at(solver.position("max_iter", 0), f"max_iter is {message.max_iter}: nothing is trained")
    if not rate > 0:
        what = "is" if message.HasField("base_lr") else "is not stated, and so"
        yield BASE_LR.at(place, f"base_lr {what} {number(rate)}: nothing is learnt")
    elif rate > USUAL_LR.get(type_, float("inf")):
        yield BASE_LR.at(
            place, f"base_lr {number(rate)} is more than is usual for {type_} (at most {USUAL_LR[type_]:g})"
        )
    elif type_ == "AdaDelta" and rate < 0.01:
        yield BASE_LR.at(place, f"base_lr {number(rate)} multiplies steps that AdaDelta chooses itself; 1 is usual")


def _update(solver: ParsedSolver) -> Iterator[Finding]:
    message = solver.message
    fields = ("momentum", "momentum2") if message.type == "Adam" else ("momentum",)
    for field in fields:
        value = getattr(message, field)
        if not 0 <= value < 1:
            text = f"{field} is {number(value)}; expected 0 to below 1"
            yield MOMENTUM.at(solver.position(field, 0), text)
    if message.momentum == 0 and message.type in ("Adam", "AdaDelta"):
        what = "Adam's beta1 (0.9 is usual)" if message.type == "Adam" else "AdaDelta's decay (0.95 is usual)"
        yield MOMENTUM.at(solver.position("type", 0), f"momentum is 0, and it is {what}")
    decay = message.weight_decay
    if not 0 <= decay <= MAX_DECAY:
        text = f"weight_decay is {number(decay)}; expected 0 to {MAX_DECAY:g}"
        yield WEIGHT_DECAY.at(solver.position("weight_decay", 0), text)
    if message.clip_gradients == 0:
        place = solver.position("clip_gradients", 0)
        yield CLIP_GRADIENTS.at(place, "clip_gradients is 0: nothing is learnt", hint="a value below 0 clips nothing")


def _intervals(solver: ParsedSolver) -> Iterator[Finding]:
    message = solver.message
    last = message.max_iter
    if message.test_iter and message.test_interval > last:
        only = "only the test at the beginning is made" if message.test_initialization else "no test is made"
        text = f"test_interval {message.test_interval} is above max_iter {last}: {only}"
        yield TEST_INTERVAL.at(solver.position("test_interval", 0), text)
    if message.snapshot <= 0 and not message.snapshot_after_train:
        text = "no snapshots: snapshot is 0, and snapshot_after_train false; the run leaves nothing"
        yield NO_SNAPSHOTS.at(solver.position("snapshot_after_train", 0), text)
    elif message.snapshot > last:
        end = "only that at the end is written" if message.snapshot_after_train else "none is written"
        text = f"snapshot {message.snapshot} is above max_iter {last}: {end}"
        rule = LATE_SNAPSHOT if message.snapshot_after_train else NO_SNAPSHOTS
        yield rule.at(solver.position("snapshot", 0), text)
    if message.display <= 0:
        yield DISPLAY.at(solver.position("display", 0), "display is 0: the log shows no losses")


def _machine(solver: ParsedSolver) -> Iterator[Finding]:
    message = solver.message
    if message.HasField("solver_mode") and message.solver_mode == caffe_pb2.SolverParameter.GPU:
        count = torch.cuda.device_count()
        if not count:
            yield NO_GPU.at(solver.position("solver_mode", 0), "solver_mode is GPU, and no GPU is here")
        elif message.device_id >= count:
            text = f"device_id is {message.device_id}, and {count} GPUs are here"
            yield NO_GPU.at(solver.position("device_id", 0), text)
    hdf5 = message.snapshot_format == caffe_pb2.SolverParameter.HDF5
    if hdf5 and importlib.util.find_spec("h5py") is None:
        text = "snapshot_format is HDF5, and h5py is not installed"
        yield NO_H5PY.at(solver.position("snapshot_format", 0), text, hint="pip install 'caffecompat[hdf5]'")
