"""Inference: ms a picture of every engine of ours beside OpenCV, ONNX Runtime, OpenVINO and plain PyTorch.

    python benchmarks/inference.py [--nets SSD300 VGG-16] [--rounds 7] [--threads 2] [--json FILE]
    python benchmarks/inference.py --nets SSD300 --weights FILE --example FILE

Nets: SSD300, VGG-16, GoogLeNet, dilation8's front end on a tile (`--tile`; of 500x500, its authors' crop for training)
and MTCNN's R-Net in batches of 64. Peers:

* opencv: OpenCV 4's `cv2.dnn` reads the Caffe files (`make bench-peers`);
* onnxruntime, openvino: the same nets written by hand in plain PyTorch (inference_nets.py), exported by
  `torch.onnx.export`; OpenVINO with its hint for latency;
* torch: those modules, eager, in Caffe's memory layout and in channels_last.

All go from the picture in memory to the outputs; SSD300's are the rows of detection_out. OpenCV's importer has
DetectionOutput; hand-written nets end with decoded boxes and scores, behind which NumPy and `cv2.dnn.NMSBoxes` do the
rest. Each program is a process of its own, and all but one wait at any time. Before it is timed, a program's outputs
are compared with the plain Net's: float32 to 1e-4 of the largest magnitude, bfloat16 with boxes within 2 pixels and
scores within 0.02. bfloat16 is measured where the processor has it; a program whose outputs are not the same in it is
timed, and does not count. With `--weights`, of one net, and `--example` the net has trained weights and sees a real
picture (trained_ssd.py makes them). Times are medians over the rounds, ratios medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from inference_check import difference, same_in_bfloat16  # noqa: E402
from inference_files import cases, make_files  # noqa: E402
from inference_nets import CASES, Case  # noqa: E402
from inference_programs import Program, Worker, programs  # noqa: E402

from tests.support import SHARED  # noqa: E402

TOLERANCE = 1e-4
# A process's turn lasts so long at least, in seconds: short passes are timed several at once.
TURN, MOST_RUNS = 0.3, 60
# Threads that spin when their work is done have gone to sleep by then.
PAUSE = 0.03
BAR_FLOAT, BAR_BFLOAT = 1.0, 1.6
Row = dict[str, Any]


def started(program: Program, job: Mapping[str, Any], expected: Mapping[str, Any]) -> tuple[Row, Worker | None]:
    """A program's row of the table without its times, and its process, which is None if it cannot be timed."""
    row: Row = {"program": program.title, "precision": program.precision, "ours": program.ours}
    worker = Worker(program, job)
    row["fault"], row["same"] = worker.fault, False
    if not worker.fault:
        found = worker.outputs(Path(str(job["example"])).with_name("outputs.npz"))
        if program.precision == "float32":
            row["difference"] = difference(expected, found)
            row["same"] = row["difference"] <= TOLERANCE
        else:
            row["fault"] = same_in_bfloat16(expected, found)
            row["same"] = not row["fault"]
    if worker.fault:
        worker.close()
    return row, None if worker.fault else worker


def measure(name: str, case: Case, arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """The rows of one net."""
    job, expected = make_files(name, case, arguments.shared, folder, arguments.example)
    job["threads"] = arguments.threads
    rows: list[Row] = []
    workers: list[Worker] = []
    timed: list[Row] = []
    try:
        for program in programs(arguments.peers_python, arguments.programs):
            row, worker = started(program, job, expected)
            rows.append(row)
            if worker is not None:
                workers.append(worker)
                timed.append(row)
                row["turns"] = []
        for turn in range(arguments.rounds * len(workers)):
            place = (turn + turn // len(workers)) % len(workers)
            time.sleep(PAUSE)
            timed[place]["turns"].append(1e3 / case.batch * median(workers[place].run(runs(workers[place].expected))))
    finally:
        for worker in workers:
            worker.close()
    for row in timed:
        row["ms"] = median(row["turns"])
    return rows


def runs(seconds: float) -> int:
    """How many passes of so many seconds make a turn; the first of several does not count."""
    wanted = int(TURN / seconds) + 1
    return 1 if wanted == 1 else min(wanted, MOST_RUNS) + 1


def fastest(rows: Sequence[Row], *, ours: bool, precision: str, only: str = "") -> Row | None:
    chosen = [
        row
        for row in rows
        if row["ours"] == ours and row["precision"] == precision and row["same"] and row["program"].startswith(only)
    ]
    return min(chosen, key=lambda row: row["ms"], default=None)


def ratio(row: Row, other: Row) -> float:
    """The median over the rounds of what the one took in terms of the other."""
    return median(one / two for one, two in zip(row["turns"], other["turns"], strict=True))


def judged(rows: Sequence[Row]) -> list[str]:
    """What the figures say of the bars."""
    lines = []
    best = fastest(rows, ours=True, precision="float32")
    peer = fastest(rows, ours=False, precision="float32")
    if best and peer:
        times = ratio(best, peer)
        met = "met" if times <= BAR_FLOAT else "missed"
        lines.append(f"{best['program']} / {peer['program']}: {times:.3f} (bar {BAR_FLOAT:.1f}: {met})")
    best = fastest(rows, ours=True, precision="bfloat16")
    peer = fastest(rows, ours=False, precision="float32", only="opencv")
    if best and peer:
        times = ratio(peer, best)
        met = "met" if times >= BAR_BFLOAT else "missed"
        lines.append(f"opencv / {best['program']} in bfloat16: {times:.2f}x (bar {BAR_BFLOAT:.1f}x: {met})")
    return lines


def show(name: str, case: Case, rows: Sequence[Row]) -> None:
    sizes = "x".join(map(str, (case.batch, *case.shape)))
    print(f"{name}, {sizes}")
    for row in sorted(rows, key=lambda row: row.get("ms", np.inf)):
        figure = f"{row['ms']:10.3f}" if "ms" in row else f"{'-':>10}"
        note = row["fault"] or (f"differs by {row['difference']:.1e}" if "difference" in row else "")
        print(f"  {row['program']:22} {row['precision']:9} {figure}  {note}")
    for line in judged(rows):
        print(f"  {line}")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tile", type=int, help="side of dilation8's tile; the published net has 900")
    parser.add_argument("--programs", nargs="+", help="only those whose names begin so")
    parser.add_argument("--weights", type=Path, help="a caffemodel of the one net of --nets")
    parser.add_argument("--example", type=Path, help="what that net sees, as .npy")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder of published nets and models")
    parser.add_argument(
        "--peers-python", type=Path, default=ROOT / ".venv-peers/bin/python", help="a Python that has requirements.txt"
    )
    arguments = parser.parse_args()
    if (arguments.weights or arguments.example) and len(arguments.nets) != 1:
        parser.error("--weights and --example are those of one net: name it with --nets")
    found = {}
    print(f"ms a picture, {arguments.threads} threads, medians of {arguments.rounds} interleaved rounds", flush=True)
    for name in arguments.nets:
        case = cases(arguments.tile)[name]
        if arguments.weights:
            case = replace(case, weights=str(arguments.weights.resolve()))
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, case, arguments, Path(folder))
        show(name, case, found[name])
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
