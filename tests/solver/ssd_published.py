"""SSD's published solvers and nets, in folders laid out as they expect, on the drawn set of shapes.

    python -m tests.solver.ssd_published SSD512_VOC0712 --steps 2 [--batch 2] [--precision bf16]

trains for some steps, writes a snapshot, goes on from it for a step, and tests two batches. Without --batch the files
are used as they are.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from pathlib import Path

from caffecompat.formats import read_solver
from caffecompat.solver import Options, Solver
from caffecompat.solver.listeners import Test
from caffecompat.solver.options import Precision
from tests.support import REFERENCE, shared_file

# The nets, and how many classes they tell apart.
CLASSES = {"SSD300_VOC0712": 21, "SSD512_VOC0712": 21, "SSD300_coco": 81}
SHAPES = REFERENCE / "ssd_training" / "shapes"
ITEM = 'item {{ name: "{name}" label: {label} display_name: "{name}" }}\n'


def lay_out(folder: Path, net: str, batch: int | None = None) -> str:
    """Put a net's files, and what they name, where they expect it.

    Args:
        folder: where their paths start.
        net: which of `CLASSES`.
        batch: the batch size in the place of the published one, 8.

    Returns:
        The path of the solver, from the folder.
    """
    texts = {kind: shared_file(f"prototxt/ssd/{net}/{kind}.prototxt").read_text() for kind in ("train", "test")}
    solver = shared_file(f"prototxt/ssd/{net}/solver.prototxt").read_text()
    for kind, text in texts.items():
        path = _below(folder, solver, f"{kind}_net")
        path.write_text(text if batch is None else text.replace("batch_size: 8", f"batch_size: {batch}"))
    (path.parent / "solver.prototxt").write_text(solver)
    shutil.copytree(SHAPES / "trainval_lmdb", _below(folder, texts["train"], "source"))
    shutil.copytree(SHAPES / "test_lmdb", _below(folder, texts["test"], "source"))
    shutil.copy(SHAPES / "test_name_size.txt", _below(folder, texts["test"], "name_size_file"))
    names = ["none_of_the_above", "circle", "square", "triangle"]
    names += [f"unused{label}" for label in range(len(names), CLASSES[net])]
    items = [ITEM.format(name=name, label=label) for label, name in enumerate(names)]
    _below(folder, texts["test"], "label_map_file").write_text("".join(items))
    return str((path.parent / "solver.prototxt").relative_to(folder))


def _below(folder: Path, text: str, field: str) -> Path:
    """The path that a prototxt states, in the folder, the folders above it made."""
    (name,) = set(re.findall(rf'\b{field}: "([^"]*)"', text))
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def solver_in(folder: Path, path: str, precision: Precision = "float32") -> Solver:
    """The solver at a path of a folder, on the CPU, from a fixed seed; it tests two batches."""
    parsed = read_solver(folder / path)
    parsed.message.random_seed = 1
    parsed.message.test_iter[:] = [2]
    return Solver(parsed, options=Options(root=folder, device="cpu", precision=precision))


def steps(solver: Solver, count: int) -> list[float]:
    """Make so many updates; the loss of each."""
    losses = []
    for _ in range(count):
        start = time.perf_counter()
        solver.step(1)
        losses.append(float(solver.outputs["mbox_loss"].detach()))
        print(f"iteration {solver.iteration}: loss {losses[-1]:.4f}, {time.perf_counter() - start:.1f} s", flush=True)
    return losses


def resumed(solver: Solver, folder: Path, path: str, precision: Precision = "float32") -> Solver:
    """Another solver, which goes on from a snapshot that this one writes."""
    state = solver.snapshot()
    solver.close()
    other = solver_in(folder, path, precision)
    other.restore(state)
    return other


def evaluated(solver: Solver) -> Test:
    """What the only test net gives; the solver is closed, by which the results are written."""
    (test,) = solver.test()
    solver.close()
    return test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=list(CLASSES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = lay_out(folder, given.net, given.batch)
        solver = solver_in(folder, path, given.precision)
        steps(solver, given.steps)
        solver = resumed(solver, folder, path, given.precision)
        steps(solver, 1)
        (score,) = evaluated(solver).scores
        print(f"{score.name}: mAP {score.value:.4f}")


if __name__ == "__main__":
    main()
