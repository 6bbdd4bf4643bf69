"""Resuming: exactly, by what lies beside the state; or as the original does."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.solver import Solver
from caffecompat.solver.group import Group
from tests.solver.runs import Recorder, parameters
from tests.solver.tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

# Random throughout: an order that is shuffled, crops, mirrors, dropout.
RANDOM_NET = """
name: "random"
layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { scale: 0.004 mirror: true crop_size: 5 }
  image_data_param { source: "list.txt" batch_size: 3 shuffle: true is_color: false } }
layer { name: "drop" type: "Dropout" bottom: "data" top: "data" dropout_param { dropout_ratio: 0.3 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
RANDOM_SOLVER = """
net: "net.prototxt" test_iter: 2 test_interval: 3 base_lr: 0.1 momentum: 0.9 lr_policy: "plateau" gamma: 0.5
plateau_winsize: 2 plateau_winsize: 3 average_loss: 3 max_iter: 12 snapshot: 5 snapshot_prefix: "run" random_seed: 7
type: "Adam" momentum2: 0.99 solver_mode: CPU
"""


@pytest.fixture
def pictures(tmp_path):
    """A folder with ten pictures, their list, and a net and a solver that read them."""
    random = np.random.default_rng(1)
    lines = []
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), random.integers(0, 255, (7, 7), np.uint8))
        lines.append(f"{number}.png {number % 3}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    (tmp_path / "net.prototxt").write_text(
        RANDOM_NET.replace('"list.txt"', f'"{tmp_path}/list.txt" root_folder: "{tmp_path}/"')
    )
    (tmp_path / "solver.prototxt").write_text(RANDOM_SOLVER)
    return tmp_path


def random_solver(folder, **options):
    recorder = Recorder()
    solver = Solver.from_prototxt(folder / "solver.prototxt", root=folder, listeners=[recorder], **options)
    return solver, recorder


def keys_of(solver):
    (reader,) = solver.net.readers
    return reader.batch.keys


def test_an_exact_resume_equals_an_uninterrupted_run(pictures):
    whole, uninterrupted = random_solver(pictures, exact_resume=True, workers=2)
    whole.solve()
    whole.close()
    assert (pictures / "run_iter_5.solverstate.resume.json").exists()
    resumed_solver, recorder = random_solver(pictures, exact_resume=True, workers=0)
    torch.manual_seed(99)
    resumed_solver.solve(resume=pictures / "run_iter_5.solverstate")
    resumed_solver.close()
    assert recorder.losses == uninterrupted.losses[5:]
    assert recorder.tests == uninterrupted.tests[2:]
    assert len(set(uninterrupted.losses)) == 12
    assert resumed_solver.smoothed.value == whole.smoothed.value
    assert (resumed_solver.rate.minimum_loss, resumed_solver.rate.current_step) == (
        whole.rate.minimum_loss,
        whole.rate.current_step,
    )
    for name, value in parameters(whole).items():
        np.testing.assert_array_equal(parameters(resumed_solver)[name], value)


def test_by_default_a_resume_starts_the_reader_anew(pictures):
    first, _ = random_solver(pictures)
    first.step(1)
    keys = keys_of(first)
    first.step(4)
    assert not list(pictures.glob("*.json"))
    assert keys_of(first) != keys
    first.close()
    second, _ = random_solver(pictures)
    second.restore(pictures / "run_iter_5.solverstate")
    second.step(1)
    second.close()
    assert second.iteration == 6
    assert keys_of(second) == keys


def broken_sidecar(change):
    def apply(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


BROKEN_SIDECARS = {
    "absent": (lambda path: path.unlink(), "which is not there"),
    "empty": (lambda path: path.write_text(""), "the file is damaged"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "the file is damaged"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "the file is damaged"),
    "deep": (lambda path: path.write_text("[" * 200_000), "the file is damaged"),
    "a list": (lambda path: path.write_text("[]"), "expected a JSON object"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    "a new version": (broken_sidecar(lambda content: content.update(version=3)), "expected version 2, got 3"),
    "of another iteration": (
        broken_sidecar(lambda content: content.update(iteration=4)),
        "expected iteration 5, got 4",
    ),
    "of two processes": (broken_sidecar(lambda content: content.update(world=2)), "expected world 1, got 2"),
    "of fewer readers": (broken_sidecar(lambda content: content["readers"].pop()), "readers"),
    "without places": (broken_sidecar(lambda content: content.pop("places")), "of another run"),
    "without readers": (broken_sidecar(lambda content: content.pop("readers")), "readers"),
    "of another reader": (broken_sidecar(lambda content: content["readers"].__setitem__(0, [{}])), "of another run"),
    "a number for a reader": (
        broken_sidecar(lambda content: content["readers"].__setitem__(0, [3])),
        "of another run",
    ),
    "no random state": (broken_sidecar(lambda content: content["random"].update(cpu="")), "of another run"),
    "no base64": (broken_sidecar(lambda content: content["random"].update(cpu="?")), "of another run"),
    "no losses": (broken_sidecar(lambda content: content.update(smoothed={})), "of another run"),
    "no minimum": (broken_sidecar(lambda content: content.update(minimum_loss=None)), "of another run"),
}


@pytest.mark.parametrize("case", BROKEN_SIDECARS)
def test_sidecars_that_cannot_be_used(case, pictures):
    change, message = BROKEN_SIDECARS[case]
    solver, _ = random_solver(pictures, exact_resume=True, workers=0)
    solver.step(5)
    path = pictures / "run_iter_5.solverstate.resume.json"
    change(path)
    with pytest.raises(FormatError) as caught:
        solver.restore(pictures / "run_iter_5.solverstate")
    solver.close()
    assert message in caught.value.message
    assert caught.value.file == str(path)
    assert "--exact-resume" in caught.value.hint


class Two(Group):
    """One of two processes, as far as snapshots go."""

    world = 2

    def __init__(self, rank):
        self.rank = rank
        self.meetings = 0

    def mean(self, value):
        self.meetings += 1
        return value


def test_of_several_processes_the_first_writes_and_each_keeps_its_own_place(tmp_path):
    for rank, own in ((1, []), (0, ["net_iter_0.caffemodel", "net_iter_0.solverstate"])):
        group = Two(rank)
        folder = tmp_path / str(rank)
        folder.mkdir()
        solver = tiny(folder / "net", group=group, exact_resume=True)
        solver.snapshot()
        sidecar = f"net_iter_0.solverstate.resume.rank{rank}.json"
        assert sorted(os.listdir(folder)) == sorted([*own, sidecar])
        # The state is written when all have written theirs.
        assert group.meetings == 1
    solver.restore(tmp_path / "0" / "net_iter_0.solverstate")
    alone = tiny(tmp_path / "0" / "net", exact_resume=True)
    with pytest.raises(FormatError, match="which is not there"):
        alone.restore(tmp_path / "0" / "net_iter_0.solverstate")


def test_the_other_processes_need_no_folder(tmp_path):
    tiny(tmp_path / "none" / "net", "snapshot: 1", group=Two(1))
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        tiny(tmp_path / "none" / "net", "snapshot: 1", group=Two(0))
