"""What `caffecompat train` does: build the solver, tell what it found, train, tell what came of it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from caffecompat.cli.errors import tell
from caffecompat.cli.progress import clock
from caffecompat.cli.reading import tell_skipped
from caffecompat.cli.training_progress import TrainingProgress, test_text
from caffecompat.errors import CaffeCompatError, UsageError, WeightsError, quoted, shown
from caffecompat.formats import read_solver
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.formats.text_file import read_bytes
from caffecompat.graph.spec import Dialect
from caffecompat.solver.building import names_in
from caffecompat.solver.listeners import Listener, number
from caffecompat.solver.log import CaffeLog, new_log
from caffecompat.solver.options import OnNan, OnZeroLoss, Options, Precision
from caffecompat.solver.signals import Signals
from caffecompat.solver.snapshots import Snapshots, latest
from caffecompat.solver.solver import Action, Solver

if TYPE_CHECKING:
    from caffecompat.net import Net
    from caffecompat.solver.group import Group

MAX_NAMES = 20


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for; each attribute is the option of that name."""

    solver: Path
    weights: str | None = None
    snapshot: str | None = None
    gpu: str | None = None
    device: str | None = None
    sigint_effect: Action = "stop"
    sighup_effect: Action = "snapshot"
    exact_resume: bool = False
    on_nan: OnNan = "stop"
    on_zero_loss: OnZeroLoss = "stop"
    precision: Precision = "float32"
    max_iter: int | None = None
    test_iter: int | None = None
    skip_bad_records: bool = False
    workers: int = 2
    root: Path | None = None
    log: str | None = None
    tensorboard: Path | None = None
    verbose: bool = False
    level: int = 0
    stages: tuple[str, ...] = ()
    dialect: Dialect = "ssd"
    ignore_fields: tuple[str, ...] = ()

    @property
    def gpus(self) -> list[int]:
        """The numbers of the GPUs that `--gpu` names; none if it is not given.

        Raises:
            UsageError: "all", and there is none.
        """
        if self.gpu != "all":
            return [int(number) for number in self.gpu.split(",")] if self.gpu else []
        import torch

        if not torch.cuda.device_count():
            raise UsageError("--gpu all: no GPU is here, or this build of torch does not use it")
        return list(range(torch.cuda.device_count()))

    def options(self, group: Group) -> Options:
        """How the solver is run, by one process.

        Raises:
            UsageError: this machine has more processes than `--gpu` names GPUs.
        """
        gpus = self.gpus
        if gpus and group.local_rank >= len(gpus):
            raise UsageError(f"--gpu names {len(gpus)} GPUs; worker {group.rank} of this machine has none")
        shared = {field.name for field in fields(Options)} & {field.name for field in fields(self)} - {"device"}
        asked = {name: getattr(self, name) for name in shared}
        return Options(**asked, device=f"cuda:{gpus[group.local_rank]}" if gpus else self.device)


def train(wanted: Wanted, group: Group) -> None:
    """Train.

    Args:
        wanted: what the command line asks for.
        group: the processes that train together. Only the first of them speaks.

    Raises:
        CaffeCompatError: a file cannot be read or written, a setting makes no sense, or the loss is not finite.
    """
    options = wanted.options(group)
    parsed = read_solver(wanted.solver)
    _override(parsed, wanted)
    speaks = group.rank == 0
    snapshots = Snapshots(parsed, options, writes=speaks)
    if speaks and parsed.message.snapshot_after_train:
        # Not after hours of training.
        snapshots.check()
    given = names_in(wanted.weights or "")
    for name in given:
        # Whether it is there, even if a snapshot goes before it.
        read_bytes(name, 0)
    resume = _resume(wanted, snapshots, group)
    if wanted.weights is not None or resume is not None:
        parsed.message.ClearField("weights")
    weights = given if resume is None else []
    progress = TrainingProgress(verbose=wanted.verbose)
    listeners, log = _listeners(wanted, snapshots, progress) if speaks else ([], None)
    try:
        with Signals(wanted.sigint_effect, wanted.sighup_effect, _hearing if speaks else None) as signals:
            solver = Solver(parsed, weights=weights, options=options, group=group, listeners=listeners)
            solver.action = signals.action
            try:
                _run(solver, progress, _names(parsed, weights), resume, log)
            finally:
                solver.close()
    except BaseException as error:
        if log is not None and not progress.started_once:
            log.discard()
        elif log is not None and isinstance(error, CaffeCompatError):
            for text in str(error).splitlines():
                log.line(text, "train")
        raise
    finally:
        if log is not None:
            log.close()


def _run(
    solver: Solver, progress: TrainingProgress, names: list[str], resume: Path | None, log: CaffeLog | None
) -> None:
    _check_weights(solver, names)
    speaks = solver.group.rank == 0
    if speaks:
        if log is not None:
            tell(f"log: {log.path}")
        for text in _beginning(solver, names, resume):
            tell(text)
    for name in names:
        solver.say(f"Finetuning from {name}", "caffe.cpp:155")
    if resume is not None:
        solver.say(f"Resuming from {resume}", "caffe.cpp:241")
    solver.say("Starting Optimization", "caffe.cpp:251")
    try:
        with progress.under_warnings():
            solver.solve(resume)
        solver.say("Optimization Done.", "caffe.cpp:254")
    except BaseException:
        if progress.snapshot is not None and speaks:
            tell(f"the last snapshot is {progress.snapshot}")
        raise
    finally:
        for net in (solver.net, *solver.test_nets):
            tell_skipped(net, "" if speaks else f"worker {solver.group.rank}: ")
    if speaks:
        for text in _end(solver, progress):
            tell(text)


# --- before


def _override(parsed: ParsedSolver, wanted: Wanted) -> None:
    """Put what the command line asks for in the place of what the solver says."""
    message = parsed.message
    if wanted.max_iter is not None:
        message.max_iter = wanted.max_iter
    if wanted.test_iter is not None:
        message.test_iter[:] = [wanted.test_iter] * len(message.test_iter)


def _resume(wanted: Wanted, snapshots: Snapshots, group: Group) -> Path | None:
    if wanted.snapshot != "auto":
        if wanted.snapshot is not None:
            # Whether it is there, before nets are built.
            read_bytes(wanted.snapshot, 0)
        return None if wanted.snapshot is None else Path(wanted.snapshot)
    found = None
    if group.rank == 0:
        found = None if snapshots.prefix is None else latest(snapshots.prefix, wanted.root)
        if found is None:
            tell("there is no snapshot yet: the run begins anew")
    # All go on from what the first one found.
    name = group.tell(str(found or ""))
    return Path(name) if name else None


def _names(parsed: ParsedSolver, weights: list[str]) -> list[str]:
    """The weight files in the order in which the solver takes them."""
    return [name for text in parsed.message.weights for name in names_in(text)] + weights


def _listeners(
    wanted: Wanted, snapshots: Snapshots, progress: TrainingProgress
) -> tuple[list[Listener], CaffeLog | None]:
    """Who is told how the run goes; and of them the log, if there is to be one."""
    listeners: list[Listener] = [progress]
    if wanted.tensorboard is not None:
        from caffecompat.solver.tensorboard import TensorBoard

        listeners.append(TensorBoard(wanted.tensorboard))
    if wanted.log == "none":
        return listeners, None
    beside = Path(wanted.root or ".") / (snapshots.prefix or "caffecompat")
    log = CaffeLog(new_log(beside) if wanted.log is None else wanted.log)
    return [*listeners, log], log


def _check_weights(solver: Solver, names: list[str]) -> None:
    """Refuse a weight file of which no layer is the net's."""
    own = next((layer.spec.name for layer in solver.net.layers if layer.blob_names), None)
    for name, assigned in zip(names, solver.assigned, strict=True):
        if own is not None and not assigned.matched:
            others = f"those of other layers only, such as {quoted(assigned.unused[0])}" if assigned.unused else "none"
            raise WeightsError(
                f"expected weights of the train net's layers, such as {quoted(own)}; got {others}",
                file=name,
                hint="are they of another net? Layers are matched by name",
            )


# --- what is told


def _beginning(solver: Solver, names: list[str], resume: Path | None) -> list[str]:
    lines = [f"device: {_device(solver)}", f"train net: {_net_text(solver.net)}"]
    lines += [
        f"test net{f' #{index}' if index else ''}: {_net_text(net)}" for index, net in enumerate(solver.test_nets)
    ]
    if resume is not None:
        return [*lines, f"going on from {resume}"]
    for name, assigned in zip(names, solver.assigned, strict=True):
        lines.append(f"weights: {name} has those of {len(assigned.matched)} layers")
        if assigned.unused:
            lines.append(f"in {name}, but not in the net: {_listed(assigned.unused)}")
    filled = solver.net.filled
    if not names:
        lines.append("no weights are given: the parameters come from the net's fillers")
    elif filled:
        lines.append(f"not in the weights, left to their fillers: {_listed(filled)}")
    return lines


def _end(solver: Solver, progress: TrainingProgress) -> list[str]:
    lines = []
    if progress.step is not None:
        loss = f"the last loss is {number(progress.step.smoothed_loss)}"
        lines.append(f"iteration {solver.iteration} is reached after {clock(progress.seconds)}; {loss}")
    elif solver.iteration >= solver.param.max_iter:
        lines.append(f"iteration {solver.iteration} of max_iter {solver.param.max_iter}: nothing is left to train")
    tests = [test for _, test in sorted(progress.tests.items())]
    lines += [f"the last {test_text(test)}, at iteration {test.iteration}" for test in tests]
    if progress.snapshot is not None:
        lines.append(f"the last snapshot is {progress.snapshot}")
    if solver.iteration < solver.param.max_iter:
        more = "" if progress.snapshot is None else f"; --snapshot {progress.snapshot} goes on"
        lines.append(f"stopped before max_iter {solver.param.max_iter}{more}")
    return lines


def _device(solver: Solver) -> str:
    import torch

    if solver.device.type != "cuda":
        return f"{solver.device}, {torch.get_num_threads()} threads"
    return f"{solver.device}, {torch.cuda.get_device_name(solver.device)}"


def _net_text(net: Net) -> str:
    parameters = [item.tensor.numel() for item in net.learnable]
    fixed = sum(item.tensor.numel() for item in net.learnable if not item.lr_mult)
    text = f"{shown(net.graph.name) or 'without a name'}, {len(net.layers)} layers, {sum(parameters):,} parameters"
    return text + (f", {fixed:,} of them fixed" if fixed else "")


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(shown, names[:MAX_NAMES])) + more


def _hearing(action: Action) -> None:
    """Say at once that a signal came. The handler may run amid a write to stderr, whose buffer must not be used."""
    said = "stopping after this iteration; Ctrl-C again ends at once" if action == "stop" else "writing a snapshot"
    with suppress(OSError):
        # Below the bar of a terminal; an empty line elsewhere would stop `parse_log.py`.
        os.write(2, b"\n" * os.isatty(2) + said.encode() + b"\n")
