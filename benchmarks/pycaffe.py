"""pycaffe's `net.forward()` beside a call of the module it stands on.

    python benchmarks/pycaffe.py [--nets LeNet VGG-16 SSD300] [--threads 2 1] [--pairs 15]

"TEST": a pass of which no gradients are kept, beside the module under `torch.no_grad()`; the bar is 1.05. "gradients
kept": a pass forward in phase TRAIN, beside the module with autograd's graph; the bar is 1.15. "and backward": the
same and the pass backward, for the record: pycaffe leaves a diff in every blob. The calls are interleaved, and medians
of the pairs' ratios printed. SSD300 is the published deploy net, in the phase TEST alone; it is left out where the file
is not there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import caffecompat  # noqa: E402
import caffecompat.pycaffe as caffe  # noqa: E402
from benchmarks.timing import interleaved  # noqa: E402
from benchmarks.train_nets import NETS  # noqa: E402

SSD300 = ROOT.parent / "shared" / "prototxt" / "ssd" / "SSD300_VOC0712" / "deploy.prototxt"
BATCH = {"LeNet": 64, "VGG-16": 1}
PASSES = {"LeNet": 20, "VGG-16": 1, "SSD300": 1}
Pair = tuple[str, float, Callable[[], object], Callable[[], object]]


def pairs(name: str, folder: Path) -> Iterator[Pair]:
    """What is compared on a net: a title, the bar, pycaffe's call, the module's call."""
    if name == "SSD300":
        yield test_pair(SSD300, {"data": (1, 3, 300, 300)})
        return
    case = NETS[name]
    shapes = {"data": (BATCH[name], *case.shape), "label": (BATCH[name],)}
    stated = " ".join(f"shape {{ {' '.join(f'dim: {size}' for size in shape)} }}" for shape in shapes.values())
    path = folder / f"{name}.prototxt"
    path.write_text(
        f'layer {{ name: "in" type: "Input" top: "data" top: "label" input_param {{ {stated} }} }}\n{case.layers}'
    )
    yield test_pair(path, shapes)
    yield from train_pairs(path, shapes)


def test_pair(path: Path, shapes: dict[str, tuple[int, ...]]) -> Pair:
    net, module = caffe.Net(path, caffe.TEST), caffecompat.load(path)
    fed = feed(net, shapes)

    def call() -> None:
        with torch.no_grad():
            module(**fed)

    return "TEST", 1.05, net.forward, call


def train_pairs(path: Path, shapes: dict[str, tuple[int, ...]]) -> Iterator[Pair]:
    net, module = caffe.Net(path, caffe.TRAIN), caffecompat.load(path, phase="TRAIN")
    fed = feed(net, shapes)
    yield "gradients kept", 1.15, net.forward, lambda: module(**fed)

    def both() -> None:
        net.forward()
        net.backward()

    def call() -> None:
        outputs = module(**fed)
        module.loss(outputs).backward()

    yield "and backward", float("inf"), both, call


def feed(net: caffe.Net, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Give the net values; the same values."""
    values = np.random.RandomState(1)
    fed = {}
    for name, shape in shapes.items():
        array = values.uniform(0, 1, shape) if len(shape) > 1 else values.randint(0, 10, shape)
        net.blobs[name].data[...] = array
        fed[name] = torch.from_numpy(array.astype(np.float32))
    return fed


def main() -> None:
    parser = argparse.ArgumentParser(description="pycaffe's passes beside calls of the module")
    parser.add_argument("--nets", nargs="+", choices=list(PASSES), default=list(PASSES))
    parser.add_argument("--threads", nargs="+", type=int, default=[os.cpu_count() or 1])
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    print(f"torch {torch.__version__}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for name in options.nets:
            if name == "SSD300" and not SSD300.exists():
                print(f"{name}: left out, {SSD300.name} is not there")
                continue
            with tempfile.TemporaryDirectory() as folder:
                for title, bar, ours, module in pairs(name, Path(folder)):
                    compare(f"{name}, {threads} threads, {title}", bar, ours, module, PASSES[name], options.pairs)


def compare(
    title: str, bar: float, ours: Callable[[], object], module: Callable[[], object], passes: int, pairs: int
) -> None:
    """Time both, so many passes each time, and print the medians."""

    def repeated(call: Callable[[], object]) -> Callable[[], object]:
        return lambda: [call() for _ in range(passes)]

    times = interleaved({"pycaffe": repeated(ours), "module": repeated(module)}, pairs)
    ratio = median(a / b for a, b in zip(times["pycaffe"], times["module"], strict=True))
    figures = ", ".join(f"{name} {median(each) / passes * 1e3:.2f} ms" for name, each in times.items())
    print(f"{title}: {figures}, ratio {ratio:.3f}" + (f" (bar {bar})" if bar < float("inf") else ""), flush=True)


if __name__ == "__main__":
    main()
