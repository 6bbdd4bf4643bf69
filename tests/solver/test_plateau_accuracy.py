"""lr_policy "plateau_accuracy": planted accuracies, snapshots, and what cannot be."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError
from caffecompat.formats import parse_text, read_solver
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Options, Solver
from caffecompat.solver.group import Group
from caffecompat.solver.listeners import Score, Test
from caffecompat.solver.policies import LearningRate
from tests.solver.runs import Recorder

pytestmark = pytest.mark.usefixtures("one_thread")

SOLVER = """
test_iter: 1 test_interval: 2 base_lr: 0.5 lr_policy: "plateau_accuracy" gamma: 0.1 plateau_winsize: 4
plateau_winsize: 4 plateau_winsize: 2 max_iter: 24 random_seed: 1 solver_mode: CPU snapshot: 5
net_param {
  name: "planted"
  layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
  layer { name: "same" type: "DummyData" top: "accuracy" dummy_data_param { shape { dim: 1 } } include { phase: TEST } }
  layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
  layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "data" top: "loss" }
}
"""
# At iterations 0, 2, 4, ...
ACCURACIES = [0.1, 0.3, 0.5, 0.5, 0.4, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7]
# New greatest ones at 0, 2, 4; at 8 four iterations have passed: a step, whose window begins anew; at 10 a new one; at
# 14 the second step; at 16 a new one, and at 18, by the window of 2, the third, after which there are no more.
STEPS = [0] * 8 + [1] * 6 + [2] * 4 + [3] * 6


class Planted(Solver):
    """Its test net gives what is planted."""

    def test_pass(self, net):
        return {"accuracy": torch.tensor([ACCURACIES[self.iteration // 2]]), "loss": torch.zeros(())}


class Rates(Recorder):
    def __init__(self):
        super().__init__()
        self.rates = []

    def stepped(self, solver, step):
        self.rates.append(step.rate)


def planted(tmp_path, text=SOLVER, group=None, **options):
    (tmp_path / "solver.prototxt").write_text(f'{text} snapshot_prefix: "{tmp_path}/run"')
    recorder = Rates()
    parsed = read_solver(tmp_path / "solver.prototxt")
    return Planted(parsed, options=Options(device="cpu", **options), listeners=[recorder], group=group), recorder


def test_the_rate_follows_the_accuracy(tmp_path):
    solver, recorder = planted(tmp_path)
    solver.solve()
    assert recorder.rates == pytest.approx([0.5 * 0.1**step for step in STEPS])
    said = [text for text, _ in recorder.lines if text.startswith("Plateau Status")]
    assert said == [
        "Plateau Status: Iteration 0, greatest accuracy = 0.1",
        "Plateau Status: Iteration 2, greatest accuracy = 0.3",
        "Plateau Status: Iteration 4, greatest accuracy = 0.5",
        "Plateau Status: Iteration 8, step = 1",
        "Plateau Status: Iteration 10, greatest accuracy = 0.6",
        "Plateau Status: Iteration 14, step = 2",
        "Plateau Status: Iteration 16, greatest accuracy = 0.7",
        "Plateau Status: Iteration 18, step = 3",
    ]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("iteration", [5, 10, 15])
def test_snapshots_hold_where_it_is(tmp_path, iteration, form, exact):
    """What is resumed goes on as if it had not stopped: 0.6 and 0.7 are no single floats, and are no new greatest."""
    text = f"{SOLVER} snapshot_format: {form}"
    solver, whole = planted(tmp_path, text, exact_resume=exact)
    solver.solve()
    resumed, recorder = planted(tmp_path, text, exact_resume=exact)
    suffix = ".h5" if form == "HDF5" else ""
    resumed.solve(resume=tmp_path / f"run_iter_{iteration}.solverstate{suffix}")
    assert recorder.rates == whole.rates[iteration:]
    assert (resumed.rate.current_step, resumed.rate.iter_last_event) == (3, 18)


class Follower(Group):
    """A process beside the first, which does not test and is told of its numbers."""

    rank, world = 1, 2

    def __init__(self, told):
        self.told = iter(told)

    def same(self, value):
        return next(self.told)

    def mean(self, value):
        return value

    def greatest(self, value):
        return value


def test_processes_that_do_not_test_follow_the_first(tmp_path):
    """They are told whether to stop, and when the last new greatest accuracy came, or the last step."""
    events = [0, 2, 4, 4, 4, 10, 10, 10, 16, 16, 18, 18]
    solver, recorder = planted(tmp_path, group=Follower([one for event in events for one in (0, event)]))
    solver.step(24)
    assert recorder.rates == pytest.approx([0.5 * 0.1**step for step in STEPS])


def rate(text):
    return LearningRate(parse_text(f'base_lr: 1 lr_policy: "plateau_accuracy" {text}', caffe_pb2.SolverParameter))


def test_the_first_value_of_the_output_that_is_named():
    followed = rate('gamma: 0.1 test_interval: 10 plateau_winsize: 10 plateau_output: "top5"')
    said = []
    scores = (Score("accuracy", 0.9), Score("top5", 0.25), Score("top5", 0.75))
    followed.tested([Test(0, 0, (Score("loss", 3.0),)), Test(30, 1, scores)], said.append)
    assert (followed.minimum_loss, followed.iter_last_event) == (-0.25, 30)
    followed.tested([], said.append)
    followed.tested([Test(40, 0, (Score("top5", float("nan")),))], said.append)
    assert (followed.minimum_loss, followed.iter_last_event) == (-0.25, 30)
    assert [followed.rate(number, 0, said.append) for number in (39, 40, 41)] == pytest.approx([1, 0.1, 0.1])
    assert len(said) == 2


def test_other_policies_do_not_follow_tests():
    followed = LearningRate(parse_text('base_lr: 1 lr_policy: "plateau"', caffe_pb2.SolverParameter))
    followed.tested([Test(30, 1, (Score("accuracy", 0.5),))], lambda text: None)
    assert followed.iter_last_event == 0


@pytest.mark.parametrize(
    "text", ["gamma: 0.1", "gamma: 0.1 test_interval: 5", "plateau_winsize: 5", "test_interval: 5 plateau_winsize: 4"]
)
def test_windows_in_which_no_test_comes(text):
    with pytest.raises(SchemaError, match="needs a test_interval above 0 and plateau_winsize not below it"):
        rate(text)


def test_an_output_that_is_not_there(tmp_path):
    with pytest.raises(SchemaError, match="follows the output 'acuracy', which no test net has") as caught:
        planted(tmp_path, f'{SOLVER} plateau_output: "acuracy"')
    assert caught.value.hint == 'did you mean "accuracy"?'
    assert caught.value.line == 2
