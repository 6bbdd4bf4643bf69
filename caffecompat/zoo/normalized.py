"""Nets for ILSVRC whose convolutions have BatchNorm: their blocks, data and training."""

from __future__ import annotations

from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import ConvBNLayer, Params, constant, rates
from caffecompat.zoo.classifying import ILSVRC, MEAN_BGR, Body, Images, bare, deploy, top_1_and_5, train_val
from caffecompat.zoo.model import Asked, Nets

# What PyTorch takes as momentum 0.1 and eps 1e-5.
STATISTICS: Params = {"moving_average_fraction": 0.9, "eps": 0.00001}
MSRA: Params = {"type": "msra"}


def conv_bn(
    net: NetSpec,
    bottom: str,
    name: str,
    channels: int,
    kernel_size: Any,
    *,
    stride: int = 1,
    group: int = 1,
    relu: bool = True,
    **names: Any,
) -> str:
    """A convolution that keeps the size but for its stride, then BatchNorm, Scale and, if wanted, ReLU, in place.

    Args:
        net: the net, which gets the layers.
        bottom: the name of the bottom.
        name: of the convolution; the others have it in theirs.
        channels: how many it makes.
        kernel_size: a number, or [height, width].
        stride: its step.
        group: into how many groups its channels fall.
        relu: with ReLU.
        names: prefixes and postfixes as `ConvBNLayer` takes them.

    Returns:
        The name of the top.
    """
    pad = [size // 2 for size in kernel_size] if isinstance(kernel_size, list) else kernel_size // 2
    ConvBNLayer(net, bottom, name, True, relu, channels, kernel_size, pad, stride, **STATISTICS, **names)
    conv = f"{names.get('conv_prefix', '')}{name}"
    net.update(conv, {"weight_filler": MSRA, **({"group": group} if group > 1 else {})})
    return conv


def batch_norm(net: NetSpec, bottom: str, name: str, *, in_place: bool = False) -> str:
    """BatchNorm and Scale, which leave their bottom as it is unless in place; the name of the BatchNorm's top."""
    net[f"{name}_bn"] = L.BatchNorm(net[bottom], in_place=in_place, param=rates((0, 0), (0, 0), (0, 0)), **STATISTICS)
    net[f"{name}_scale"] = L.Scale(
        net[f"{name}_bn"],
        in_place=True,
        bias_term=True,
        param=rates((1, 0), (1, 0)),
        filler=constant(1),
        bias_filler=constant(0),
    )
    return f"{name}_bn"


def normalized(net: NetSpec, bottom: str, name: str) -> str:
    """BatchNorm, Scale and ReLU in place, named as those behind a convolution; the name of the top."""
    batch_norm(net, bottom, name, in_place=True)
    net[f"{name}_relu"] = L.ReLU(net[f"{name}_scale"], in_place=True)
    return f"{name}_relu"


def summed(net: NetSpec, name: str, *bottoms: str, relu: bool = True) -> str:
    """The sum of blobs, and ReLU in place unless it is not wanted; the name of the top."""
    net[name] = L.Eltwise(*(net[bottom] for bottom in bottoms), operation=P.Eltwise.SUM)
    if relu:
        net[f"{name}_relu"] = L.ReLU(net[name], in_place=True)
    return name


def scored(net: NetSpec, bottom: str, name: str, classes: int, pool: str = "pool5") -> str:
    """The mean over all places, and the scores of the classes; the name of the top."""
    net[pool] = L.Pooling(net[bottom], pool=P.Pooling.AVE, global_pooling=True)
    net[name] = L.InnerProduct(
        net[pool],
        num_output=classes,
        param=rates((1, 1), (1, 0)),
        weight_filler={"type": "gaussian", "std": 0.01},
        bias_filler=constant(0),
    )
    return name


def nets_of(
    name: str,
    body: Body,
    asked: Asked,
    notes: tuple[str, ...] = (),
    *,
    scale: float = 0,
    batch: int = 32,
    size: int = 224,
    **solver: Any,
) -> Nets:
    """The files of a net.

    Args:
        name: of the net and its snapshots.
        body: its layers.
        asked: what is asked.
        notes: what is to be said of it.
        scale: what the values are multiplied by when the mean is subtracted; 0 for nothing.
        batch: images of a pass; the usual solver takes eight passes for an update, 256 images.
        size: the side of the pictures that it takes.
        solver: fields of the solver, beside and over the usual ones.
    """
    transform: Params = {"crop_size": size, "mean_value": MEAN_BGR}
    if scale:
        transform["scale"] = scale
    usual = {
        "test_iter": [1000],
        "test_interval": 5000,
        "test_initialization": False,
        "base_lr": 0.1,
        "display": 20,
        "average_loss": 20,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "iter_size": 8,
        "max_iter": 600_000,
        "snapshot": 10_000,
        "solver_mode": caffe_pb2.SolverParameter.GPU,
    }
    images = Images(ILSVRC, (batch, 50), transform)
    return Nets(
        {
            "train_val": train_val(name, asked, images, top_1_and_5(body, asked.classes)),
            "deploy": bare(deploy(name, (1, 3, size, size), body, asked.classes), rates=True),
        },
        caffe_pb2.SolverParameter(**{**usual, **solver}),
        name,
        None,
        notes,
    )
