"""Several processes that train together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.errors import UsageError
from caffecompat.solver.distributed import Workers, _reaching, join
from caffecompat.solver.group import Group
from tests.solver.runs import Recorder, parameters
from tests.solver.workers import ITERATIONS, RUNS, THINGS, WORLD, XAVIER_NET, digits, odd, work_together

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes have done all that is looked at below: what each of them found."""
    folder = tmp_path_factory.mktemp("together")
    assert work_together(folder) == [0, 0]
    found = {}
    for thing in THINGS:
        for rank in range(WORLD):
            with np.load(folder / f"{thing.__name__}.{rank}.npz") as arrays:
                found[thing.__name__, rank] = dict(arrays)
    return folder, found


@pytest.mark.parametrize(("run", "iter_size"), RUNS[:3])
def test_two_workers_train_as_one_with_twice_the_iter_size(together, tmp_path, run, iter_size):
    _, found = together
    alone = digits(run, tmp_path / "x", None, iter_size=WORLD * iter_size)
    alone.step(ITERATIONS)
    for name, value in parameters(alone).items():
        key = f"{run}/{iter_size}/{name}"
        first, second = (found["equality", rank][key] for rank in range(WORLD))
        assert np.abs(first - value).max() < 1e-5
        assert np.array_equal(first, second)
    alone.close()


def test_statistics_of_batchnorm_stay_each_workers_own(together, tmp_path):
    _, found = together
    first, second = (found["equality", rank] for rank in range(WORLD))
    names = [name for name in first if name.startswith("sgd_poly_bn/")]
    same = {name for name in names if np.array_equal(first[name], second[name])}
    # The third blob is a count of passes.
    assert {name.rpartition("/")[0] for name in set(names) - same} == {"sgd_poly_bn/1/bn1"}
    assert {name.rpartition("/")[2] for name in set(names) - same} == {"0", "1"}


def test_parameters_frozen_shared_or_not_reached(together):
    _, found = together
    alone = odd(None)
    before = {name: value.copy() for name, value in parameters(alone).items()}
    alone.step(3)
    for rank in range(WORLD):
        for name, value in parameters(alone).items():
            assert np.allclose(found["odd_nets", rank][f"all/{name}"], value, atol=1e-6), name
    for name in ("fixed/0", "idle/0"):
        assert np.array_equal(before[name], found["odd_nets", 1][f"all/{name}"])
    assert not np.allclose(before["left/0"], found["odd_nets", 0]["all/left/0"])
    assert np.array_equal(found["odd_nets", 0]["all/left/0"], found["odd_nets", 0]["all/right/0"])


def test_a_loss_that_reaches_a_parameter_in_one_worker_only(together):
    """The gradient of "left" is g, that of "right" h: both give g + h, and one of two workers without h g + h/2."""
    _, found = together
    first, second = (found["odd_nets", rank] for rank in range(WORLD))
    assert np.array_equal(first["one/w"], second["one/w"])
    start = np.full((4, 3), 0.1, np.float32)
    # x is 1, y is 3, fixed is 0.6: the mean over 2 rows of (output - y) times input, at both outputs' first values.
    g, h = 0.6 * (0.1 * 3 * 0.6 - 3), 1.0 * (0.1 * 3 - 3)
    assert np.allclose(first["both/w"], start - 0.1 * (g + h), atol=1e-6)
    assert np.allclose(first["one/w"], start - 0.1 * (g + h / 2), atol=1e-6)


def test_iter_size_with_parameters_that_are_not_reached(together):
    _, found = together
    alone = odd(None)
    alone.step(2)
    assert np.allclose(found["odd_nets", 0]["two/w"], parameters(alone)["left/0"], atol=1e-6)
    assert np.array_equal(found["odd_nets", 0]["two/w"], found["odd_nets", 1]["two/w"])


def test_all_begin_from_the_parameters_of_the_first(together):
    _, found = together
    first, second = (found["beginnings", rank] for rank in range(WORLD))
    assert np.array_equal(first["fillers"], second["fillers"])
    assert np.array_equal(first["seeded"], second["seeded"])


def test_random_numbers_differ_and_the_first_ones_are_those_of_one_alone(together):
    _, found = together
    first, second = (found["beginnings", rank]["random"] for rank in range(WORLD))
    assert not np.array_equal(first, second)
    odd(None, XAVIER_NET, "random_seed: 3")
    assert np.array_equal(torch.rand(4).numpy(), first)


def test_the_first_tests_while_the_others_wait(together, tmp_path):
    _, found = together
    recorder = Recorder()
    fields = {"test_interval": 5, "test_initialization": True, "max_iter": 8, "iter_size": WORLD}
    alone = digits("sgd_step", tmp_path / "x", None, recorder, snapshot_after_train=False, **fields)
    alone.solve()
    values = [[test["accuracy"], test["loss"]] for test in recorder.tests]
    assert np.allclose(found["tests_and_snapshots", 0]["tests"], values, atol=1e-5)
    assert found["tests_and_snapshots", 1]["tests"].size == 0
    assert len(values) == 2
    alone.close()


def test_only_the_first_writes_snapshots(together):
    folder, _ = together
    files = [sorted(path.name for path in (folder / "tests_and_snapshots" / str(rank)).iterdir()) for rank in (0, 1)]
    assert files[0] == [f"x_iter_{n}.{kind}" for n in (4, 8) for kind in ("caffemodel", "solverstate")]
    assert files[1] == []


def test_all_stop_where_one_is_asked_to(together):
    folder, found = together
    for rank in range(WORLD):
        # After the third update; then in the second test, which comes after two updates.
        assert found["stopping", rank]["stopped"].tolist() == [3, 2]
    # What was asked for in that test would come after the next iteration.
    assert list((folder / "stopping").iterdir()) == []


def test_an_exact_resume_has_what_each_worker_needs(together):
    folder, found = together
    names = {path.name for path in (folder / "exact").iterdir()}
    assert {f"exact_iter_5.solverstate.resume.rank{rank}.json" for rank in range(WORLD)} <= names
    for rank in range(WORLD):
        arrays = found["exact", rank]
        for name in [name for name in arrays if name.startswith("through/")]:
            assert np.array_equal(arrays[name], arrays[name.replace("through", "resumed")])
    assert not np.array_equal(found["exact", 0]["random"], found["exact", 1]["random"])


def test_numbers_and_texts(together):
    _, found = together
    for rank in range(WORLD):
        assert found["numbers", rank]["numbers"].tolist() == pytest.approx([0.6, 7, 8])
        assert str(found["numbers", rank]["text"]) == "täxt 0"


def test_different_nets_are_refused_and_told_of_once(together):
    _, found = together
    for rank in range(WORLD):
        assert "the net of worker 1 has other parameters" in str(found["other_nets", rank]["error"])
        assert bool(found["other_nets", rank]["told"]) == (rank == 1)


def test_a_worker_that_leaves_while_another_needs_it(together):
    _, found = together
    assert str(found["leaving", 0]["error"]).startswith("worker 1 left, and worker 0 still needs it")


def test_reaching_leaves_the_loss_and_adds_gradients_of_zero():
    used, idle = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.full((2, 2), torch.inf))
    plain = (used * 2).sum()
    loss = _reaching(plain, [used, idle])
    assert float(loss.detach()) == 6
    loss.backward()
    assert used.grad.tolist() == [2, 2, 2]
    assert idle.grad.tolist() == [[0, 0], [0, 0]]
    assert _reaching(plain, [used]) is plain


def test_alone_where_nobody_started_others(monkeypatch):
    for value in (None, "", "1"):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        if value is not None:
            monkeypatch.setenv("WORLD_SIZE", value)
        assert type(join()) is Group


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({}, "RANK is not set"),
        ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE, got 'two'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK from 0 to 1, got 2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "MASTER_PORT is not set"),
    ],
)
def test_an_environment_that_does_not_say_who_trains(monkeypatch, stated, message):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "CAFFECOMPAT_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        Workers()
