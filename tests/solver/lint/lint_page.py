"""Writes the table of rules into docs/lint.md: `python -m tests.solver.lint.lint_page`."""

from __future__ import annotations

from pathlib import Path

from caffecompat.solver.lint.rules import rules_as_markdown

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lint.md"
HEADING = "## Rules\n\n"


def page(text: str) -> str:
    """The page with its last section, the table, written anew."""
    return text[: text.index(HEADING)] + HEADING + rules_as_markdown()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
