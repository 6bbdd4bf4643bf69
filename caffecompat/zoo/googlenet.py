"""GoogLeNet (Inception v1), as Caffe's model zoo has it: bvlc_googlenet.

Source: Szegedy et al.: Going Deeper with Convolutions, CVPR 2015, table 1.
"""

from __future__ import annotations

from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import ILSVRC, MEAN_BGR, Images, accuracy, deploy, train_val
from caffecompat.zoo.model import Asked, Model, Nets

# Channels: 1x1; before 3x3, 3x3; before 5x5, 5x5; behind the pooling.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
# Where training has classifiers of their own, and their number.
_SIDES = {"4a": 1, "4d": 2}


def _filled(bias: float = 0.2) -> Params:
    return {"param": rates((1, 1), (2, 0)), "weight_filler": {"type": "xavier"}, "bias_filler": constant(bias)}


def _conv(net: NetSpec, bottom: str, name: str, num_output: int, kernel_size: int, **window: Any) -> str:
    """A convolution and its ReLU; "group/name" gives the ReLU the name "group/relu_name"."""
    net[name] = L.Convolution(net[bottom], num_output=num_output, kernel_size=kernel_size, **window, **_filled())
    group, _, own = name.partition("/")
    net[f"{group}/relu_{own.removesuffix('_s2')}"] = L.ReLU(net[name], in_place=True)
    return name


def _max_pool(net: NetSpec, bottom: str, name: str) -> str:
    net[name] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return name


def _norm(net: NetSpec, bottom: str, name: str) -> str:
    net[name] = L.LRN(net[bottom], local_size=5, alpha=0.0001, beta=0.75)
    return name


def _inception(net: NetSpec, bottom: str, block: str) -> str:
    single, before_3, behind_3, before_5, behind_5, pooled = _INCEPTIONS[block]
    group = f"inception_{block}"
    tops = [_conv(net, bottom, f"{group}/1x1", single, 1)]
    for size, before, behind in ((3, before_3, behind_3), (5, before_5, behind_5)):
        reduced = _conv(net, bottom, f"{group}/{size}x{size}_reduce", before, 1)
        tops.append(_conv(net, reduced, f"{group}/{size}x{size}", behind, size, pad=size // 2))
    net[f"{group}/pool"] = L.Pooling(net[bottom], pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
    tops.append(_conv(net, f"{group}/pool", f"{group}/pool_proj", pooled, 1))
    net[f"{group}/output"] = L.Concat(*(net[top] for top in tops))
    return f"{group}/output"


def _scored(net: NetSpec, scores: str, classes: int, number: int, weight: float) -> None:
    """The loss of a classifier, and how often it is right."""
    group = f"loss{number}"
    layer = "loss3/loss3" if number == 3 else f"{group}/loss"
    net[f"{group}/loss{number}"] = L.SoftmaxWithLoss(net[scores], net.label, name=layer, loss_weight=weight)
    accuracy(net, scores, f"{group}/top-1")
    if classes >= 5:
        accuracy(net, scores, f"{group}/top-5", accuracy_param={"top_k": 5})


def _side(net: NetSpec, bottom: str, number: int, classes: int) -> None:
    """A classifier half-way, which only training has."""
    group = f"loss{number}"
    net[f"{group}/ave_pool"] = L.Pooling(net[bottom], pool=P.Pooling.AVE, kernel_size=5, stride=3)
    last = _conv(net, f"{group}/ave_pool", f"{group}/conv", 128, 1)
    net[f"{group}/fc"] = L.InnerProduct(net[last], num_output=1024, **_filled())
    net[f"{group}/relu_fc"] = L.ReLU(net[f"{group}/fc"], in_place=True)
    net[f"{group}/drop_fc"] = L.Dropout(net[f"{group}/fc"], dropout_ratio=0.7, in_place=True)
    scores = f"{group}/classifier"
    net[scores] = L.InnerProduct(net[f"{group}/fc"], num_output=classes, **_filled(0))
    _scored(net, scores, classes, number, 0.3)


def _body(net: NetSpec, classes: int, sides: bool = False) -> str:
    last = _conv(net, "data", "conv1/7x7_s2", 64, 7, pad=3, stride=2)
    last = _norm(net, _max_pool(net, last, "pool1/3x3_s2"), "pool1/norm1")
    last = _conv(net, last, "conv2/3x3_reduce", 64, 1)
    last = _norm(net, _conv(net, last, "conv2/3x3", 192, 3, pad=1), "conv2/norm2")
    last = _max_pool(net, last, "pool2/3x3_s2")
    for block in _INCEPTIONS:
        last = _inception(net, last, block)
        if sides and block in _SIDES:
            _side(net, last, _SIDES[block], classes)
        if block in ("3b", "4e"):
            last = _max_pool(net, last, f"pool{block[0]}/3x3_s2")
    net["pool5/7x7_s1"] = L.Pooling(net[last], pool=P.Pooling.AVE, kernel_size=7, stride=1)
    net["pool5/drop_7x7_s1"] = L.Dropout(net["pool5/7x7_s1"], dropout_ratio=0.4, in_place=True)
    net["loss3/classifier"] = L.InnerProduct(net["pool5/7x7_s1"], num_output=classes, **_filled(0))
    return "loss3/classifier"


def _build(asked: Asked) -> Nets:
    name = "GoogleNet"
    images = Images(ILSVRC, (32, 50), {"crop_size": 224, "mean_value": MEAN_BGR})

    def training(net: NetSpec) -> None:
        _scored(net, _body(net, asked.classes, sides=True), asked.classes, 3, 1)

    return Nets(
        {
            "train_val": train_val(name, asked, images, training),
            "deploy": deploy(name, (10, 3, 224, 224), _body, asked.classes),
        },
        caffe_pb2.SolverParameter(
            test_iter=[1000],
            test_interval=4000,
            test_initialization=False,
            display=40,
            average_loss=40,
            base_lr=0.01,
            lr_policy="step",
            stepsize=320_000,
            gamma=0.96,
            max_iter=10_000_000,
            momentum=0.9,
            weight_decay=0.0002,
            snapshot=40_000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "bvlc_googlenet",
    )


MODELS = (Model("googlenet", "GoogLeNet", "Szegedy et al. 2014", _build, {"imagenet": 1000}),)
