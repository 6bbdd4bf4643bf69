"""VGG: configurations A, A-LRN, B, C, D (VGG-16) and E (VGG-19).

Source: Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, table 1
and section 3.1; names and, for D, the fillers are those of the published VGG_ILSVRC_16_layers.

The original Caffe cannot rescale pictures, shift their colours, or follow the accuracy: the first variant does without,
and the others train as the paper does, on one scale or on many.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import ILSVRC, Images, bare, deploy, top_1_and_5, train_val, widened
from caffecompat.zoo.model import Asked, Model, Nets

_CHANNELS = (64, 128, 256, 512, 512)
# The number of convolutions of each block, and the name.
_CONFIGURATIONS = {
    "a": ((1, 1, 2, 2, 2), "VGG_ILSVRC_11_layers"),
    "a-lrn": ((1, 1, 2, 2, 2), "VGG_ILSVRC_11_layers_LRN"),
    "b": ((2, 2, 2, 2, 2), "VGG_ILSVRC_13_layers"),
    "c": ((2, 2, 3, 3, 3), "VGG_ILSVRC_16_layers_1x1"),
    "d": ((2, 2, 3, 3, 3), "VGG_ILSVRC_16_layers"),
    "e": ((2, 2, 4, 4, 4), "VGG_ILSVRC_19_layers"),
}
_MEAN = [103.939, 116.779, 123.68]
_SIZE = 224
# The lengths of the shorter side that training rescales pictures to, for crops of 224.
_SCALES = {"caffe": (0, 0), "single-scale": (256, 0), "multi-scale": (256, 512)}


def _body(configuration: str, width: float, net: NetSpec, classes: int) -> str:
    # Glorot's initialisation starts A from scratch (the paper's footnote); what is deeper starts from A.
    scratch = configuration.startswith("a")
    last = "data"
    for block, (count, channels) in enumerate(zip(_CONFIGURATIONS[configuration][0], _CHANNELS, strict=True), start=1):
        for index in range(1, count + 1):
            conv, relu = f"conv{block}_{index}", f"relu{block}_{index}"
            single = configuration == "c" and index == 3
            window = {"kernel_size": 1} if single else {"kernel_size": 3, "pad": 1}
            filling = _filled(0 if scratch else 0.01, 0)
            net[conv] = L.Convolution(net[last], num_output=widened(channels, width), **window, **filling)
            net[relu] = L.ReLU(net[conv], in_place=True)
            last = conv
        if configuration == "a-lrn" and block == 1:
            net.norm1 = L.LRN(net[last], local_size=5, alpha=0.0001, beta=0.75, k=2)
            last = "norm1"
        net[f"pool{block}"] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        last = f"pool{block}"
    filling = _filled(0 if scratch else 0.005, 0.1)
    for fc in (6, 7):
        net[f"fc{fc}"] = L.InnerProduct(net[last], num_output=widened(4096, width), **filling)
        net[f"relu{fc}"] = L.ReLU(net[f"fc{fc}"], in_place=True)
        net[f"drop{fc}"] = L.Dropout(net[f"fc{fc}"], dropout_ratio=0.5, in_place=True)
        last = f"fc{fc}"
    net.fc8 = L.InnerProduct(net[last], num_output=classes, **filling)
    return "fc8"


def _filled(std: float, bias: float) -> Params:
    filler: Params = {"type": "gaussian", "std": std} if std else {"type": "xavier"}
    return {"param": rates((1, 1), (2, 0)), "weight_filler": filler, "bias_filler": constant(bias if std else 0)}


def _build(configuration: str, asked: Asked) -> Nets:
    name = _CONFIGURATIONS[configuration][1]
    body = partial(_body, configuration, asked.width)
    size = asked.size or _SIZE
    sides = tuple(round(side * size / _SIZE) for side in _SCALES[asked.variant])
    images = Images(ILSVRC, (64, 50), {"crop_size": size, "mean_value": _MEAN, **_changing(*sides)})
    deeper = not configuration.startswith("a")
    return Nets(
        {
            "train_val": train_val(name, asked, images, top_1_and_5(body, asked.classes)),
            "deploy": bare(deploy(name, (10, 3, size, size), body, asked.classes, layer="input")),
        },
        _solver(asked),
        name,
        "vgg-a-start.caffemodel" if deeper else None,
        tuple(_notes(size, sides, deeper)),
    )


def _changing(least: int, most: int) -> Params:
    """What the paper does to pictures before crops and mirroring, or nothing."""
    if not least:
        return {}
    sides = {"min_side": least, **({"max_side": most} if most else {})}
    return {"rescale_param": sides, "color_shift_param": {"std": 0.1}}


def _notes(size: int, sides: tuple[int, ...], deeper: bool) -> Iterator[str]:
    if not sides[0]:
        yield (
            f"train on images whose shorter side is {round(size * 256 / _SIZE)}, of any longer side: crops of {size} "
            "are drawn from them"
        )
    if deeper:
        yield (
            "the paper starts this one from four convolutions and the last three layers of a trained vgg-a: "
            "`caffecompat convert vgg-a/deploy.prototxt --weights vgg-a.caffemodel --recipe vgg_start -o "
            "vgg-a-start.caffemodel`"
        )


def _solver(asked: Asked) -> caffe_pb2.SolverParameter:
    """The paper's batch of 256; its rate falls three times, whenever the accuracy stops to rise."""
    tested = asked.data is None or asked.test_data is not None
    if asked.variant == "caffe" or not tested:
        falls: Params = {"lr_policy": "step", "stepsize": 100_000}
    else:
        falls = {
            "lr_policy": "plateau_accuracy",
            "plateau_winsize": [25_000] * 3,
            "plateau_output": "accuracy_at_1",
        }
    return caffe_pb2.SolverParameter(
        test_iter=[1000],
        test_interval=2500,
        base_lr=0.01,
        gamma=0.1,
        **falls,
        display=20,
        max_iter=370_000,
        iter_size=4,
        momentum=0.9,
        weight_decay=0.0005,
        snapshot=10_000,
        solver_mode=caffe_pb2.SolverParameter.GPU,
    )


MODELS = tuple(
    Model(
        f"vgg-{configuration}",
        f"VGG, configuration {configuration.upper()}: {sum(counts) + 3} layers of weights",
        "Simonyan and Zisserman 2014",
        partial(_build, configuration),
        {"imagenet": 1000},
        variants=tuple(_SCALES),
        scales=("width", "size"),
    )
    for configuration, (counts, _) in _CONFIGURATIONS.items()
)
