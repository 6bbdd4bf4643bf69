"""Every rule finds what it is for, and does not find what is right."""

from __future__ import annotations

import importlib.util

import pytest

from caffecompat.solver.lint import RULES
from caffecompat.solver.lint.rules import rules_as_markdown
from tests.solver.lint.cases import CASES
from tests.solver.lint.examples import Case, check, databases, write
from tests.solver.lint.lint_page import PAGE, page


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
    if case.prepare is not None:
        case.prepare(folder)
    found = check(write(folder, case.solver, case.net), case.asked, case.options)
    of_rule = [finding for finding in found if finding.rule == case.rule]
    assert of_rule, [finding.text() for finding in found]
    assert any(case.says in finding.text() for finding in of_rule), [finding.message for finding in of_rule]
    assert all(finding.severity == RULES[case.rule].severity for finding in of_rule)

    right = check(write(folder, case.good_solver, case.good_net), case.good_asked, case.options)
    assert not [finding.text() for finding in right if finding.rule == case.rule and case.says in finding.text()]


def test_every_rule_has_a_case():
    assert {case.rule for case in CASES} == set(RULES)


def test_the_page_is_fresh():
    assert PAGE.read_text() == page(PAGE.read_text()), "docs/lint.md is stale: python -m tests.solver.lint.lint_page"
    assert rules_as_markdown() in PAGE.read_text()
