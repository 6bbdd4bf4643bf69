"""Boxes and scores for property tests: on coarse grids, so that overlaps and scores tie often."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def boxes(draw, least=0, most=40):
    """(M, 4) float32; some inverted, some outside 0..1."""
    count = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(-1, 7, (count, 2))
    side = rng.integers(draw(st.sampled_from([-1, 0, 1])), 6, (count, 2))
    grid = draw(st.sampled_from([8, 7]))
    return (np.concatenate([corner, corner + side], 1) / grid).astype(np.float32)


@st.composite
def scores(draw, *shape):
    """Multiples of 1/8 of this shape, float32."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (rng.integers(0, 9, shape) / 8).astype(np.float32)
