"""Training: a step of our Solver beside plain PyTorch, written by hand, of the same net.

    python benchmarks/train.py [--nets LeNet VGG-16] [--threads 2 1] [--pairs 15] [--fused]

A step takes a batch, goes forward and backward, adds the weight decay and makes SGD's update with momentum. The peer is
an `nn.Module` with `torch.optim.SGD` (with `--fused`, its fused kernel, which has to be asked for), in Caffe's memory
layout and in channels_last; the faster of the two counts. The steps of all are interleaved, and medians compared. Both
take the next of a few batches that lie in memory; in the line "from an LMDB" ours reads through its Data layer, and the
peer in a plain loop over the database.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from statistics import median

import lmdb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.fed import Fed  # noqa: E402
from benchmarks.timing import interleaved  # noqa: E402
from benchmarks.train_nets import NETS, SOLVER, Case  # noqa: E402
from caffecompat.schema import caffe_pb2  # noqa: E402
from caffecompat.solver import Solver  # noqa: E402

Batch = tuple[Tensor, Tensor]
Step = Callable[[], object]


def in_memory(case: Case, count: int = 4) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    data = [torch.rand((case.batch, *case.shape), generator=generator) for _ in range(count)]
    labels = [torch.randint(case.classes, (case.batch,), generator=generator) for _ in range(count)]
    return list(zip(data, labels, strict=True))


def ours(case: Case, data: str, folder: Path, batches: Iterator[Batch] | None) -> Solver:
    torch.manual_seed(1)
    prototxt, solver = folder / "train_val.prototxt", folder / "solver.prototxt"
    prototxt.write_text(data + case.layers)
    solver.write_text(SOLVER.format(net=prototxt))
    return Solver.from_prototxt(solver, group=Fed(batches) if batches is not None else None)


def peer(case: Case, batches: Iterator[Batch], layout: torch.memory_format, fused: bool) -> Step:
    torch.manual_seed(1)
    net = case.peer().to(memory_format=layout)
    weights = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in net.parameters() if parameter.dim() == 1]
    groups = [{"params": weights}, {"params": biases, "lr": 0.002}]
    optimizer = torch.optim.SGD(groups, lr=0.001, momentum=0.9, weight_decay=0.0005, fused=fused)

    def step() -> float:
        data, label = next(batches)
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(data.to(memory_format=layout)), label.long())
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def write_lmdb(path: Path, case: Case, count: int) -> None:
    random = np.random.default_rng(1)
    channels, height, width = case.shape
    with lmdb.open(str(path), map_size=1 << 28) as env, env.begin(write=True) as transaction:
        for number in range(count):
            values = random.integers(0, 256, case.shape, np.uint8).tobytes()
            label = int(random.integers(case.classes))
            datum = caffe_pb2.Datum(channels=channels, height=height, width=width, data=values, label=label)
            transaction.put(b"%08d" % number, datum.SerializeToString())


def plain_loop(path: Path, case: Case) -> Iterator[Batch]:
    """The batches of an LMDB, over and over: what one writes by hand."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        records = cycle(transaction.cursor().iternext(keys=False, values=True))
        while True:
            data = [caffe_pb2.Datum.FromString(next(records)) for _ in range(case.batch)]
            pictures = np.stack([np.frombuffer(datum.data, np.uint8).reshape(case.shape) for datum in data])
            labels = torch.tensor([datum.label for datum in data])
            yield torch.from_numpy(pictures.astype(np.float32) * np.float32(1 / 256)), labels


def compare(steps: dict[str, Step], pairs: int, bar: float) -> str:
    """Median times in ms of interleaved steps, and ours over the fastest other."""
    # Beside the first calls that are not counted anyway.
    for step in steps.values():
        step()
    times = interleaved(steps, pairs)
    middle = {name: 1e3 * median(values) for name, values in times.items()}
    best = min(value for name, value in middle.items() if name != "ours")
    figures = "  ".join(f"{name} {value:8.2f}" for name, value in middle.items())
    return f"{figures}  ratio {middle['ours'] / best:.3f} (bar {bar:.2f})"


def measure(case: Case, threads: int, pairs: int, fused: bool) -> None:
    torch.set_num_threads(threads)
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batches = in_memory(case)
        solver = ours(case, case.fed, folder, cycle(batches))
        steps: dict[str, Step] = {"ours": lambda: solver.step(1)}
        steps |= {name: peer(case, cycle(batches), layout, fused) for name, layout in layouts.items()}
        print(f"{case.name}, batch {case.batch}, {threads} threads: {compare(steps, pairs, case.bar)}", flush=True)
        if not case.reads:
            return
        # One for each: LMDB opens a database once in a process.
        databases = {name: folder / name for name in ("ours", *layouts)}
        for database in databases.values():
            write_lmdb(database, case, 20 * case.batch)
        reading = ours(case, case.reads.format(source=databases["ours"]), folder, None)
        steps = {"ours": lambda: reading.step(1)}
        steps |= {
            name: peer(case, plain_loop(databases[name], case), layout, fused) for name, layout in layouts.items()
        }
        print(f"{'  from an LMDB':>22}, {threads} threads: {compare(steps, pairs, case.bar)}", flush=True)
        reading.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--threads", nargs="+", type=int, default=[2, 1])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--fused", action="store_true")
    args = parser.parse_args()
    print("ms a step, medians of interleaved steps")
    for name in args.nets:
        for threads in args.threads:
            measure(NETS[name], threads, args.pairs * NETS[name].repeats, args.fused)


if __name__ == "__main__":
    main()
