"""Published solvers and nets in folders that have what they name, and data to train on.

    python -m tests.solver.published frontend --steps 20 --batch 8

trains one of dilation's nets for some steps, and prints the loss of each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from caffecompat.formats import read_solver, write_mean
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Options, Solver
from tests.solver.databases import datum, write_lmdb
from tests.support import shared_file

DILATION = ("frontend", "context", "joint")


def place(folder: Path, names: dict[str, str], changes: Iterable[tuple[str, str]] = ()) -> None:
    """Copy published files to where they are looked for; each change is made in every one of them that has its text."""
    for source, target in names.items():
        text = shared_file(f"prototxt/{source}").read_text()
        for old, new in changes:
            text = text.replace(old, new)
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def solver_in(folder: Path, path: str, **fields: Any) -> Solver:
    """The solver at a path in a folder, run there on the CPU; `fields` are set in its message, a seed beside them."""
    parsed = read_solver(folder / path)
    for name, value in {"random_seed": 1, **fields}.items():
        setattr(parsed.message, name, value)
    return Solver(parsed, options=Options(root=folder, device="cpu"))


def pictures_of(name: str, count: int) -> tuple[list[Any], list[Any]]:
    """The pictures of a data set as records, shuffled: the first `count`, and the others."""
    with np.load(shared_file(f"data/{name}.npz")) as data:
        pictures, labels = data["X"], data["y"]
    order = np.random.default_rng(1).permutation(len(pictures))
    records = [datum(pictures[index], int(labels[index])) for index in order]
    return records[:count], records[count:]


def lenet(folder: Path) -> str:
    """LeNet's published files, on 8,000 digits and 2,000 held out; the path of the solver."""
    names = {
        "bvlc/mnist__lenet_solver.prototxt": "examples/mnist/lenet_solver.prototxt",
        "bvlc/mnist__lenet_train_test.prototxt": "examples/mnist/lenet_train_test.prototxt",
    }
    place(folder, names)
    train, held_out = pictures_of("mnist_10000", 8000)
    write_lmdb(folder / "examples/mnist/mnist_train_lmdb", train)
    write_lmdb(folder / "examples/mnist/mnist_test_lmdb", held_out)
    return "examples/mnist/lenet_solver.prototxt"


def cifar10_full(folder: Path) -> str:
    """cifar10_full's published files, on 4,000 pictures and 1,000 held out; the path of the solver."""
    names = {
        "bvlc/cifar10__cifar10_full_solver.prototxt": "examples/cifar10/cifar10_full_solver.prototxt",
        "bvlc/cifar10__cifar10_full_train_test.prototxt": "examples/cifar10/cifar10_full_train_test.prototxt",
    }
    place(folder, names)
    train, held_out = pictures_of("cifar10_5000", 4000)
    write_lmdb(folder / "examples/cifar10/cifar10_train_lmdb", train)
    write_lmdb(folder / "examples/cifar10/cifar10_test_lmdb", held_out)
    values = [np.frombuffer(record.data, np.uint8).reshape(3, 32, 32) for record in train]
    write_mean(folder / "examples/cifar10/mean.binaryproto", np.mean(values, 0))
    return "examples/cifar10/cifar10_full_solver.prototxt"


def photographs(count: int, side: int = 256) -> list[Any]:
    """Cuts of a photograph as records: JPEGs, PNGs and plain bytes in turn."""
    photo = cv2.imread(str(shared_file("photos/astronaut.png")))
    random = np.random.default_rng(1)
    records = []
    for number in range(count):
        top, left = random.integers(0, np.array(photo.shape[:2]) - side + 1)
        cut = photo[top : top + side, left : left + side]
        if number % 3 == 2:
            records.append(datum(np.ascontiguousarray(cut.transpose(2, 0, 1)), number))
        else:
            data = cv2.imencode((".jpg", ".png")[number % 3], cut)[1].tobytes()
            records.append(caffe_pb2.Datum(encoded=True, data=data, label=number))
    return records


def imagenet(folder: Path, net: str, batch: int) -> str:
    """VGG-16's or AlexNet's published files, with smaller batches, on six cuts of a photograph; the solver's path.

    VGG-16's text names a LevelDB and, as comments, the mean file: these are brought in.
    """
    mean, source = {
        "vgg16": ("data/ilsvrc12_shrt_256", "data/ilsvrc12_shrt_256/ilsvrc12"),
        "alexnet": ("data/ilsvrc12", "examples/imagenet/ilsvrc12"),
    }[net]
    if net == "vgg16":
        values = "".join(f"    mean_value: {value}  \n" for value in ("103.939", "116.779", "123.68"))
        stated = f'    mean_file: "{mean}/imagenet_mean.binaryproto"\n'
        changes = [
            ("LEVELDB", "LMDB"),
            ("leveldb", "lmdb"),
            (values, stated),
            ("batch_size: 64", f"batch_size: {batch}"),
        ]
        names = {
            "vgg/VGG_ILSVRC_16_layers_train_val.prototxt": "models/vgg16/train_val.prototxt",
            "vgg/vgg_16_solver.prototxt": "models/vgg16/solver.prototxt",
        }
    else:
        changes = [("batch_size: 256", f"batch_size: {batch}")]
        names = {
            "bvlc/bvlc_alexnet__train_val.prototxt": "models/bvlc_alexnet/train_val.prototxt",
            "bvlc/bvlc_alexnet__solver.prototxt": "models/bvlc_alexnet/solver.prototxt",
        }
    place(folder, names, changes)
    for part in ("train", "val"):
        database = folder / f"{source}_{part}_lmdb"
        database.parent.mkdir(parents=True, exist_ok=True)
        write_lmdb(database, photographs(6))
    path = folder / mean / "imagenet_mean.binaryproto"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(shared_file("models/ilsvrc_2012_mean.binaryproto").read_bytes())
    return list(names.values())[1]


def drawn(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (height, width, 3) of rectangles on a ground of noise, and the class of each pixel."""
    picture = random.integers(90, 140, (height, width, 3)).astype(np.uint8)
    label = np.zeros((height, width), np.uint8)
    for kind in (1, 2, 3):
        tall, wide = random.integers((height // 6, width // 6), (height // 3, width // 3))
        top, left = random.integers(0, (height - tall, width - wide))
        colour = np.array([250 * (kind == channel + 1) for channel in range(3)], np.uint8)
        picture[top : top + tall, left : left + wide] = colour
        label[top : top + tall, left : left + wide] = kind
    return picture, label


def write_features(path: Path, label: np.ndarray, random: np.random.Generator) -> None:
    """A file of floats (21, 66, 66) such as dilation's front end gives: scores that tell the class in most places."""
    kinds = label[::8, ::8][:66, :66]
    scores = random.normal(0, 1, (21, *kinds.shape)).astype("<f4")
    np.put_along_axis(scores, kinds[None].astype(int), random.normal(2, 1, (1, *kinds.shape)).astype("<f4"), 0)
    path.write_bytes(np.array([5, 3, *scores.shape], "<i4").tobytes() + scores.tobytes())


def dilation(folder: Path, net: str, batch: int, count: int, side: int, scores: int = 16) -> str:
    """One of dilation's published training set-ups, with another batch, on `count` drawn pictures; the solver's path.

    In its nets one list serves for pictures and labels: here they are two. A crop of 500 pixels gives 16 rows of
    scores, of 8 pixels each, within margins of 186; where fewer are asked for, the crop is as much smaller.
    """
    named = {"frontend": "frontend_vgg", "context": "context", "joint": "joint"}[net]
    names = {f"dilation/train_{net}/{part}_net.prototxt": f"{net}/{named}_{part}_net.txt" for part in ("train", "test")}
    names[f"dilation/train_{net}/solver.prototxt"] = f"{net}/{named}_solver.txt"
    lists = ('label_list_path: "a.txt"', 'label_list_path: "b.txt"')
    crop = [("crop_size: 500", f"crop_size: {372 + 8 * scores}"), ("dim: 16", f"dim: {scores}")]
    place(folder, names, [lists, ("batch_size: 8", f"batch_size: {batch}"), *crop])
    (folder / net / "snapshots").mkdir()
    random = np.random.default_rng(1)
    for number in range(count):
        picture, label = drawn(random, side, side)
        cv2.imwrite(str(folder / f"label{number}.png"), label)
        cv2.imwrite(str(folder / f"picture{number}.png"), picture)
        write_features(folder / f"features{number}.bin", label, random)
    items = [f"features{n}.bin" if net == "context" else f"picture{n}.png" for n in range(count)]
    for name, lines in (("a.txt", items), ("b.txt", [f"label{n}.png" for n in range(count)])):
        (folder / name).write_text("".join(f"{folder / line}\n" for line in lines))
    return f"{net}/{named}_solver.txt"


def start_front_end(solver: Solver) -> None:
    """Weights that keep the size of blobs, in the place of VGG's, which these nets have no fillers for."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in solver.net.layers:
            if layer.spec.type == "Convolution" and not layer.spec.message.convolution_param.HasField("weight_filler"):
                weight = layer.blobs[0]
                # The pictures' values are some sixty times as large as is good for the layers behind.
                size = 1 / 60 if layer.spec.name == "conv1_1" else 1.0
                weight.normal_(0, size * (2 / weight[0].numel()) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=DILATION)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = dilation(Path(name), args.net, args.batch, count=8, side=528)
        solver = solver_in(Path(name), path, test_initialization=False, snapshot=0)
        if args.net != "context":
            start_front_end(solver)
        for step in range(args.steps):
            began = time.perf_counter()
            loss = solver.step(1)
            print(f"{args.net} step {step + 1}: loss {loss:.4f}, {time.perf_counter() - began:.1f} s", flush=True)
        solver.close()


if __name__ == "__main__":
    main()
