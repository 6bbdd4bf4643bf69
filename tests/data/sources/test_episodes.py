"""The EpisodeData layer: what an episode is made of, which classes a phase sees, and faults."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data.draws import Draws
from caffecompat.data.episodes import Episodes, distinct
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from tests.data.records import raw, write_lmdb
from tests.data.sources.sources import check_no_state, check_restore, check_workers, passes, reading_net

CLASSES, OF_A_CLASS = 12, 7


def picture(label: int, number: int) -> np.ndarray:
    """One that says what it is."""
    return np.array([[[label, number]]], np.uint8)


def text_of(more: str = "ways: 4 shots: 2 queries: 3 episodes: 2", tops: str = 'top: "data" top: "label"') -> str:
    return (
        f'layer {{ name: "data" type: "EpisodeData" {tops} episode_data_param {{ {more} }} '
        'data_param { source: "db" backend: LMDB } }'
    )


@pytest.fixture
def root(tmp_path):
    """The records of all classes mixed."""
    items = [(label, number) for number in range(OF_A_CLASS) for label in range(CLASSES)]
    write_lmdb(tmp_path / "db", [(b"%04d" % at, raw(picture(*item), 10 * item[0])) for at, item in enumerate(items)])
    return tmp_path


def test_episodes_are_of_different_classes_and_different_pictures(root):
    seen = set()
    for tops in check_workers(text_of(), root, 20):
        data, labels = tops["data"][:, 0, 0], tops["label"]
        assert data.shape == (2 * 4 * 5, 2)
        # The support sets of both episodes, then their queries.
        assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 2 + [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] * 2
        for episode in range(2):
            rows = [*range(8 * episode, 8 * episode + 8), *range(16 + 12 * episode, 28 + 12 * episode)]
            classes = [{data[row, 0] for row in rows if labels[row] == label} for label in range(4)]
            assert all(len(one) == 1 for one in classes)
            assert len(set.union(*classes)) == 4
            assert len({tuple(data[row]) for row in rows}) == 20
            seen |= {tuple(data[row]) for row in rows}
    assert len(seen) == CLASSES * OF_A_CLASS


def test_a_state_goes_on(root):
    check_restore(text_of(), root)
    check_no_state(text_of(), root)


def test_processes_draw_their_own(root):
    first = {}
    for rank in range(2):
        with reading_net(text_of(), root, rank=rank, world=2, seed=7 + rank) as net:
            first[rank] = passes(net, 1)[0]["data"]
    assert not np.array_equal(first[0], first[1])


def test_held_out_classes_are_seen_in_tests_only(root):
    seen = {}
    for phase in ("TRAIN", "TEST"):
        with reading_net(text_of("ways: 3 shots: 1 queries: 1 held_out_classes: 5 split_seed: 3"), root, phase) as net:
            seen[phase] = {value for tops in passes(net, 60) for value in tops["data"][:, 0, 0, 0]}
    assert len(seen["TRAIN"]) == 7
    assert len(seen["TEST"]) == 5
    assert not seen["TRAIN"] & seen["TEST"]


def test_small_classes_are_left_out(root):
    with (
        pytest.warns(CaffeCompatWarning, match="1 classes have fewer than 5 records and are left out"),
        reading_net(text_of(), add(root, raw(picture(99, 0), 990))) as net,
    ):
        assert not any(99 in tops["data"] for tops in passes(net, 20))


def add(root, record: bytes):
    write_lmdb(root / "db", [(b"9999", record)])
    return root


def test_bad_records(root):
    add(root, b"\x0a\xff")
    with pytest.raises(CaffeCompatError, match=r'layer "data": record \'9999\' of .*db'), reading_net(text_of(), root):
        pass
    with (
        pytest.warns(CaffeCompatWarning, match="1 records cannot be read and are left out, such as: .*9999"),
        reading_net(text_of(), root, skip_bad_records=True) as net,
    ):
        assert len(passes(net, 3)) == 3


def test_one_top(root):
    with reading_net(text_of(tops='top: "data"'), root) as net:
        assert list(passes(net, 1)[0]) == ["data"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("ways: 13", "expected 13 classes of at least 6 records .* got 12 such classes of 12"),
        ("ways: 2 shots: 5 queries: 3", "expected 2 classes of at least 8 records"),
        ("ways: 0", "expected ways of at least 1, got 0"),
        ("held_out_classes: 12", "12 of 12 classes are to be held out.*\n.*fewer held_out_classes"),
        ("held_out_classes: 10 ways: 3", "got 2 such classes of 2"),
        ("ways: 100000 shots: 100000", "a batch would have"),
    ],
)
def test_refused(more, says, root):
    with pytest.raises(CaffeCompatError, match=says), reading_net(text_of(more), root):
        pass


def test_distinct_numbers_are_each_as_likely():
    draws, counts = Draws(5), np.zeros((6, 6))
    for _ in range(3000):
        drawn = distinct(draws, 6, 6)
        assert sorted(drawn) == list(range(6))
        counts[range(6), drawn] += 1
    assert abs(counts - 500).max() < 5 * np.sqrt(3000 * (1 / 6) * (5 / 6))
    assert len(set(distinct(draws, 10**9, 50))) == 50


def test_labels_are_those_of_the_rows():
    assert Episodes(2, 1, 2, 2).labels().tolist() == [0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1]
