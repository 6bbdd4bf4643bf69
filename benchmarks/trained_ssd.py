"""SSD300 trained on drawn shapes of 20 classes: weights with which detections in bfloat16 can be judged.

    python benchmarks/trained_ssd.py -o FOLDER [--device cuda:0] [--seconds 150] [--pictures 8000]
    python benchmarks/inference.py --nets SSD300 --weights FOLDER/net.caffemodel --example FOLDER/example.npy

The net is the zoo's for VOC, from drawn weights, trained by Adam on batches of 32 with the authors' augmentation for so
many seconds, in bfloat16 on a GPU. It writes net.caffemodel, and example.npy: a picture that was not trained on, as the
net takes it. With drawn weights thousands of boxes of every class compete at close scores, and rounding decides, in any
program, which of them suppress the others.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import ssd_starvation  # noqa: E402
from ssd_data import MEAN, SIDE  # noqa: E402

from caffecompat.export import export  # noqa: E402
from caffecompat.formats import write_text  # noqa: E402
from caffecompat.solver import Solver  # noqa: E402
from caffecompat.zoo import ask, find_model, make  # noqa: E402

SOLVER = """train_net: "train.prototxt" type: "Adam" base_lr: 0.0001 lr_policy: "step" gamma: 0.1 stepsize: {step}
  momentum: 0.9 momentum2: 0.999 average_loss: 20 weight_decay: 0.0005 snapshot_after_train: false random_seed: 1
"""
# Iterations between looks at the clock.
STRIDE = 20


def train(folder: Path, database: Path, given: argparse.Namespace) -> Path:
    """The weights after so many seconds."""
    model = find_model("ssd300")
    files = make(model, ask(model, data=str(database), label_map=str(folder / "labelmap.prototxt")))
    (folder / "train.prototxt").write_text(write_text(files.nets["train"]))
    (folder / "solver.prototxt").write_text(SOLVER.format(step=given.step))
    solver = Solver.from_prototxt(
        folder / "solver.prototxt",
        root=folder,
        device=given.device,
        precision="float32" if given.device == "cpu" else "bf16",
        workers=os.cpu_count() or 1,
    )
    begin = time.perf_counter()
    try:
        while time.perf_counter() - begin < given.seconds:
            solver.step(STRIDE)
            seconds = time.perf_counter() - begin
            print(f"{seconds:4.0f} s: iteration {solver.iteration}, loss {solver.smoothed.value:.2f}", flush=True)
        export(solver.net.cpu(), given.output / "net.caffemodel")
    finally:
        solver.close()
    return given.output / "net.caffemodel"


def main() -> None:
    """Draw, convert, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--step", type=int, default=1500, help="iterations after which the rate is a tenth")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    ssd_starvation.PROCESSES = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ssd_starvation.draw_all(folder, given.pictures)
        train(folder, ssd_starvation.convert(folder, given.pictures), given)
        ssd_starvation.draw(folder, given.pictures)
        picture = cv2.resize(cv2.imread(str(folder / f"{given.pictures:05d}.jpg")), (SIDE, SIDE))
        np.save(given.output / "example.npy", (picture - np.float32(MEAN)).transpose(2, 0, 1)[None])


if __name__ == "__main__":
    main()
