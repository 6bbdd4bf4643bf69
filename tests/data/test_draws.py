"""Draws against the generator's raw numbers and caffe::shuffle, item by item."""

from __future__ import annotations

import json

import pytest

from caffecompat.data.draws import Draws
from tests.data.sources.sources import Twister


def test_numbers_are_the_mersenne_twisters():
    # The 10000th number of std::mt19937, seeded with 5489, as the C++ standard states it.
    assert Draws(5489).many(10000)[-1] == 4123659995
    draws, twister = Draws(7), Twister(7)
    assert [draws(), *draws.many(3), *draws.many(0), draws()] == twister.draws(5)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 16384, 16385, 200_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_shuffles_as_caffe(count, seed):
    draws, twister = Draws(seed), Twister(seed)
    want = list(range(count))
    twister.shuffle(want)
    assert draws.shuffled(count) == want
    # As many numbers were drawn, refused ones included.
    assert draws() == twister()


def test_numbers_that_are_refused():
    # Of 2**31 + 1 buckets of 1, a number beyond is refused: every second one.
    draws, twister = Draws(3), Twister(3)
    bound = 2**31 + 1
    want = [number for number in twister.draws(40) if number < bound]
    assert [draws.below(bound) for _ in range(len(want) // 2)] == want[: len(want) // 2]


def test_a_state_goes_on():
    draws = Draws(5)
    draws.many(1000)
    state = json.loads(json.dumps(draws.state()))
    want = draws.many(1000)
    other = Draws(6)
    other.restore(state)
    assert other.many(1000) == want
