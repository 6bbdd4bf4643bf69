"""VGG in small, on a slice of CIFAR-10: configurations, LRN or not, 5x5 against two 3x3.

    python -m tests.zoo.vgg [--width 0.125] [--iterations 600] [--seeds 1 2 3] [--nets a a-lrn ...]

Trains VGG's configurations with their channels multiplied by --width, on pictures of 32x32, and writes a table of the
accuracies along the way. "b-5x5" is B with one convolution of 5x5 in the place of each two of 3x3, as in section 4.1
of the paper.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from caffecompat.schema import caffe_pb2
from caffecompat.zoo import MODELS, ask, make
from tests.zoo.cifar import Curve, batches, spread, train, write_cifar

NETS = ("a", "a-lrn", "b", "b-5x5")
CLASSES = 10
STOPS = 5


def net_of(name: str, data: tuple[str, str], width: float) -> caffe_pb2.NetParameter:
    """The net of a name for training and tests."""
    model = MODELS[f"vgg-{name.removesuffix('-5x5')}"]
    asked = ask(model, classes=CLASSES, data=data[0], test_data=data[1], width=width, size=32)
    net = make(model, asked).nets["train_val"]
    # All start from scratch here, as A does: the deeper ones by the same filler.
    for layer in net.layer:
        for param in (layer.convolution_param, layer.inner_product_param):
            if param.HasField("weight_filler"):
                param.weight_filler.Clear()
                param.weight_filler.type = "xavier"
                param.bias_filler.value = 0
    return wider_windows(net) if name.endswith("-5x5") else net


def wider_windows(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """Of each two convolutions one, of 5x5."""
    made = caffe_pb2.NetParameter(name=f"{net.name}_5x5")
    for layer in net.layer:
        if layer.name.startswith(("conv", "relu")) and layer.name.endswith("_2"):
            continue
        new = made.layer.add()
        new.CopyFrom(layer)
        if new.type == "Convolution":
            new.convolution_param.kernel_size[:] = [5]
            new.convolution_param.pad[:] = [2]
        new.bottom[:] = [f"{bottom[:-2]}_1" if bottom.startswith("conv") else bottom for bottom in new.bottom]
        if new.type == "ReLU":
            new.top[:] = new.bottom
    return made


def run(folder: Path, name: str, data: tuple[str, str], width: float, iterations: int, seed: int, batch: int) -> Curve:
    """The accuracies of a net along its training."""
    settings = (
        f"random_seed: {seed} max_iter: {iterations} base_lr: 0.003 momentum: 0.9 weight_decay: 0.0005 test_iter: 20 "
        f'test_interval: {iterations // STOPS} test_initialization: false lr_policy: "poly" power: 1'
    )
    return train(folder, batches(net_of(name, data, width), batch), settings)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_cifar(folder)
        for net in asked.nets:
            began, curves = time.perf_counter(), []
            for seed in asked.seeds:
                where = folder / f"{net}_{seed}"
                curves.append(run(where, net, data, asked.width, asked.iterations, seed, asked.batch))
            cells = [spread([curve[stop][1] for curve in curves]) for stop in range(len(curves[0]))]
            seconds = (time.perf_counter() - began) / len(curves)
            print(f"| {net} | {' | '.join(cells)} | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
