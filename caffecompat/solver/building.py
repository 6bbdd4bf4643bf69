"""What a solver is made of: its weights and its nets, on their device."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading
from caffecompat.errors import UsageError, located
from caffecompat.formats import read_weights
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.formats.paths import find
from caffecompat.formats.weights import Weights
from caffecompat.net import Net
from caffecompat.net.weights import Assigned, assign
from caffecompat.solver.devices import own_parameters
from caffecompat.solver.group import Group
from caffecompat.solver.layout import plan_layout
from caffecompat.solver.nets import Planned, build_net, planned_test_nets, planned_train_net
from caffecompat.solver.options import Options

WeightsLike = str | os.PathLike[str] | Weights
Say = Callable[[str, str], None]


class Nets(NamedTuple):
    """The nets of a solver.

    Attributes:
        train: the net that is trained.
        tests: the nets that are tested, in the first of several processes; their parameters are the train net's.
        assigned: what each weight file did to the train net.
    """

    train: Net
    tests: list[Net]
    assigned: list[Assigned]


def positive(parsed: ParsedSolver, field: str) -> int:
    """The value of a field that must be at least 1.

    Raises:
        UsageError: it is less.
    """
    value: int = getattr(parsed.message, field)
    if value < 1:
        raise located(UsageError(f"{field} must be at least 1, got {value}"), parsed.position(field, 0))
    return value


def names_in(text: str) -> list[str]:
    """The names of files in a text that separates them by commas."""
    return [name for name in map(str.strip, text.split(",")) if name]


def read_sources(parsed: ParsedSolver, options: Options, given: Sequence[WeightsLike]) -> list[Weights]:
    """The weights to start from: those that the solver names itself, then those given.

    Raises:
        CaffeCompatError: a file is not there, or cannot be read.
    """
    names = [name for text in parsed.message.weights for name in names_in(text)]
    found = [find(name, "weights", root=options.root, beside=parsed.file) for name in names]
    return [source if isinstance(source, Weights) else read_weights(source) for source in (*found, *given)]


def build_nets(
    parsed: ParsedSolver,
    options: Options,
    group: Group,
    device: torch.device,
    draws: Draws,
    sources: Sequence[Weights],
    say: Say,
) -> Nets:
    """The nets of a solver, their data layers reading, their parameters from the weights or their fillers.

    Raises:
        CaffeCompatError: the layers make no net, what they read is not there, or the weights do not fit.
    """

    def built(plan: Planned, kind: str, trained: Net | None = None) -> tuple[Net, list[Assigned]]:
        train = trained is None
        say(f"Creating {kind} net specified by {plan.source}", "solver.cpp:87")
        reading = Reading(
            root=options.root,
            draws=draws,
            workers=options.workers,
            rank=group.rank if train else 0,
            world=group.world if train else 1,
            skip_bad_records=options.skip_bad_records,
            pin=device.type == "cuda",
        )
        net = build_net(plan, options, reading, sources)
        wanting = list(net.layers)
        # Where the nets are seen, a test net has parameters of its own up to its first test, as in Caffe.
        owner = None if options.visible else trained
        if owner is not None:
            net.share_with(owner)
            wanting = [layer for layer in net.layers if layer.unfilled]
        assigned = [assign(wanting, source) for source in sources]
        net.fill()
        own_parameters(net, device, owner, plan=not options.visible)
        if train and device.type == "cuda" and options.precision != "float32":
            # What a GPU computes in less than float32 it computes faster so, a step of SSD300 by 15%. The weights
            # stay as they are: float32, in which tests may be, takes up to ten times as long so.
            plan_layout(net)
        return net, assigned

    plan = planned_train_net(parsed, options)
    net, assigned = built(plan, "training")
    if not net.loss_weights:
        hint = "a net that is trained needs a loss layer, such as SoftmaxWithLoss, in phase TRAIN"
        raise UsageError("the train net has no loss", file=plan.parsed.file, hint=hint)
    tests = []
    for index, tested in enumerate(planned_test_nets(parsed, options) if group.rank == 0 else []):
        test_net, _ = built(tested, f"test (#{index})", net)
        tests.append(test_net)
    return Nets(net, tests, assigned)
