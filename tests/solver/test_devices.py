"""Where a solver computes, and on how many threads."""

from __future__ import annotations

import torch

from caffecompat.solver import Listener, Solver
from caffecompat.solver.devices import is_small, threads
from tests.support import REFERENCE, make_net

RUN = REFERENCE / "training" / "sgd_step"
NET = """
layer {{ name: "d" type: "DummyData" top: "x" dummy_data_param {{ shape {{ dim: {batch} dim: {inputs} }} }} }}
layer {{ name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {{ num_output: {outputs} }} }}
"""


def test_what_is_small():
    assert is_small(make_net(NET.format(batch=10, inputs=100, outputs=100)))
    assert not is_small(make_net(NET.format(batch=500, inputs=100, outputs=100)))
    assert not is_small(make_net(NET.format(batch=1, inputs=3000, outputs=3000)))


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    with threads(single=True):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with threads(single=False):
        assert torch.get_num_threads() == before


class Watching(Listener):
    def __init__(self):
        self.seen = []

    def stepped(self, solver, step):
        self.seen.append(torch.get_num_threads())


def test_a_small_net_trains_on_one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        watching = Watching()
        solver = Solver.from_prototxt(RUN / "solver.prototxt", root=RUN.parent, listeners=[watching])
        solver.param.test_interval = 0
        solver.step(2)
        solver.close()
        assert watching.seen == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
