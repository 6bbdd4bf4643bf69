"""RepVGG in small, on a slice of CIFAR-10: which branches count, and what int8 costs.

    python -m tests.zoo.repvgg [--width 0.25] [--blocks 2] [--iterations 300] [--seeds 1 2 3] [--nets branches ...]
        [--plot FILE.png]

Trains RepVGG-A0 with its channels multiplied by --width and at most --blocks blocks in a stage, on pictures of 32x32,
and tests it as it was trained, fused, fused in int8, and fused with kernels of six bits of which each layer has one
scale. "no-identity", "no-1x1" and "3x3" lack branches; "kernel-decay" lets the kernel of the whole block decay; "plain"
is trained by RepOptimizer, with the factors that "search" found with the same seed. The deviations are those of the
kernels of 3x3, layer by layer the least and the greatest, before fusion and after; --plot draws all of them, of the
first seed.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import caffecompat
from caffecompat import Net
from caffecompat.formats import write_text
from caffecompat.schema import caffe_pb2
from caffecompat.zoo import MODELS, Nets, ask, make
from caffecompat.zoo.classifying import MEAN_BGR
from tests.zoo.cifar import batches, pictures, spread, train, write_cifar

# The branches that a net lacks, by the ends of their names.
LACKING = {"no-identity": ("identity",), "no-1x1": ("1x1",), "3x3": ("identity", "1x1")}
FORMS = ("branches", *LACKING, "kernel-decay", "search", "plain")
CLASSES, BATCH = 10, 32
# What RepVGG's data layers multiply by.
SCALE = 0.017


@dataclass(frozen=True)
class Found:
    """What came of a training: accuracies, how far apart fusing is, and the kernels' deviations, layer by layer."""

    trained: float
    fused: float
    int8: float
    six_bits: float
    apart: float
    before: list[float]
    after: list[float]


def nets_of(form: str, data: tuple[str, str], width: float, blocks: int) -> Nets:
    """The nets of a form, of no more blocks in a stage than that."""
    variant = "branches" if form in LACKING else form
    model = MODELS["repvgg-a0"]
    asked = ask(model, variant=variant, classes=CLASSES, data=data[0], test_data=data[1], width=width, size=32)
    made = make(model, asked)
    for net in made.nets.values():
        without_branches(net, LACKING.get(form, ()))
        with_blocks(net, blocks)
    return made


def without_branches(net: caffe_pb2.NetParameter, branches: Sequence[str]) -> None:
    """Take branches out of every block."""
    ends = tuple(f"_{branch}{end}" for branch in branches for end in ("", "_bn", "_scale"))
    kept = [layer for layer in net.layer if not ends or not layer.name.endswith(ends)]
    for layer in kept:
        if layer.type == "Eltwise":
            layer.bottom[:] = [bottom for bottom in layer.bottom if not ends or not bottom.endswith(ends)]
            if len(layer.bottom) == 1:
                # A sum of one: the original wants two.
                layer.type = "Power"
                layer.ClearField("eltwise_param")
    copies = [caffe_pb2.LayerParameter.FromString(layer.SerializeToString()) for layer in kept]
    del net.layer[:]
    net.layer.extend(copies)


def with_blocks(net: caffe_pb2.NetParameter, most: int) -> None:
    """Take the blocks of each stage out that come after so many; the next stage reads the last one that is left."""
    kept = []
    for layer in net.layer:
        found = re.match(r"stage\d_(\d+)", layer.name)
        if found and int(found[1]) > most:
            continue
        layer.bottom[:] = [
            re.sub(r"(stage\d_)(\d+)", lambda name: f"{name[1]}{min(int(name[2]), most)}", bottom)
            for bottom in layer.bottom
        ]
        kept.append(caffe_pb2.LayerParameter.FromString(layer.SerializeToString()))
    del net.layer[:]
    net.layer.extend(kept)


def deviations(net: Net) -> list[float]:
    """The standard deviation of each kernel of 3x3, in the net's order."""
    kernels = [layer.blobs[0] for layer in net.layers if layer.spec.type == "Convolution"]
    return [float(kernel.detach().std()) for kernel in kernels if kernel.shape[-1] == 3]


def right(outputs: Mapping[str, Tensor], labels: np.ndarray) -> float:
    return float(np.mean(outputs["prob"].detach().numpy().argmax(1) == labels))


def score(deploy: Path, weights: Path, images: np.ndarray, labels: np.ndarray, calibration: np.ndarray) -> Found:
    """Test a net as it was trained, fused, and in int8."""
    net = caffecompat.load(deploy, weights)
    fused = caffecompat.fuse(net)
    with torch.inference_mode():
        plain, merged = net(data=images), fused(data=images)
    # The engine fuses too.
    engine = caffecompat.optimize(
        net, "onnxruntime", "int8", example={"data": images}, calibration={"data": calibration}, cache=False
    )
    coarse = rounded(net, 6)
    return Found(
        right(plain, labels),
        right(merged, labels),
        right(engine(data=images), labels),
        right(coarse(data=images), labels),
        float((plain["prob"] - merged["prob"]).abs().max()),
        deviations(net),
        deviations(fused),
    )


def rounded(net: Net, bits: int) -> Net:
    """The net with the kernels of each layer in so many bits, of one scale for all of a layer."""
    most = 2 ** (bits - 1) - 1
    coarse = caffecompat.fuse(net, verify=False)
    with torch.no_grad():
        for layer in coarse.layers:
            if layer.spec.type == "Convolution":
                kernel = layer.blobs[0].detach().clone()
                step = kernel.abs().max() / most
                layer.set_blob(0, (kernel / step).round() * step)
    return coarse


def run(
    folder: Path, form: str, data: tuple[str, str], width: float, blocks: int, iterations: int, seed: int
) -> tuple[Path, Path]:
    """Train a form: its deploy net and its weights. "plain" needs the weights of "search" in the same folder."""
    nets = nets_of(form, data, width, blocks)
    own = folder / f"{form}_{seed}"
    settings = (
        f"random_seed: {seed} max_iter: {iterations} base_lr: 0.05 momentum: 0.9 weight_decay: 0.0005 "
        f'type: "Nesterov" lr_policy: "poly" power: 1'
    )
    if form == "kernel-decay":
        settings += " equivalent_kernel_decay: true"
    if form == "plain":
        settings += f' rep_optimizer_scales: "{folder / f"search_{seed}" / f"net_iter_{iterations}.caffemodel"}"'
    _, weights = train(own, batches(nets.nets["train_val"], BATCH), settings)
    deploy = own / "deploy.prototxt"
    deploy.write_text(write_text(nets.nets["deploy"]))
    return deploy, weights


def row(found: Sequence[Found]) -> str:
    """Means and standard deviations over the seeds; the kernels' deviations are those of the first."""
    cells = [spread([getattr(one, name) for one in found]) for name in ("trained", "fused", "int8", "six_bits")]
    cells.append(f"{max(one.apart for one in found):.0e}")
    cells += [f"{min(own):.3f} to {max(own):.3f}" for own in (found[0].before, found[0].after)]
    return " | ".join(cells)


def plot(path: Path, found: Mapping[str, Found]) -> None:
    """The deviations of the kernels of each net, layer by layer, before fusing (dashed) and after."""
    from matplotlib.figure import Figure

    figure = Figure((7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="layer", ylabel="standard deviation of the 3x3 kernel")
    for number, (form, one) in enumerate(found.items()):
        for label, values, line in ((f"{form}, trained", one.before, "--"), (f"{form}, fused", one.after, "-")):
            axes.plot(range(1, len(values) + 1), values, line, color=f"C{number}", marker="o", label=label)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nets", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    firsts: dict[str, Found] = {}
    torch.set_num_threads(1)
    images, labels = pictures(range(4000, 5000), MEAN_BGR, SCALE)
    calibration, _ = pictures(range(64), MEAN_BGR, SCALE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_cifar(folder)
        for form in asked.nets:
            began, found = time.process_time(), []
            for seed in asked.seeds:
                files = run(folder, form, data, asked.width, asked.blocks, asked.iterations, seed)
                found.append(score(*files, images, labels, calibration))
            firsts[form] = found[0]
            seconds = (time.process_time() - began) / len(found)
            print(f"| {form} | {row(found)} | {seconds:.0f} s |", flush=True)
    if asked.plot is not None:
        plot(asked.plot, firsts)


if __name__ == "__main__":
    main()
