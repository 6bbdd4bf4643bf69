"""docs/source.md: how long the sources are that it tells of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from caffecompat.export.source.building import build
from caffecompat.export.source.exporting import write_source
from tests.zoo.made import built, made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "source.md"
ROW = r"^\| ([a-z0-9-]+)(?: \(.*\))? \| (\d+)(?:, of them (\d+) the operators)? \|$"
ROWS = re.findall(ROW, PAGE.read_text(), re.MULTILINE)


def test_the_table_is_there():
    assert len(ROWS) == 6


@pytest.mark.parametrize(("name", "lines", "operators"), ROWS)
def test_lines(name, lines, operators):
    """As `convert` writes them; only the text is made here."""
    net = built(made(name).nets["deploy"], "TEST").eval()
    net.fill()
    metadata = {
        "caffecompat_version": "1",
        "preprocessing": net.preprocessing.to_json(),
        "sources": json.dumps({"deploy.prototxt": "0" * 64}),
        "license": "not stated",
    }
    code, _, _ = write_source(build(net), net.graph.name, metadata)
    assert len(code.splitlines()) == int(lines)
    if operators:
        first, last = (code.index(part) for part in ("class PriorBox", "def conv_relu"))
        assert code[first:last].count("\n") == int(operators)
