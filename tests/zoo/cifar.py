"""Small trainings of the zoo's classifiers on a slice of CIFAR-10: 4,000 images to learn, 1,000 to test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat import Solver
from caffecompat.formats import write_text
from caffecompat.schema import caffe_pb2
from caffecompat.solver.listeners import Listener, Test
from tests.data.records import raw, write_lmdb
from tests.support import SHARED

FILE = "data/cifar10_5000.npz"
TRAINED = 4000
# What has accuracy_at_1 in its tests, iteration by iteration.
Curve = list[tuple[int, float]]


def write_cifar(folder: Path, train: int = TRAINED, test: int = 1000) -> tuple[str, str]:
    """The databases, in B, G, R."""
    with np.load(SHARED / FILE) as file:
        images, labels = file["X"][:, ::-1], file["y"]
    parts = (("train", range(train)), ("test", range(TRAINED, TRAINED + test)))
    for name, places in parts:
        records = [(b"%08d" % place, raw(np.ascontiguousarray(images[place]), int(labels[place]))) for place in places]
        write_lmdb(folder / name, records)
    return str(folder / "train"), str(folder / "test")


class Curves(Listener):
    """Keeps the accuracies of the tests."""

    def __init__(self) -> None:
        self.accuracies: Curve = []

    def tested(self, solver: Solver, test: Test) -> None:
        self.accuracies += [(test.iteration, score.value) for score in test.scores if score.name == "accuracy_at_1"]


def train(folder: Path, net: caffe_pb2.NetParameter, settings: str) -> tuple[Curve, Path]:
    """Train a net, and test it along the way.

    Args:
        folder: for its files.
        net: for training and tests.
        settings: of the solver, but for paths.

    Returns:
        The accuracies of the tests, and the weights in the end.
    """
    folder.mkdir(parents=True)
    path = folder / "train_val.prototxt"
    path.write_text(write_text(net))
    text = f'net: "{path}" snapshot_prefix: "{folder / "net"}" solver_mode: CPU display: 0 {settings}'
    solver = folder / "solver.prototxt"
    solver.write_text(text)
    curves = Curves()
    made = Solver.from_prototxt(solver, listeners=[curves], workers=1)
    made.solve()
    made.close()
    return curves.accuracies, folder / f"net_iter_{made.iteration}.caffemodel"


def batches(net: caffe_pb2.NetParameter, training: int) -> caffe_pb2.NetParameter:
    """The net with that many pictures in a batch of training."""
    net.layer[0].data_param.batch_size = training
    return net


def spread(values: list[float]) -> str:
    """Mean and standard deviation, in percent."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{100 * np.mean(values):.1f} ± {100 * deviation:.1f}"


def pictures(places: range, mean: Sequence[float], scale: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Images of the slice as a net takes them, (N, 3, 32, 32) in B, G, R, and their labels."""
    with np.load(SHARED / FILE) as file:
        images, labels = file["X"][places.start : places.stop, ::-1], file["y"][places.start : places.stop]
    shifted = images.astype(np.float32) - np.asarray(mean, np.float32)[:, None, None]
    return np.ascontiguousarray(shifted * np.float32(scale)), labels
