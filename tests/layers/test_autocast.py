"""Every recorded net under bfloat16 autocast: the same answers, to the precision of bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import Net
from tests.layers.golden import Case, cases

# Their answers jump where scores or overlaps are close, or are not finite.
JUMPS = {"accuracy", "argmax", "detout", "deteval", "multibox", "infogain_source", "clip_nan", "k1s2", "k2s5"}
CASES = [case for case in cases() if not any(word in case.name for word in JUMPS)]


def answers(case: Case, *, autocast: bool) -> dict[str, np.ndarray]:
    inputs = {name: torch.from_numpy(value.copy()) for name, value in case.part("in").items()}
    net = Net(case.graph(), {name: x.shape for name, x in inputs.items()})
    for key, value in case.part("param").items():
        layer, index = key.rsplit("/", 1)
        net.layer(layer).give(int(index), torch.from_numpy(value.copy()))
    net.fill()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return {name: blob.float().numpy() for name, blob in net(**inputs).items()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_float32(case):
    expected = answers(case, autocast=False)
    for name, ours in answers(case, autocast=True).items():
        theirs = expected[name]
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max(initial=0) <= 0.03 * np.abs(theirs).max(initial=0) + 1e-3, name
