"""What two processes do together for `test_distributed.py`, and how they are started.

All is done by one pair of processes, one thing after the other: to start them takes longer than the rest.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import parse_text, read_solver, upgrade_solver
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Options, Solver
from caffecompat.solver.group import Group
from tests.solver.runs import TRAINING, Recorder, parameters

WORLD = 2
ITERATIONS = 12
RUNS = [("sgd_step", 1), ("sgd_step", 2), ("adam", 1), ("sgd_poly_bn", 1)]

# Frozen: "fixed". Shared: "left" and "right". Not reached by the loss: "idle". All processes see the same values.
ODD_NET = """
layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 4 }
  data_filler { value: 1 } data_filler { value: 3 } } }
layer { name: "fixed" type: "InnerProduct" bottom: "x" top: "fixed" param { lr_mult: 0 } param { lr_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { value: 0.2 } } }
layer { name: "left" type: "InnerProduct" bottom: "fixed" top: "left" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 weight_filler { value: 0.1 } } }
layer { name: "right" type: "InnerProduct" bottom: "x" top: "right" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 } }
layer { name: "idle" type: "InnerProduct" bottom: "x" top: "idle" inner_product_param { num_output: 4
  weight_filler { value: 0.3 } } }
layer { name: "quiet" type: "Silence" bottom: "idle" }
layer { name: "loss1" type: "EuclideanLoss" bottom: "left" bottom: "y" top: "loss1" }
layer { name: "loss2" type: "EuclideanLoss" bottom: "right" bottom: "y" top: "loss2" }
"""

XAVIER_NET = ODD_NET.replace("value: 0.1 }", 'type: "xavier" }')


def digits(run: str, prefix: Path, group: Group | None, recorder: Recorder | None = None, **fields) -> Solver:
    """The solver of a recorded run, with other fields; `exact` is an option."""
    parsed = read_solver(TRAINING / run / "solver.prototxt")
    parsed.message.snapshot_prefix = str(prefix)
    exact = fields.pop("exact", False)
    for name, value in {"test_initialization": False, "test_interval": 10**6, **fields}.items():
        setattr(parsed.message, name, value)
    options = Options(root=TRAINING, device="cpu", exact_resume=exact)
    listeners = [recorder] if recorder is not None else []
    return Solver(
        parsed, weights=[TRAINING / run / "init.caffemodel"], options=options, group=group, listeners=listeners
    )


def odd(group: Group | None, net: str = ODD_NET, text: str = "") -> Solver:
    """A solver of the net above."""
    source = f'net_param {{ {net} }} base_lr: 0.1 lr_policy: "fixed" max_iter: 5 {text}'
    parsed = upgrade_solver(parse_text(source, caffe_pb2.SolverParameter))
    return Solver(parsed, options=Options(device="cpu"), group=group)


# --- what is done; each gives arrays, which are written to a file of the process


def equality(group, folder):
    """Train on the digits, by several types of solver."""
    found = {}
    for run, iter_size in RUNS:
        solver = digits(run, folder / "x", group, iter_size=iter_size)
        solver.step(ITERATIONS)
        found |= {f"{run}/{iter_size}/{name}": value for name, value in parameters(solver).items()}
        solver.net.close()
    return found


def odd_nets(group, folder):
    """Train nets with parameters that are frozen, shared, or not reached, in both processes or in one."""
    solver = odd(group)
    solver.step(3)
    found = {f"all/{name}": value for name, value in parameters(solver).items()}
    for name in ("both", "one"):
        solver = odd(group)
        if name == "one" and group.rank == 1:
            layer = solver.net.layer("right")
            forward = layer.forward
            layer.forward = lambda x, forward=forward: forward(x).detach()
        solver.step(1)
        found[f"{name}/w"] = parameters(solver)["left/0"]
    solver = odd(group, text="iter_size: 2")
    solver.step(2)
    found["two/w"] = parameters(solver)["left/0"]
    return found


def beginnings(group, folder):
    """Start from fillers, without a seed and with one."""
    solver = odd(group, XAVIER_NET)
    found = {"fillers": parameters(solver)["left/0"]}
    solver = odd(group, XAVIER_NET, "random_seed: 3")
    found["seeded"] = parameters(solver)["left/0"]
    found["random"] = torch.rand(4).numpy()
    return found


def tests_and_snapshots(group, folder):
    """The first process tests, slowly, and writes snapshots: each process has a prefix of its own here."""

    class Slow(Recorder):
        def tested(self, solver, test):
            super().tested(solver, test)
            time.sleep(0.5)

    recorder = Slow()
    (folder / str(group.rank)).mkdir()
    fields = {"test_interval": 5, "test_initialization": True, "snapshot": 4, "max_iter": 8}
    solver = digits("sgd_step", folder / str(group.rank) / "x", group, recorder, **fields)
    solver.solve()
    values = [[test["accuracy"], test["loss"]] for test in recorder.tests]
    return {"tests": np.array(values), "losses": np.array(recorder.losses)}


def stopping(group, folder):
    """One process, not the first, is asked to stop; the other is asked nothing."""
    solver = digits("sgd_step", folder / "x", group, max_iter=50, snapshot_after_train=False)
    solver.action = lambda: "stop" if group.rank == 1 and solver.iteration == 3 else "none"
    solver.solve()
    stopped = solver.iteration
    solver.net.close()
    # The first one stops in a test.
    solver = digits("sgd_step", folder / "x", group, max_iter=50, test_interval=2, snapshot_after_train=False)
    solver.action = lambda: "none"
    if group.rank == 0:
        calls = iter(["none"] * 5 + ["snapshot", "stop"])
        solver.action = lambda: next(calls, "none")
    solver.solve()
    return {"stopped": np.array([stopped, solver.iteration])}


def exact(group, folder):
    """Train through, and with an exact resume in the middle."""
    solver = digits("sgd_step", folder / "exact", group, exact=True, max_iter=8, snapshot=5)
    solver.solve()
    found = {f"through/{name}": value for name, value in parameters(solver).items()}
    solver.net.close()
    solver = digits("sgd_step", folder / "again", group, exact=True, max_iter=8)
    solver.solve(folder / "exact_iter_5.solverstate")
    found |= {f"resumed/{name}": value for name, value in parameters(solver).items()}
    found["random"] = torch.rand(2).numpy()
    return found


def numbers(group, folder):
    """What the group does with numbers and texts."""
    values = [group.mean(0.1 + group.rank), group.same(7 + group.rank), group.greatest(7 + group.rank)]
    return {"numbers": np.array(values), "text": np.array(group.tell(f"täxt {group.rank}"))}


def other_nets(group, folder):
    """The processes have different nets."""
    name = 'top: "idle" inner_product_param { num_output: '
    try:
        odd(group, ODD_NET.replace(f"{name}4", f"{name}{4 + group.rank}"))
    except CaffeCompatError as error:
        return {"error": np.array(str(error)), "told": np.array(error.told)}
    return {}


def leaving(group, folder):
    """One process leaves the other alone."""
    if group.rank == 1:
        return {}
    try:
        odd(group)
    except CaffeCompatError as error:
        return {"error": np.array(str(error))}
    return {}


THINGS = [equality, odd_nets, beginnings, tests_and_snapshots, stopping, exact, numbers, other_nets, leaving]


def work(rank: int, folder: Path) -> None:
    """One of the processes."""
    from caffecompat.solver.distributed import join

    torch.set_num_threads(1)
    stated = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD}
    os.environ |= {name: str(value) for name, value in stated.items()} | {"MASTER_ADDR": "127.0.0.1"}
    for thing in THINGS:
        os.environ["CAFFECOMPAT_STORE"] = str(folder / f"store_{thing.__name__}")
        group = join()
        own = folder / thing.__name__
        own.mkdir(exist_ok=True)
        np.savez(folder / f"{thing.__name__}.{rank}.npz", **thing(group, own))
        group.close()


def work_together(folder: Path, patience: float = 120.0) -> list[int | None]:
    """Start the processes and wait for them; their exit statuses."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, folder)) for rank in range(WORLD)]
    for process in processes:
        process.start()
    end = time.monotonic() + patience
    for process in processes:
        process.join(max(end - time.monotonic(), 0))
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses
