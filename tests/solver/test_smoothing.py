"""The shown loss: the mean of the last `average_loss` losses, as Solver::UpdateSmoothedLoss keeps it."""

from __future__ import annotations

import json
from statistics import fmean

import pytest

from caffecompat.solver.smoothing import SmoothedLoss

LOSSES = [3.0, 1.0, 4.0, 1.5, 9.25, 2.5, 6.0, 5.0, 3.5]


@pytest.mark.parametrize("window", [1, 2, 4, 20])
def test_the_mean_of_the_last_losses(window):
    smoothed = SmoothedLoss(window)
    assert smoothed.value == 0
    for count, loss in enumerate(LOSSES, 1):
        assert smoothed.add(loss) == pytest.approx(fmean(LOSSES[max(count - window, 0) : count]))


def test_it_begins_anew():
    smoothed = SmoothedLoss(3)
    for loss in LOSSES:
        smoothed.add(loss)
    smoothed.clear()
    assert smoothed.value == 0
    assert [smoothed.add(loss) for loss in (2, 4, 6, 8)] == pytest.approx([2, 3, 4, 6])


@pytest.mark.parametrize("taken", [0, 2, 3, 5, 8])
def test_it_goes_on_from_its_state(taken):
    whole, resumed = SmoothedLoss(3), SmoothedLoss(3)
    resumed.add(77)
    for loss in LOSSES[:taken]:
        whole.add(loss)
    resumed.restore(json.loads(json.dumps(whole.state())))
    assert [resumed.add(loss) for loss in LOSSES] == [whole.add(loss) for loss in LOSSES]


def test_a_state_of_a_longer_window_is_refused():
    long = SmoothedLoss(5)
    for loss in LOSSES:
        long.add(loss)
    short = SmoothedLoss(4)
    short.add(1)
    with pytest.raises(ValueError, match="5 losses are kept, average_loss is 4"):
        short.restore(long.state())
    assert short.value == 1
