"""Every published net as ONNX, compared in ONNX Runtime; those that detect also in OpenCV: a table.

    python -m tests.export.onnx_published [PART OF A NAME ...]

Nets without weights get random ones. Each is compared twice: as the conversion itself does, and from outside, blob by
blob and row by row, on standard normal values; the largest only from outside, with a height and width that vary, on a
smaller picture. Needs the folder `shared` and some minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import click
import cv2
import numpy as np
import torch

from caffecompat.cli.convert import command
from caffecompat.cli.opening import open_net
from caffecompat.errors import CaffeCompatError
from caffecompat.export.axes import shapes_for
from caffecompat.export.comparing import difference
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from tests.export.onnx_cases import run_model, run_net
from tests.support import SHARED

RULES = {"phase": "TEST", "level": 0, "stages": (), "dialect": "ssd", "ignore_fields": ()}
PREPARING = {"mean": None, "scale": None, "channels": None, "labels": None}
# No prototxt, as it was found: its first line is a bare name. It gets an error that says so.
MALFORMED = "VGG_19_layers_train_val.prototxt"
# Values of a blob for one picture.
LARGE = 1.2e7
# What prototxts leave to their databases.
SHAPES = {
    "lenet": ("data", (1, 1, 28, 28)),
    "cifar10": ("data", (1, 3, 32, 32)),
    "siamese": ("pair_data", (1, 2, 28, 28)),
    "train_context": ("data", (1, 21, 66, 66)),
    "wechat": ("data", (1, 1, 96, 128)),
}
WEIGHTS = {
    "cifar10_full_h5/cifar10_full.prototxt": "cifar10_full_iter_100000.caffemodel.h5",
    "cifar10_quick_encodings/cifar10_quick.prototxt": "cifar10_quick_v0.caffemodel",
    "hyperlpr_fp16/HorizonalFinemapping.prototxt": "HorizonalFinemapping.caffemodel",
    "lenet_v1/lenet.prototxt": "lenet_iter_10000.caffemodel",
    "mtcnn/det1.prototxt": "det1.caffemodel",
    "mtcnn/det2.prototxt": "det2.caffemodel",
    "mtcnn/det3.prototxt": "det3.caffemodel",
    "wechat_detect/detect.prototxt": "detect.caffemodel",
}


@dataclass(frozen=True)
class Row:
    """An output of a net: the largest difference, as a part of the largest magnitude."""

    net: str
    blob: str
    shape: tuple[int, ...]
    inside: float | None
    outside: float
    opencv: float | None = None


def published(parts: list[str]) -> list[Path]:
    """The prototxts of nets in `shared`, those whose names hold one of these parts."""
    found = [*SHARED.glob("prototxt/**/*.prototxt"), *SHARED.glob("models/**/*.prototxt")]
    nets = [path for path in sorted(found) if "solver" not in path.name and path.name != MALFORMED]
    return [path for path in nets if not parts or any(part in str(path.relative_to(SHARED)) for part in parts)]


def opened(path: Path):
    """The net of a prototxt, fed by its caller, with its weights or random ones."""
    name = str(path.relative_to(SHARED))
    weights = next((path.with_name(file) for end, file in WEIGHTS.items() if name.endswith(end)), None)
    with click.Context(command, info_name="convert") as context:
        context.set_parameter_source("phase", click.core.ParameterSource.DEFAULT)
        try:
            net = open_net(path, weights, (), RULES, PREPARING).net
        except CaffeCompatError as error:
            given = [shape for part, shape in SHAPES.items() if part in name]
            if not given or "not known" not in error.message:
                raise
            net = open_net(path, weights, given[:1], RULES, PREPARING).net
    if weights is None:
        randomize(net)
    return net


def randomize(net) -> None:
    """Weights that keep the size of values from layer to layer; nothing is 0 or 1 that could hide a mistake."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers:
            for name, blob in zip(layer.blob_names, layer.blobs, strict=True):
                if name in ("variance", "factor") or layer.spec.type == "Scale":
                    values = torch.rand(blob.shape, generator=random) + 0.5
                elif layer.spec.type == "Normalize":
                    values = 15 + 10 * torch.rand(blob.shape, generator=random)
                else:
                    fan = blob[0].numel() if blob.dim() > 1 else 100
                    values = torch.randn(blob.shape, generator=random) * (2 / fan) ** 0.5
                blob.copy_(values)


def compared(path: Path, folder: Path) -> Iterator[Row]:
    """Convert a net and compare its outputs.

    Raises:
        CaffeCompatError: it cannot be converted, or the conversion's own comparison fails.
    """
    net = opened(path)
    name = str(path.relative_to(SHARED))
    target = folder / "net.onnx"
    detects = any(layer.spec.type == "DetectionOutput" for layer in net.layers)
    large = not detects and max(prod(shape[1:]) for shape in net.blob_shapes.values()) > LARGE
    result = export_onnx(net, target, OnnxOptions(verify=not large, dynamic_batch=not large, dynamic_size=large), {})
    inside = {found.name: found.difference for found in result.comparisons or ()}
    random = np.random.default_rng(1)
    shapes = smaller(net) if large else {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    inputs = {blob: random.standard_normal(shape, dtype=np.float32) for blob, shape in shapes.items()}
    found, wanted = run_model(target, inputs), run_net(net, inputs)
    for blob, value in found.items():
        outside = difference(torch.from_numpy(value), torch.from_numpy(wanted[blob]))
        other = None
        if detects:
            other = difference(torch.from_numpy(in_opencv(target, inputs)), torch.from_numpy(wanted[blob]))
        yield Row(name, blob, value.shape, inside.get(blob), outside, other)


def smaller(net) -> dict[str, tuple[int, ...]]:
    """Inputs of half the height and width, where the net takes them."""
    built = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    half = {name: (*shape[:2], *(size // 2 for size in shape[2:])) for name, shape in built.items()}
    try:
        shapes_for(net, half)
    except CaffeCompatError:
        return built
    return half


def in_opencv(path: Path, inputs) -> np.ndarray:
    """What OpenCV's default engine gives for the one input."""
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(next(iter(inputs.values())))
    return net.forward()


def main() -> int:
    """Print the table; 1 if a net fails."""
    warnings.simplefilter("ignore")
    failed = 0
    print("| net | output | shape | in the conversion | from outside | OpenCV | s |")
    print("|---|---|---|---|---|---|---|")
    for path in published(sys.argv[1:]):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows = list(compared(path, Path(folder)))
            except CaffeCompatError as error:
                failed += 1
                print(f"| {path.relative_to(SHARED)} | {error.message} | | | | | |", flush=True)
                continue
        for row in rows:
            failed += not max(row.inside or 0, row.outside, row.opencv or 0) <= 1e-4
            shape = "x".join(map(str, row.shape))
            inside, opencv = ("" if value is None else f"{value:.1e}" for value in (row.inside, row.opencv))
            seconds = f"{time.monotonic() - start:.0f}"
            print(f"| {row.net} | {row.blob} | {shape} | {inside} | {row.outside:.1e} | {opencv} | {seconds} |")
        sys.stdout.flush()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
