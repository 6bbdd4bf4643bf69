"""LAYERS.md: fresh, and true."""

from __future__ import annotations

from collections import defaultdict

import pytest

from caffecompat.layers import build, registered
from tests.layers import layers_page
from tests.layers.single import single


@pytest.mark.slow
def test_the_page_is_fresh():
    assert layers_page.PAGE.read_text() == layers_page.page(), "LAYERS.md is stale: run make layers"


def test_every_registered_type_is_on_the_page():
    rows = [line for line in layers_page.PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == sorted(registered())


def test_what_is_read_is_noted_and_nothing_else():
    read: layers_page.Read = defaultdict(set)
    spec = single("ReLU", "relu_param { engine: CUDNN }", (1, 2)).spec
    build(layers_page.watched(spec, read), [(1, 2)])
    assert read["ReLU"] == {("relu_param", "negative_slope")}
    spec = single("Softmax", "", (1, 2)).spec
    watched = layers_page.watched(spec, read).message
    assert not watched.softmax_param.HasField("axis")
    assert watched.name == "l"
    assert read["Softmax"] == {("softmax_param", "axis")}


def test_fields_are_changed_one_by_one():
    spec = single("Clip", "clip_param { min: 0 max: 1 }", (1, 2)).spec
    changed = [message.clip_param for message in layers_page.changes(spec, {("clip_param", "max")})]
    assert [(param.min, param.max) for param in changed] == [(0.5, 1)]
