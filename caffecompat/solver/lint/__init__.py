"""Solvers and nets checked before a run: paths, data, settings, labels, weights. Nothing is trained or written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from caffecompat.solver.lint.asked import Asked
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.rules import CHECKS, RULES
from caffecompat.solver.lint.subject import read_subject

__all__ = ["RULES", "Asked", "Finding", "Rule", "lint"]


def lint(path: Path, asked: Asked | None = None, ignore: Iterable[str] = ()) -> list[Finding]:
    """Check a solver or a net.

    Args:
        path: its prototxt.
        asked: what will be given to the run beside it.
        ignore: names of rules that are not checked.

    Returns:
        What was found, each once, by place; what has no place comes last.
    """
    subject = read_subject(path, asked or Asked())
    found = [*subject.findings, *(finding for check in CHECKS for finding in check(subject))]
    left_out = frozenset(ignore)
    kept = dict.fromkeys(finding for finding in found if finding.rule not in left_out)
    return sorted(
        kept,
        key=lambda finding: (finding.file is None, finding.file != str(path), finding.file or "", finding.line or 0),
    )
