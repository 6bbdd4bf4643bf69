"""All rules, and the groups of checks that find against them.

A new group is a module with `RULES` and `check(subject)`, named in `GROUPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from caffecompat.solver.lint import (
    batches,
    boxes,
    detections,
    files,
    labels,
    priors,
    rates,
    reading,
    samplers,
    settings,
    ssd,
    structure,
    subject,
    transforms,
    weights,
)
from caffecompat.solver.lint.findings import Finding, Rule

GROUPS = (
    files,
    settings,
    rates,
    structure,
    transforms,
    batches,
    labels,
    weights,
    ssd,
    priors,
    boxes,
    samplers,
    detections,
)
CHECKS: tuple[Callable[[subject.Subject], Iterator[Finding]], ...] = tuple(group.check for group in GROUPS)
RULES: dict[str, Rule] = {rule.name: rule for group in (subject, reading, *GROUPS) for rule in group.RULES}


def rules_as_markdown() -> str:
    """The table of all rules."""
    rows = [f"| `{rule.name}` | {rule.severity} | {rule.reason} |" for _, rule in sorted(RULES.items())]
    return "\n".join(["| rule | | why |", "|---|---|---|", *rows, ""])
