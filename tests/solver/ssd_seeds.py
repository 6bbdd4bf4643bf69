"""Train the recorded SSD run from several seeds, each with its own initial weights, and state the mAPs.

python -m tests.solver.ssd_seeds 1 2 3 4 5 6 [--precision bf16]
"""

from __future__ import annotations

import argparse
import time

from caffecompat.formats import read_solver
from caffecompat.solver import Options, Solver
from caffecompat.solver.options import Precision
from tests.support import REFERENCE

RUNS = REFERENCE / "ssd_training"


def mean_average_precision(seed: int, precision: Precision = "float32") -> float:
    """The mAP after the run of 600 iterations with this `random_seed`."""
    parsed = read_solver(RUNS / "ssd_shapes" / "solver.prototxt")
    parsed.message.random_seed = seed
    parsed.message.test_interval = parsed.message.max_iter
    parsed.message.test_initialization = False
    solver = Solver(parsed, options=Options(root=RUNS, device="cpu", precision=precision))
    try:
        solver.step(solver.param.max_iter)
        (test,) = solver.test()
        return test.scores[0].value
    finally:
        solver.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    given = parser.parse_args()
    found = []
    for seed in given.seeds:
        start = time.perf_counter()
        found.append(mean_average_precision(seed, given.precision))
        print(f"seed {seed}: mAP {found[-1]:.3f} in {time.perf_counter() - start:.0f} s", flush=True)
    print(f"mean {sum(found) / len(found):.3f}")


if __name__ == "__main__":
    main()
