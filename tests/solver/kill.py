"""Training that is killed at any moment, again and again, and goes on from the last whole snapshot each time.

    python -m tests.solver.kill --runs 200

Each run trains the recorded digits run `sgd_step` with `snapshot: 1` and an exact resume, on one thread. SIGKILL hits
it at a random moment, mostly while it writes, for that is what it does most of the time; one in ten while it starts. It
is a fault if the last whole snapshot is then older than the last one that the run told of, or if its parameters differ
in any bit from those of an uninterrupted run. The next run goes on from it.

Processes are forked from one that has imported everything and runs no other thread.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import atomic, read_solver, read_solverstate, read_weights
from caffecompat.solver import Listener, Options, Solver
from caffecompat.solver.snapshots import find_weights, latest
from tests.solver.runs import TRAINING, parameters

ITERATIONS = 40
Parameters = dict[str, np.ndarray]


@dataclass
class Findings:
    """What came of all runs.

    Attributes:
        kills: how many runs were killed.
        finished: how many came to their end before.
        moments: how many were killed at what: "weights", "sidecar", "state" (while that was written, or before the
            next), "training", or "start".
        resumed: from how many different iterations runs went on.
        leftovers: the most temporary files there were at a time.
        faults: what went wrong.
    """

    kills: int = 0
    finished: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    resumed: set[int] = field(default_factory=set)
    leftovers: int = 0
    faults: list[str] = field(default_factory=list)


class Teller(Listener):
    """Tells through a pipe what is done."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def tell(self, text: str) -> None:
        os.write(self._pipe, f"{text}\n".encode())

    def started(self, solver):
        self.tell("started")

    def snapshotted(self, solver, state):
        self.tell(f"snapshot {solver.iteration}")


def solver_in(folder: Path, listeners: list[Listener], hdf5: bool = False) -> Solver:
    parsed = read_solver(TRAINING / "sgd_step" / "solver.prototxt")
    message = parsed.message
    message.max_iter, message.snapshot, message.snapshot_prefix = ITERATIONS, 1, str(folder / "x")
    message.snapshot_format = 0 if hdf5 else 1
    message.test_interval, message.test_initialization = 10**6, False
    options = Options(root=TRAINING, device="cpu", exact_resume=True, workers=0)
    weights = [TRAINING / "sgd_step" / "init.caffemodel"]
    return Solver(parsed, weights=weights, options=options, listeners=listeners)


def uninterrupted(folder: Path) -> list[Parameters]:
    """The parameters after each iteration of a run that nobody kills; the first are those it starts from."""

    def work(pipe: int) -> None:
        solver = solver_in(folder, [])
        solver.snapshots.write = lambda solver: folder
        found = {f"0/{name}": value for name, value in parameters(solver).items()}
        for iteration in range(1, ITERATIONS + 1):
            solver.step(1)
            found |= {f"{iteration}/{name}": value for name, value in parameters(solver).items()}
        np.savez(folder / "expected.npz", **found)
        solver.close()

    pid, pipe = forked(work)
    lines = told(pipe)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("\n".join(lines))
    with np.load(folder / "expected.npz") as arrays:
        found = [{} for _ in range(ITERATIONS + 1)]
        for key, value in arrays.items():
            iteration, _, name = key.partition("/")
            found[int(iteration)][name] = value
    (folder / "expected.npz").unlink()
    return found


def train(folder: Path, pipe: int, seed: int, hdf5: bool) -> None:
    """What a process that is to be killed does: go on from the last snapshot, up to the end."""
    teller = Teller(pipe)
    chance = random.Random(seed)
    create, replace = atomic._create, os.replace

    class Slow(io.BufferedRandom):
        """A file that is written in two steps each time."""

        def write(self, data):
            view = memoryview(data).cast("B")
            half = len(view) // 2
            super().write(view[:half])
            self.flush()
            time.sleep(chance.random() * 0.001)
            return half + super().write(view[half:])

    def created(target):
        teller.tell(f"writing {Path(target).name}")
        file, temporary = create(target)
        return Slow(file.detach()), temporary

    def replaced(source, target):
        # The moments before a file takes its name and between the files of a snapshot are to be hit too.
        time.sleep(chance.random() * 0.004)
        replace(source, target)
        time.sleep(chance.random() * 0.002)

    atomic._create, os.replace = created, replaced
    solver = solver_in(folder, [teller], hdf5)
    last = latest(folder / "x")
    solver.solve(last)
    solver.close()


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """A process that does `work`, and the end of a pipe from which what it tells is read."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    status = 1
    try:
        os.close(ours)
        work(theirs)
        status = 0
    except BaseException:
        os.write(theirs, f"error {traceback.format_exc()}".encode())
    finally:
        os._exit(status)


def told(pipe: int, first: bytes = b"") -> list[str]:
    """All that was told, up to the end of the process."""
    text = first
    while data := os.read(pipe, 1 << 16):
        text += data
    os.close(pipe)
    return text.decode().splitlines()


def moment(lines: list[str]) -> str:
    """At what a run was killed."""
    if not lines or not lines[-1].startswith("writing"):
        return "training" if lines else "start"
    if ".json" in lines[-1]:
        return "sidecar"
    return "weights" if ".caffemodel" in lines[-1] else "state"


def check(folder: Path, expected: list[Parameters], lines: list[str], before: int) -> tuple[int, list[str]]:
    """The iteration of the last whole snapshot, and what is wrong with it.

    Args:
        folder: where the snapshots are.
        expected: the parameters after each iteration.
        lines: what the run that was killed has told.
        before: the iteration from which it went on.
    """
    done = max([before, *(int(line.split()[1]) for line in lines if line.startswith("snapshot"))])
    state = latest(folder / "x")
    if state is None:
        return 0, [f"no snapshot is left, and {done} was written"] if done else []
    last = iteration_of(state)
    faults = [] if last >= done else [f"the last snapshot is {last}, and {done} was written"]
    # A state that is there has all the rest: users take the one with the highest number themselves.
    for path in [path for path in folder.glob("x_iter_*.solverstate*") if path.suffix != ".json"]:
        if iteration_of(path) >= before:
            faults += [f"{path.name}: {fault}" for fault in differences(path, expected[iteration_of(path)])]
    return last, faults


def iteration_of(state: Path) -> int:
    return int(re.match(r"x_iter_([0-9]+)\.", state.name)[1])


def differences(state: Path, expected: Parameters) -> list[str]:
    """What is wrong with a snapshot."""
    try:
        weights = read_weights(find_weights(read_solverstate(state), state))
    except CaffeCompatError as error:
        return [str(error)]
    arrays = {item.name: [np.asarray(blob.array) for blob in item.blobs] for item in weights.layers}
    own = {name: arrays[name.rsplit("/", 1)[0]][int(name.rsplit("/", 1)[1])] for name in expected}
    same = {name: np.array_equal(own[name].reshape(value.shape), value) for name, value in expected.items()}
    return [f"{name} differs from that of an uninterrupted run" for name in same if not same[name]]


def kill_runs(runs: int, folder: Path, seed: int = 1, longest: float = 0.3, hdf5: bool = False) -> Findings:
    """Kill so many runs.

    Args:
        runs: how many.
        folder: where the snapshots go.
        seed: of the random moments.
        longest: seconds after its start in which a run is killed.
        hdf5: have the snapshots in HDF5.
    """
    torch.set_num_threads(1)
    # All that is imported late is imported once.
    solver_in(folder, [], hdf5).close()
    expected = uninterrupted(folder)
    chance, findings, at = random.Random(seed), Findings(), 0
    while findings.kills < runs and not findings.faults:
        pid, pipe = forked(lambda pipe: train(folder, pipe, chance.randrange(1 << 30), hdf5))
        first = os.read(pipe, 1 << 16) if chance.random() < 0.9 else b""
        time.sleep(chance.random() * longest)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        lines = told(pipe, first)
        if os.WIFSIGNALED(status):
            findings.kills += 1
            findings.moments[moment(lines)] += 1
        elif os.WEXITSTATUS(status):
            findings.faults.append(f"a run failed: {lines}")
        else:
            findings.finished += 1
        at, faults = check(folder, expected, lines, at)
        findings.faults += faults
        findings.resumed.add(at)
        findings.leftovers = max(findings.leftovers, sum(name.endswith(".tmp") for name in os.listdir(folder)))
        if at == ITERATIONS:
            at = 0
            for path in folder.iterdir():
                path.unlink()
    return findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=0.3, help="seconds after its start in which a run is killed")
    parser.add_argument("--hdf5", action="store_true")
    given = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        findings = kill_runs(given.runs, Path(folder), given.seed, given.longest, given.hdf5)
    print(f"{findings.kills} runs killed, {findings.finished} finished before, in {time.monotonic() - begin:.0f} s")
    print(f"killed at: {dict(findings.moments)}; gone on from {len(findings.resumed)} different iterations")
    print(f"at most {findings.leftovers} temporary files were left at a time")
    for fault in findings.faults:
        print(f"FAULT: {fault}")
    raise SystemExit(bool(findings.faults))


if __name__ == "__main__":
    main()
