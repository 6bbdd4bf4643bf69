"""Dilated convolutions on drawn pictures: a small front end, and the context module on what it gives.

    python -m tests.zoo.segmentation [--seeds 3] [--pictures 96] [--iterations 400] [--stops 4] [--curve FILE.png]

The pictures' shapes differ from what surrounds them by faint colours under noise that is wider than what the front end
sees: only who looks farther can tell. Trains the front end, writes what it gives (`features --format bin`), trains the
context module of `new dilation-context` on that from the identity and from random weights, then both modules together,
and scores each by `evaluate segmentation`, in the end with a dense CRF too. Writes the mean IoU, in percent, of each
seed along the training, and the curves as a picture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from click.testing import CliRunner

from caffecompat import Net, Solver
from caffecompat.cli.main import main as command
from caffecompat.formats import parse_net, read_solver, write_caffemodel, write_text
from caffecompat.graph import build_graph
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo import MODELS, ask, make

SIDE, MARGIN, STRIDE, CLASSES = 64, 6, 4, 3
PLACES = SIDE // STRIDE
MEAN = [110.0, 110.0, 110.0]
# Wider in colour than usual: so is the pictures' noise.
CRF = ("--crf", "--crf-bilateral", "4,8,40")
METHODS = ("front end", "context, identity", "context, random", "joint, identity")


def run(*arguments: object) -> None:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception


def draw(folder: Path, count: int, seed: int) -> None:
    """Pictures and label maps, and their lists: two classes of shapes, and what surrounds them."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    colours = np.array([[110, 110, 110], [140, 110, 95], [95, 110, 140]], float)
    lists: dict[str, list[str]] = {"images": [], "labels": []}
    for number in range(count):
        labels = np.zeros((SIDE, SIDE), np.uint8)
        for label in (1, 2):
            middle, size = rng.integers(12, SIDE - 12, 2).tolist(), int(rng.integers(9, 16))
            if rng.random() < 0.5:
                cv2.circle(labels, middle, size, label, -1)
            else:
                corners = [[value + sign * size for value in middle] for sign in (-1, 1)]
                cv2.rectangle(labels, corners[0], corners[1], label, -1)
        wide = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE, 3)), (0, 0), 3)
        picture = colours[labels] + 28 * wide / wide.std() + rng.normal(0, 10, wide.shape)
        for kind, image in (("images", np.clip(picture, 0, 255).astype(np.uint8)), ("labels", labels)):
            path = folder / f"{kind[:-1]}{number}.png"
            cv2.imwrite(str(path), image)
            lists[kind].append(f"{path}\n")
    for kind, lines in lists.items():
        (folder / f"{kind}.txt").write_text("".join(lines))


def front_end(net: NetSpec) -> None:
    """The layers from "data" to "final", one place for 4x4 pixels; no window is padded."""
    last = "data"
    for index, channels in ((1, 8), (2, 12)):
        filler = {"type": "msra"}
        net[f"conv{index}"] = L.Convolution(net[last], num_output=channels, kernel_size=5, weight_filler=filler)
        net[f"relu{index}"] = L.ReLU(net[f"conv{index}"], in_place=True)
        net[f"pool{index}"] = L.Pooling(net[f"conv{index}"], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        last = f"pool{index}"
    filler = {"type": "gaussian", "std": 0.01}
    net.final = L.Convolution(net[last], num_output=CLASSES, kernel_size=1, weight_filler=filler)


def image_data(net: NetSpec, data: Path) -> None:
    size, dims = SIDE + 2 * MARGIN, {"dim": [PLACES] * 2, "stride": [STRIDE] * 2, "offset": [MARGIN] * 2}
    net.data, net.label = L.ImageLabelData(
        ntop=2,
        transform_param={"mirror": True, "mean_value": MEAN, "crop_size": size},
        image_label_data_param={
            "image_list_path": str(data / "images.txt"),
            "label_list_path": str(data / "labels.txt"),
            "shuffle": True,
            "batch_size": 8,
            "label_slice": dims,
            "padding": P.ImageLabelData.REFLECT,
        },
    )


def context(features: Path, data: Path, random: bool) -> caffe_pb2.NetParameter:
    """The training net of `new dilation-context --dataset kitti`: seven layers, its lists and sizes ours."""
    model = MODELS["dilation-context"]
    asked = ask(model, dataset="kitti", classes=CLASSES, data=str(features), labels=str(data / "labels.txt"))
    net = make(model, asked).nets["train"]
    param = net.layer[0].bin_label_data_param
    param.batch_size = 8
    param.label_slice.dim[:], param.label_slice.stride[:] = [PLACES] * 2, [STRIDE] * 2
    for layer in net.layer:
        if random and layer.type == "Convolution":
            layer.convolution_param.weight_filler.CopyFrom(caffe_pb2.FillerParameter(type="xavier"))
    return net


def appended(head: NetSpec, tail: caffe_pb2.NetParameter, kinds: tuple[str, ...]) -> caffe_pb2.NetParameter:
    """The layers of `head`, and those of the context module that are of these types, on "final"."""
    net = head.to_proto()
    net.layer.extend(layer for layer in tail.layer if layer.type in kinds)
    for layer in net.layer:
        if layer.name == "ctx_conv1_1":
            layer.bottom[:] = ["final"]
    return net


def train(path: Path, net: caffe_pb2.NetParameter, rate: float, asked: argparse.Namespace, weights: list[str]) -> None:
    """Train, with snapshots at all stops."""
    path.write_text(write_text(net))
    solver = path.with_suffix(".solver")
    solver.write_text(
        f'net: "{path}" type: "Adam" base_lr: {rate} momentum: 0.9 momentum2: 0.999 lr_policy: "fixed" display: 0 '
        f"max_iter: {asked.iterations} snapshot: {asked.iterations // asked.stops} random_seed: {asked.seed + 1} "
        f'snapshot_prefix: "{path.with_suffix("")}"'
    )
    made = Solver(read_solver(solver))
    for file in weights:
        made.net.copy_from(file)
    made.solve()


def snapshots(path: Path, asked: argparse.Namespace) -> Iterator[str]:
    """The weights after each stop."""
    step = asked.iterations // asked.stops
    return (f"{path.with_suffix('')}_iter_{step * stop}.caffemodel" for stop in range(1, asked.stops + 1))


def scores(folder: Path, net: caffe_pb2.NetParameter, stops: list[list[str]]) -> list[float]:
    """What `score` gives after each stop, and after the last with a CRF."""
    return [*(score(folder, net, weights) for weights in stops), score(folder, net, stops[-1], CRF)]


def score(folder: Path, net: caffe_pb2.NetParameter, weights: list[str], options: tuple[str, ...] = ()) -> float:
    """The mean IoU on the test pictures, in percent."""
    deploy, joined, found = (folder / name for name in ("deploy.prototxt", "deploy.caffemodel", "found.json"))
    deploy.write_text(write_text(net))
    made = Net(build_graph(parse_net(deploy.read_bytes())))
    for file in weights:
        made.copy_from(file)
    write_caffemodel(joined, made.graph.message, [[b.detach().numpy() for b in layer.blobs] for layer in made.layers])
    files = (folder / "test" / "images.txt", "--truth", folder / "test" / "labels.txt", "--json", found)
    run("evaluate", "segmentation", *files, "--net", deploy, "-w", joined, "--mean", ",".join(map(str, MEAN)), *options)
    return 100 * float(json.loads(found.read_text())["mean_IoU"])


def compare(folder: Path, asked: argparse.Namespace) -> dict[str, list[float]]:
    """The mean IoU of each method after each stop of its training, and after the last with a CRF."""
    data, size = folder / "train", SIDE + 2 * MARGIN
    draw(data, asked.pictures, 2 * asked.seed)
    draw(folder / "test", max(8, asked.pictures // 2), 2 * asked.seed + 1)
    trained, deployed = NetSpec(), NetSpec()
    image_data(trained, data)
    front_end(trained)
    deployed.data = L.Input(shape={"dim": [1, 3, size, size]})
    front_end(deployed)

    front = folder / "front.prototxt"
    loss = {"ignore_label": 255}
    whole = NetSpec()
    image_data(whole, data)
    front_end(whole)
    whole.loss = L.SoftmaxWithLoss(whole.final, whole.label, loss_param=loss)
    train(front, whole.to_proto(), 0.002, asked, [])
    found = {METHODS[0]: scores(folder, deployed.to_proto(), [[file] for file in snapshots(front, asked)])}
    first = list(snapshots(front, asked))[-1]

    (folder / "final.prototxt").write_text(write_text(deployed.to_proto()))
    arguments = ("features", folder / "final.prototxt", "-w", first, data / "images.txt", "--blob", "final")
    run(*arguments, "--mean", ",".join(map(str, MEAN)), "--format", "bin", "-o", folder / "features")
    layers = ("Convolution", "ReLU")
    for name, random in ((METHODS[1], False), (METHODS[2], True)):
        net = context(folder / "features" / "features.txt", data, random)
        path = folder / f"context{int(random)}.prototxt"
        train(path, net, 0.001, asked, [])
        both = appended(deployed, net, layers)
        found[name] = scores(folder, both, [[first, file] for file in snapshots(path, asked)])

    net = context(folder / "features" / "features.txt", data, False)
    joint = folder / "joint.prototxt"
    second = list(snapshots(folder / "context0.prototxt", asked))[-1]
    train(joint, appended(trained, net, (*layers, "SoftmaxWithLoss")), 0.0003, asked, [first, second])
    both = appended(deployed, net, layers)
    found[METHODS[3]] = scores(folder, both, [[file] for file in snapshots(joint, asked)])
    return found


def plot(path: Path, found: list[dict[str, list[float]]], asked: argparse.Namespace) -> None:
    """The mean over the seeds, and from the worst to the best of them, by iterations."""
    from matplotlib.figure import Figure

    figure = Figure((7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="iterations of the stage", ylabel="mean IoU, percent")
    places = [asked.iterations // asked.stops * stop for stop in range(1, asked.stops + 1)]
    for name in METHODS:
        values = np.array([one[name][:-1] for one in found])
        axes.plot(places, values.mean(0), marker="o", label=name)
        axes.fill_between(places, values.min(0), values.max(0), alpha=0.15)
    axes.legend()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("seeds", 3), ("pictures", 96), ("iterations", 400), ("stops", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--curve", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(compare(Path(folder), argparse.Namespace(**vars(asked), seed=seed)))
        for name, values in found[-1].items():
            print(f"| {seed} | {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |", flush=True)
    if asked.curve is not None:
        plot(asked.curve, found, asked)


if __name__ == "__main__":
    main()
