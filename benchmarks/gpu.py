"""On an NVIDIA GPU: our Net and Solver beside plain PyTorch of the same nets, written by hand.

    python benchmarks/gpu.py [--shared DIR] [--parts forward detect train] [--pairs 20]

Needs torchvision.

* forward: a pass of the plain Net of VGG-16 and of dilation8's front end (500x500), as `caffecompat.load` gives it.
* detect: a pass of SSD300 with DetectionOutput; the peer suppresses with torchvision's `batched_nms`.
* train: a step of our Solver of SSD300 with MultiBoxLoss; the peer has the same loss by hand and `torch.optim.SGD`.

float32 is what it says, tf32 lets convolutions and products round to TF32, bf16 is autocast. Pictures and truth lie in
the GPU's memory. The peer is measured in Caffe's order of values and in channels_last, and the faster one counts. Runs
are interleaved, each ends when the GPU has done its work; times are medians, the ratio is that of medians.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from fed import Fed  # noqa: E402
from inference_files import draw, write_prototxt  # noqa: E402
from inference_nets import CASES, Case  # noqa: E402
from multibox import CLASSES  # noqa: E402
from ssd_net import MOMENTUM, Plain, net_text  # noqa: E402
from timing import interleaved  # noqa: E402

import caffecompat  # noqa: E402
from caffecompat.net import Net  # noqa: E402
from caffecompat.net.precision import gpu_precision  # noqa: E402
from caffecompat.solver import Solver  # noqa: E402
from caffecompat.solver.options import Precision  # noqa: E402

Step = Callable[[], object]
DEVICE = torch.device("cuda")
LAYOUTS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bf16")
BOXES, SIDE = 3, 300
THRESHOLD, OVERLAP, KEEP_TOP_K = 0.01, 0.45, 200
INPUTS = """layer {{ name: "data" type: "Input" top: "data" top: "label" input_param {{
  shape {{ dim: {batch} dim: 3 dim: 300 dim: 300 }} shape {{ dim: 1 dim: 1 dim: {rows} dim: 8 }} }} }}
"""
SOLVER = """train_net: "{folder}/train.prototxt" base_lr: 0.001 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
  type: "SGD" snapshot_after_train: false random_seed: 1
"""


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """The settings of PyTorch for a precision."""
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")
    with gpu_precision(DEVICE, tf32=precision == "tf32"), autocast:
        yield


def finished(call: Callable[[], object], precision: Precision) -> Step:
    """The call, until the GPU has done what it asks for."""

    def step() -> object:
        with computing(precision):
            result = call()
        torch.cuda.synchronize()
        return result

    return step


def batch(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (N, 3, 300, 300), boxes (N, 3, 4) and labels (N, 3)."""
    torch.manual_seed(1)
    side = 0.1 + 0.4 * torch.rand(count, BOXES, 2)
    low = torch.rand(count, BOXES, 2) * (1 - side)
    pictures = 60 * torch.randn(count, 3, SIDE, SIDE)
    labels = torch.randint(1, CLASSES, (count, BOXES))
    return pictures.to(DEVICE), torch.cat([low, low + side], 2).to(DEVICE), labels.to(DEVICE)


def our_solver(folder: Path, count: int, precision: Precision) -> Solver:
    """Our Solver of SSD300, fed from memory."""
    data, boxes, labels = batch(count)
    rows = torch.zeros(count, BOXES, 8, device=DEVICE)
    rows[..., 0], rows[..., 1], rows[..., 3:7] = torch.arange(count, device=DEVICE)[:, None], labels, boxes
    (folder / "train.prototxt").write_text(net_text(INPUTS.format(batch=count, rows=count * BOXES)))
    (folder / "solver.prototxt").write_text(SOLVER.format(folder=folder))
    group = Fed(itertools.repeat((data, rows.reshape(1, 1, -1, 8))))
    return Solver.from_prototxt(folder / "solver.prototxt", group=group, precision=precision, device="cuda")


def plain_step(start: Solver, count: int, layout: torch.memory_format) -> Step:
    """A step of plain PyTorch, from the weights of a Solver."""
    net = Plain().to(DEVICE)
    for layer in start.net.layers:
        if layer.spec.type == "Convolution":
            module = net.convolutions[layer.spec.name]
            module.weight.data.copy_(layer.blobs[0])
            module.bias.data.copy_(layer.blobs[1])
    net = net.to(memory_format=layout)
    update = torch.optim.SGD(net.groups(), momentum=MOMENTUM)
    data, boxes, labels = batch(count)
    data = data.contiguous(memory_format=layout)

    def step() -> float:
        update.zero_grad(set_to_none=True)
        loss = net(data, boxes, labels)
        loss.backward()
        update.step()
        return float(loss.detach())

    return step


def tell(name: str, times: dict[str, list[float]], count: int) -> None:
    """Print a row: our time, that of the faster peer, their ratio, and images/s."""
    ours = median(times["ours"])
    peers = {key: median(taken) for key, taken in times.items() if key != "ours"}
    best = min(peers, key=lambda key: peers[key])
    told = f"{ours * 1e3:9.2f} {peers[best] * 1e3:9.2f} {ours / peers[best]:6.3f} {count / ours:9.1f}"
    print(f"{name:36} {told}  ({best})", flush=True)


def measure_training(pairs: int) -> None:
    """Steps of SSD300."""
    for count in (8, 32):
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                solver = our_solver(Path(folder), count, precision)
            steps = {
                f"plain{name}": finished(plain_step(solver, count, layout), precision)
                for name, layout in LAYOUTS.items()
            }
            # The Solver sets its precision itself.
            steps["ours"] = finished(lambda solver=solver: solver.step(1), "float32")
            tell(f"SSD300, a step, batch {count}, {precision}", interleaved(steps, pairs), count)
            solver.close()


def our_net(case: Case, shared: Path) -> Net:
    """The plain Net of a case, with drawn parameters."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "deploy.prototxt"
        write_prototxt(case, shared / case.prototxt, path)
        net = caffecompat.load(path)
    draw(net)
    return net.to(DEVICE)


def peer_of(case: Case, net: Net, layout: torch.memory_format) -> nn.Module:
    """The hand-written module of a case, with the Net's parameters."""
    model = case.model().to(DEVICE).eval()
    blobs = [blob for layer in net.layers for blob in layer.blobs]
    with torch.no_grad():
        for value, blob in zip(model.state_dict().values(), blobs, strict=True):
            value.copy_(blob.reshape(value.shape))
    return model.to(memory_format=layout)


def suppressed(boxes: Tensor, scores: Tensor) -> list[Tensor]:
    """For each picture rows of (label, score, box), as one writes it with torchvision."""
    from torchvision.ops import batched_nms

    found = []
    for own, values in zip(boxes.float(), scores.float(), strict=True):
        place, label = (values[:, 1:] > THRESHOLD).nonzero().unbind(1)
        score = values[place, label + 1]
        kept = batched_nms(own[place], score, label, OVERLAP)[:KEEP_TOP_K]
        found.append(torch.cat([label[kept, None] + 1.0, score[kept, None], own[place[kept]]], 1))
    return found


def passes(case: Case, net: Net, data: Tensor) -> dict[str, Step]:
    """A pass of the Net and of its peers."""

    def peer(layout: torch.memory_format) -> Step:
        model, given = peer_of(case, net, layout), data.contiguous(memory_format=layout)

        def call() -> object:
            with torch.no_grad():
                found = model(given)
                return suppressed(*found) if case.detects else found

        return call

    def ours() -> object:
        with torch.no_grad():
            return net(data=data)

    return {**{f"plain{name}": peer(layout) for name, layout in LAYOUTS.items()}, "ours": ours}


def measure_forward(name: str, counts: tuple[int, ...], shared: Path, pairs: int) -> None:
    """Passes of a net."""
    for count in counts:
        case = replace(CASES[name], batch=count)
        net = our_net(case, shared)
        torch.manual_seed(2)
        calls = passes(case, net, 60 * torch.randn(count, *case.shape, device=DEVICE))
        for precision in PRECISIONS:
            steps = {key: finished(call, precision) for key, call in calls.items()}
            tell(f"{name}, a pass, batch {count}, {precision}", interleaved(steps, pairs), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="the folder with prototxt/")
    parser.add_argument("--parts", nargs="+", default=["forward", "detect", "train"])
    parser.add_argument("--pairs", type=int, default=20)
    given = parser.parse_args()
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{'':36} {'ours, ms':>9} {'plain, ms':>9} {'ratio':>6} {'images/s':>9}")
    if "forward" in given.parts:
        measure_forward("VGG-16", (1, 32), given.shared, given.pairs)
        measure_forward("dilation8", (1,), given.shared, given.pairs)
    if "detect" in given.parts:
        measure_forward("SSD300", (1, 8), given.shared, given.pairs)
    if "train" in given.parts:
        measure_training(given.pairs)


if __name__ == "__main__":
    main()
