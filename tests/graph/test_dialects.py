"""The one table of what the Caffes do otherwise, and that there is no other place."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from caffecompat.cli.main import COMMANDS, main
from caffecompat.graph.dialects import DIALECTS, Rules
from caffecompat.graph.spec import Dialect

PACKAGE = Path(__file__).resolve().parents[2] / "caffecompat"
# They name files and lists, or write nets, and build none; or they hand all flags, --dialect among them, to a command
# that does.
WITHOUT_NETS = {"data", "evaluate", "new", "plot", "recipes", "upgrade", "caffe", "tool"}


def test_every_dialect_has_its_rules_and_every_rule_tells_them_apart():
    assert set(DIALECTS) == set(get_args(Dialect))
    for field in fields(Rules):
        assert len({getattr(rules, field.name) for rules in DIALECTS.values()}) == len(DIALECTS)


def compared_with_dialects(source: str) -> list[int]:
    """The lines on which something is compared with the name of a dialect."""
    names = set(get_args(Dialect))
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in names
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_place_asks_for_the_dialect(path):
    assert not compared_with_dialects(path.read_text())


def test_the_search_can_fail():
    assert compared_with_dialects('if spec.dialect == "bvlc":\n    pass\nx = "ssd" != dialect') == [1, 3]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_NETS))
def test_every_command_that_builds_a_net_takes_the_dialect(name):
    command = main.get_command(None, name)
    option = next(option for option in command.params if option.name == "dialect")
    assert set(option.type.choices) == set(get_args(Dialect))
