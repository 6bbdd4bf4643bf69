"""A solver and its net that no rule finds fault with, on databases of a few records; and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from caffecompat.solver.lint import RULES, Asked, Finding, lint
from caffecompat.solver.options import Options
from tests.solver.databases import pictures, write_lmdb

SOLVER = """net: "net.prototxt"
test_iter: 5
test_interval: 50
base_lr: 0.01
momentum: 0.9
weight_decay: 0.0005
lr_policy: "step"
gamma: 0.1
stepsize: 40
max_iter: 100
display: 10
snapshot: 50
snapshot_prefix: "snapshots/net"
solver_mode: CPU
"""
NET = """name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.004 mirror: true }
  data_param { source: "train" batch_size: 4 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.004 }
  data_param { source: "test" batch_size: 2 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 2 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
Edits = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """An example that a rule finds, beside one that it does not.

    Attributes:
        rule: the rule.
        says: what its message holds.
        solver: what is replaced in the solver's text.
        net: what is replaced in the net's text.
        good_solver: what is replaced in the solver's text for the example that is right.
        good_net: what is replaced in the net's text there.
        prepare: writes other files for both.
        asked: attributes of `Asked`.
        good_asked: those of the example that is right.
        options: attributes of `Options`, for both.
    """

    rule: str
    says: str
    solver: Edits = ()
    net: Edits = ()
    good_solver: Edits = ()
    good_net: Edits = ()
    prepare: Callable[[Path], object] | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    good_asked: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def edited(text: str, edits: Edits) -> str:
    """The text with each first occurrence replaced; `("", x)` adds x at the end."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1) if old else text + new
    return text


def write(folder: Path, solver: Edits = (), net: Edits = ()) -> Path:
    """The solver and its net in a folder; the path of the solver."""
    (folder / "net.prototxt").write_text(edited(NET, net))
    path = folder / "solver.prototxt"
    path.write_text(edited(SOLVER, solver))
    return path


def check(path: Path, asked: Mapping[str, Any], options: Mapping[str, Any]) -> list[Finding]:
    """What is found; relative paths start in the solver's folder."""
    given = {**asked}
    if "weights" in given:
        given["weights"] = tuple(path.parent / name for name in given["weights"])
    return lint(path, Asked(options=Options(root=path.parent, **options), **given))


def prove(folder: Path, case: Case, write: Callable[[Path, Edits, Edits], Path]) -> None:
    """The rule of a case finds what is wrong, and does not find what is right; `write` writes an example."""
    if case.prepare is not None:
        case.prepare(folder)
    found = check(write(folder, case.solver, case.net), case.asked, case.options)
    of_rule = [finding for finding in found if finding.rule == case.rule]
    assert of_rule, [finding.text() for finding in found]
    assert any(case.says in finding.text() for finding in of_rule), [finding.text() for finding in of_rule]
    assert all(finding.severity == RULES[case.rule].severity for finding in of_rule)

    right = check(write(folder, case.good_solver, case.good_net), case.good_asked, case.options)
    assert not [finding.text() for finding in right if finding.rule == case.rule and case.says in finding.text()]


def databases(folder: Path) -> None:
    """The databases that the net names, and a folder for snapshots."""
    write_lmdb(folder / "train", pictures(20))
    write_lmdb(folder / "test", pictures(10, seed=2))
    (folder / "snapshots").mkdir()
