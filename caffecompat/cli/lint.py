"""`caffecompat lint`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import python_option, root_option, rule_options, start_weights_option
from caffecompat.errors import UsageError, did_you_mean, quoted

if TYPE_CHECKING:
    from caffecompat.solver.lint import Asked, Finding


@click.command("lint")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="FILE...")
@start_weights_option
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="How many processes, or GPUs, are to train together.",
)
@click.option(
    "--phase",
    type=click.Choice(["TEST", "TRAIN"], case_sensitive=False),
    help="Of a file that is a net, the phase to check; else each in which it has data.",
)
@root_option
@click.option(
    "--records",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="In how many records of a database labels are looked at.",
)
@click.option("--ignore", "ignored", multiple=True, metavar="RULE[,...]", help="Leave these rules out.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of lines.")
@click.option("--list-rules", is_flag=True, help="List the rules, and check nothing.")
@rule_options
@python_option
def command(
    files: tuple[Path, ...],
    weights: str | None,
    ignored: tuple[str, ...],
    strict: bool,
    as_json: bool,
    list_rules: bool,
    **options: Any,
) -> None:
    """Check solvers and nets before a run: files, first records, labels, weights, settings.

    FILE is the prototxt of a solver, which is checked with its nets, or of a net. Nothing is trained or written. Each
    line of the result is `file:line: severity: layer "x": message [rule]`; the exit status is 1 if there are errors.
    """
    from caffecompat.solver.lint import RULES, lint

    if list_rules:
        _list_rules(as_json)
        return
    if not files:
        raise click.UsageError("no FILE: give the prototxt of a solver or of a net")
    names = [name for text in ignored for name in text.split(",") if name]
    for name in names:
        if name not in RULES:
            hint = did_you_mean(name, RULES) or "--list-rules lists them"
            raise UsageError(f"--ignore names {quoted(name)}, which is no rule", hint=hint)
    asked = _asked(weights, **options)
    found = dict.fromkeys(finding for file in files for finding in lint(file, asked, names))
    _show(list(found), as_json)
    counts = Counter(finding.severity for finding in found)
    if counts["error"] or (strict and counts["warning"]):
        raise click.exceptions.Exit(1)


def _asked(
    weights: str | None,
    processes: int,
    phase: Any,
    root: Path | None,
    records: int,
    **rules: Any,
) -> Asked:
    from caffecompat.solver.lint import Asked
    from caffecompat.solver.options import Options

    named = None if weights is None else tuple(Path(name.strip()) for name in weights.split(",") if name.strip())
    return Asked(Options(root=root, **rules), named, processes, phase, records)


def _list_rules(as_json: bool) -> None:
    from caffecompat.solver.lint import RULES

    rules = [rule for _, rule in sorted(RULES.items())]
    if as_json:
        click.echo(json.dumps([{"rule": r.name, "severity": r.severity, "reason": r.reason} for r in rules], indent=1))
        return
    width = max(len(rule.name) for rule in rules)
    for rule in rules:
        click.echo(f"{rule.name.ljust(width)}  {rule.severity:7}  {rule.reason}")


def _show(found: Sequence[Finding], as_json: bool) -> None:
    """The findings on stdout; how many there are on stderr."""
    counts = Counter(finding.severity for finding in found)
    numbers = {f"{severity}s": counts[severity] for severity in ("error", "warning", "info")}
    if as_json:
        click.echo(json.dumps({**numbers, "findings": [finding.as_json() for finding in found]}, indent=1))
        return
    for finding in found:
        click.echo(finding.text())
    tell(", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in ("error", "warning", "info")))
