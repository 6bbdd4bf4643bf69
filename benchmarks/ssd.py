"""SSD300's training, piece by piece and whole, beside what one writes by hand.

    python benchmarks/ssd.py [--parts data step whole] [--batches 25] [--pairs 15]

* data: images/s of the data layer with the augmentation of SSD300's authors, in one thread (OpenCV's too), and of a
  straightforward implementation of the same steps with OpenCV and NumPy, which reads the same LMDB: it distorts the
  whole picture, fills the whole canvas of an expansion, and samples in loops. "As the original" encodes as JPEG and
  decodes after the distortion, after the expansion and after the crop, as the original Caffe does; the other after the
  crop only, as we do. Pictures are drawn, 500x375, as hard to encode as photographs, with one to five boxes.
* step: a step of our Solver at batch 4 with MultiBoxLoss, in float32 and in bfloat16, and of plain PyTorch of the same
  net and loss in channels_last with torch.optim.SGD, in both precisions; all are given the same batches in memory.
* whole: our step when it reads its batches through the data layer, by two threads.

Runs are interleaved. Times are medians; ratios are medians of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import lmdb
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import ssd_data  # noqa: E402
from fed import Fed  # noqa: E402
from multibox import CLASSES  # noqa: E402
from ssd_net import MOMENTUM, Plain, net_text  # noqa: E402
from timing import interleaved  # noqa: E402

from caffecompat.solver import Solver  # noqa: E402
from caffecompat.solver.group import Group  # noqa: E402
from caffecompat.solver.options import Precision  # noqa: E402

BATCH, BOXES, PICTURES = 4, 3, 256
SHAPES = ROOT / "tests" / "reference" / "ssd_training" / "shapes" / "trainval_lmdb"
# What the original took on a machine of this kind: images/s of its data layer, seconds a step.
ORIGINAL_IMAGES, ORIGINAL_STEP = 270, 6.9
INPUTS = """layer { name: "data" type: "Input" top: "data" top: "label" input_param {
  shape { dim: 4 dim: 3 dim: 300 dim: 300 } shape { dim: 1 dim: 1 dim: 12 dim: 8 } } }
"""
SOLVER = """train_net: "{folder}/train.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
  type: "SGD" snapshot_after_train: false solver_mode: CPU random_seed: 1
"""
Step = Callable[[], object]


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (4, 3, 300, 300), boxes (4, 3, 4) and labels (4, 3)."""
    torch.manual_seed(1)
    side = 0.1 + 0.4 * torch.rand(BATCH, BOXES, 2)
    low = torch.rand(BATCH, BOXES, 2) * (1 - side)
    labels = torch.randint(1, CLASSES, (BATCH, BOXES))
    return 60 * torch.randn(BATCH, 3, ssd_data.SIDE, ssd_data.SIDE), torch.cat([low, low + side], 2), labels


def solver(folder: Path, data: str, precision: Precision, group: Group | None = None) -> Solver:
    """Our Solver of SSD300 with this data layer."""
    (folder / "train.prototxt").write_text(net_text(data))
    (folder / "solver.prototxt").write_text(SOLVER.format(folder=folder))
    return Solver.from_prototxt(folder / "solver.prototxt", group=group, precision=precision)


def ours(folder: Path, precision: Precision) -> Solver:
    """Our Solver, fed from memory."""
    data, boxes, labels = batch()
    rows = torch.zeros(BATCH, BOXES, 8)
    rows[..., 0], rows[..., 1], rows[..., 3:7] = torch.arange(BATCH)[:, None], labels, boxes
    return solver(folder, INPUTS, precision, Fed(itertools.repeat((data, rows.reshape(1, 1, -1, 8)))))


def plain(start: Solver, precision: Precision) -> Step:
    """A step of plain PyTorch, from the weights of a Solver."""
    net = Plain()
    for layer in start.net.layers:
        if layer.spec.type == "Convolution":
            module = net.convolutions[layer.spec.name]
            module.weight.data.copy_(layer.blobs[0])
            module.bias.data.copy_(layer.blobs[1])
    net = net.to(memory_format=torch.channels_last)
    update = torch.optim.SGD(net.groups(), momentum=MOMENTUM)
    data, boxes, labels = batch()
    data = data.to(memory_format=torch.channels_last)

    def step() -> float:
        update.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = net(data, boxes, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        update.step()
        return float(loss.detach())

    return step


def ratio(first: list[float], second: list[float]) -> float:
    """The median of the pairs' ratios."""
    return median(a / b for a, b in zip(first, second, strict=True))


def measure_data(folder: Path, batches: int, pairs: int) -> None:
    """Images/s of the data layer and its peers."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    items = ssd_data.pictures(PICTURES)
    size = sum(len(item.file) for item in items) / len(items) / 1024
    print(f"data: {PICTURES} JPEGs of {ssd_data.WIDTH}x{ssd_data.HEIGHT}, {size:.0f} KiB each, one thread")
    database = ssd_data.write(folder, items)
    environment = lmdb.open(str(database), readonly=True, lock=False)
    steps: dict[str, Step] = {
        "ours": ssd_data.data_layer(database, batches),
        "by hand": ssd_data.plain(environment, batches, jpegs=False),
        "by hand, as the original": ssd_data.plain(environment, batches, jpegs=True),
    }
    times = interleaved(steps, pairs)
    for name, taken in times.items():
        rate = batches * ssd_data.BATCH / median(taken)
        print(f"  {name:28} {rate:6.0f} images/s, ours {ratio(taken, times['ours']):.2f} times as fast", flush=True)
    taken = interleaved({"small": ssd_data.data_layer(SHAPES, 2 * batches)}, pairs)["small"]
    rate = 2 * batches * ssd_data.BATCH / median(taken)
    print(f"  ours, on the tests' pictures of some 140x140: {rate:.0f} images/s")
    print(f"  the original: {ORIGINAL_IMAGES} images/s on a machine of this kind, of which pictures is not recorded")
    environment.close()
    cv2.setNumThreads(threads)


def measure_steps(folder: Path, pairs: int) -> None:
    """Seconds of a step, without data."""
    print(f"step: batch {BATCH}, {torch.get_num_threads()} threads")
    steps: dict[str, Step] = {}
    for precision in ("float32", "bf16"):
        fed = ours(folder, precision)
        steps[f"plain PyTorch, {precision}"] = plain(fed, precision)
        steps[f"ours, {precision}"] = lambda fed=fed: fed.step(1)
    first = {name: step() for name, step in steps.items()}
    print("  first losses: " + ", ".join(f"{name} {loss:.5f}" for name, loss in first.items()))
    times = interleaved(steps, pairs)
    for name, taken in times.items():
        print(f"  {name:28} {median(taken):6.2f} s")
    for precision in ("float32", "bf16"):
        to_plain = ratio(times[f"ours, {precision}"], times[f"plain PyTorch, {precision}"])
        print(f"  ours over plain PyTorch, {precision}: {to_plain:.3f}")
    print(f"  ours in float32 over ours in bf16: {ratio(times['ours, float32'], times['ours, bf16']):.2f}", flush=True)


def measure_whole(folder: Path, pairs: int) -> None:
    """Seconds of an iteration that reads its data."""
    database = ssd_data.write(folder, ssd_data.pictures(PICTURES))
    steps: dict[str, Step] = {}
    solvers = []
    for precision in ("float32", "bf16"):
        solvers.append(solver(folder, ssd_data.layer_text(database, BATCH), precision))
        steps[precision] = lambda reading=solvers[-1]: reading.step(1)
    print(f"whole: batch {BATCH}, {torch.get_num_threads()} threads, data read by two more")
    for name, taken in interleaved(steps, pairs).items():
        times_as_fast = ORIGINAL_STEP / median(taken)
        print(f"  ours, {name:22} {median(taken):6.2f} s; the original's {ORIGINAL_STEP} s, {times_as_fast:.1f} times")
    for reading in solvers:
        reading.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["data", "step", "whole"], choices=["data", "step", "whole"])
    parser.add_argument("--batches", type=int, default=25, help="of 8 pictures, in each run of the data layer")
    parser.add_argument("--pairs", type=int, default=15)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}")
    for part in given.parts:
        with tempfile.TemporaryDirectory() as name:
            if part == "data":
                measure_data(Path(name), given.batches, given.pairs)
            elif part == "step":
                measure_steps(Path(name), given.pairs)
            else:
                measure_whole(Path(name), given.pairs)


if __name__ == "__main__":
    main()
