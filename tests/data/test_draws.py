"""Draws against Python's own generator, and the rules of boost and caffe::shuffle, number by number."""

from __future__ import annotations

import json

import pytest

from caffecompat.data.draws import Draws
from tests.data.records import Twister


def test_it_is_the_mersenne_twister():
    # The values that the C++ standard states for its mt19937, which has the seed 5489.
    draws = Draws(5489)
    assert [draws() for _ in range(3)] == [3499211612, 581869302, 3890346734]
    draws = Draws(5489)
    assert draws.many(10_000)[-1] == 4123659995


@pytest.mark.parametrize("seed", [0, 1, 1701, 2**32 - 1])
def test_a_seed_gives_boosts_stream(seed):
    draws, expected = Draws(seed), Twister(seed)
    assert [draws() for _ in range(700)] == [expected() for _ in range(700)]


def test_one_by_one_and_many_are_the_same_stream():
    one, many = Draws(7), Draws(7)
    assert [one() for _ in range(1300)] == many.many(624) + many.many(0) + many.many(676)


def test_seeds_are_cut_to_32_bits():
    assert Draws(2**32 + 5)() == Draws(5)()
    assert Draws(-1)() == Draws(2**32 - 1)()


def test_without_a_seed_streams_differ():
    assert Draws().many(4) != Draws().many(4)


def naive_below(twister: Twister, bound: int) -> int:
    """boost::uniform_int(0, bound - 1), as golden/dilation's README states it."""
    bucket = (2**32 - 1) // bound
    if (2**32 - 1) % bound == bound - 1:
        bucket += 1
    while True:
        drawn = twister() // bucket
        if drawn < bound:
            return drawn


@pytest.mark.parametrize("bound", [1, 2, 3, 7, 1000, 2**31, 2**31 + 1])
def test_a_bound_is_drawn_as_boost_draws_it(bound):
    draws, twister = Draws(3), Twister(3)
    assert [draws.below(bound) for _ in range(50)] == [naive_below(twister, bound) for _ in range(50)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 16384, 16385, 200_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_shuffles_as_caffe(count, seed):
    draws, twister = Draws(seed), Twister(seed)
    want = list(range(count))
    for last in range(count - 1, 0, -1):
        other = naive_below(twister, last + 1)
        want[last], want[other] = want[other], want[last]
    assert draws.shuffled(count) == want
    # As many numbers were drawn, refused ones included.
    assert draws() == twister()


@pytest.mark.parametrize("taken", [0, 1, 623, 624, 1000])
def test_a_state_goes_through_json(taken):
    draws = Draws(5)
    draws.many(taken)
    state = json.loads(json.dumps(draws.state()))
    expected = draws.many(100)
    other = Draws(99)
    other.restore(state)
    assert other.many(100) == expected
