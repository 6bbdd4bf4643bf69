"""Every rule finds what it is for, and does not find what is right."""

from __future__ import annotations

import importlib.util

import pytest

from caffecompat.solver.lint import RULES
from caffecompat.solver.lint.rules import rules_as_markdown
from tests.solver.lint.cases import CASES
from tests.solver.lint.examples import Case, check, databases, prove, write
from tests.solver.lint.lint_page import PAGE, page
from tests.solver.lint.ssd_cases import SSD_CASES


@pytest.fixture
def folder(tmp_path):
    databases(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, request):
    """No GPU; and for the rule about it no h5py."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    case = getattr(request.node, "callspec", None)
    if case is not None and getattr(case.params.get("case"), "rule", "") == "no-h5py":
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "h5py" else find(name))


def test_the_example_is_right(folder):
    found = check(write(folder), {}, {})
    assert [(finding.rule, finding.message) for finding in found] == [
        ("run-size", "20 records, 4 an iteration: all of them once in 5 iterations, 20 times in the run of 100")
    ]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rule}-{number}" for number, case in enumerate(CASES)])
def test_rule(folder, case: Case):
    prove(folder, case, write)


def test_every_rule_has_a_case():
    assert {case.rule for case in (*CASES, *SSD_CASES)} == set(RULES)


def test_the_page_is_fresh():
    assert PAGE.read_text() == page(PAGE.read_text()), "docs/lint.md is stale: python -m tests.solver.lint.lint_page"
    assert rules_as_markdown() in PAGE.read_text()
