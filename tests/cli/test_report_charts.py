"""What the charts of a report are made of: axes, thinned lines, the first of many, escaped texts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.cli.report.chart import thinned
from caffecompat.cli.report.markup import Markup, element, join, number
from caffecompat.cli.report.ranking import Best
from caffecompat.cli.report.scale import Scale, fit, tick_text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 600, [0, 100, 200, 300, 400, 500, 600]),
        (-3, 5, [-2, 0, 2, 4]),
        (0, 9, [0, 2, 4, 6, 8]),
        (0.9991, 0.9999, [0.9992, 0.9994, 0.9996, 0.9998]),
    ],
)
def test_ticks(low, high, ticks):
    assert Scale(low, high, 0, 100).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.9, 230, [1, 10, 100]),
        (1e-9, 1e9, [1e-8, 1e-4, 1, 1e4, 1e8]),
        (3, 450, [5, 10, 20, 50, 100, 200]),
    ],
)
def test_logarithmic_ticks(low, high, ticks):
    found = Scale(low, high, 0, 100, log=True).ticks()
    assert set(ticks) <= {float(f"{value:.6g}") for value in found}
    assert len(found) <= 8


@given(st.lists(st.floats(-1e30, 1e30) | st.just(math.nan), min_size=1, max_size=20))
def test_an_axis_holds_its_values(values):
    values = np.array(values)
    scale = fit(values, 200, 10)
    assert scale.low < scale.high
    places = scale(values)
    finite = np.isfinite(values)
    assert ((places[finite] >= 10 - 1e-6) & (places[finite] <= 200 + 1e-6)).all()
    ticks = scale.ticks()
    assert len(ticks) <= 8
    assert all(scale.low * (1 - 1e-6) - 1e-300 <= tick or scale.low < 0 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.2, "0.2"), (1e-4, "0.0001"), (2e-5, "2e-5"), (600, "600"), (1.5e7, "1.5e7"), (120000, "120,000")],
)
def test_texts_of_ticks(value, text):
    assert tick_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(600, "600"), (12345.0, "12,345"), (0.87599, "0.876"), (math.nan, "nan")])
def test_numbers(value, text):
    assert number(value) == text


def test_thinned_lines_keep_what_is_seen():
    x = np.linspace(0, 100, 20_001)
    y = np.sin(x)
    y[12_345] = 9
    points = np.stack([x, y], 1)
    kept = thinned(points, 100)
    assert len(kept) <= 4 * 101
    assert {tuple(point) for point in kept} <= {tuple(point) for point in points}
    assert 9 in kept[:, 1]
    assert (np.diff(kept[:, 0]) > 0).all()
    for column in range(100):
        inside, seen = points[np.floor(x) == column, 1], kept[np.floor(kept[:, 0]) == column, 1]
        assert (inside.min(), inside.max()) == (seen.min(), seen.max())
    np.testing.assert_array_equal(thinned(points[:300], 100), points[:300])


@given(st.lists(st.integers(0, 5) | st.just(math.nan), max_size=30), st.integers(0, 6))
def test_the_best_are_those_of_a_sorted_list(ranks, most):
    best = Best(most)
    for place, rank in enumerate(ranks):
        best.offer(rank, lambda place=place: place)
    order = sorted(range(len(ranks)), key=lambda place: (math.isnan(ranks[place]), -ranks[place], place))
    order = [place for place in order if not math.isnan(ranks[place])] + [p for p in order if math.isnan(ranks[p])]
    assert list(best) == order[:most]


def test_texts_are_escaped_and_markup_is_not():
    evil = "<b>\"'&\x1b\n"
    assert element("p", evil, element("i", 1.5), title=evil) == (
        '<p title="&lt;b&gt;&quot;&#x27;&amp;\\x1b\\n">&lt;b&gt;&quot;&#x27;&amp;\\x1b\\n<i>1.5</i></p>'
    )
    assert join(["<", Markup("<br>"), None]) == "&lt;<br>"
    assert element("a", None, class_="x", aria_label=None) == '<a class="x"></a>'
