"""VGG: configurations A, A-LRN, B, C, D (VGG-16) and E (VGG-19).

Source: Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, table 1
and section 3.1; names and, for D, the fillers are those of the published VGG_ILSVRC_16_layers.
"""

from __future__ import annotations

from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import ILSVRC, Images, bare, deploy, top_1_and_5, train_val
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


def _body(configuration: str, net: NetSpec, classes: int) -> str:
    # Glorot's initialisation starts A from scratch (the paper's footnote); what is deeper starts from A.
    scratch = configuration.startswith("a")
    last = "data"
    for block, (count, channels) in enumerate(zip(_CONFIGURATIONS[configuration][0], _CHANNELS, strict=True), start=1):
        for index in range(1, count + 1):
            conv, relu = f"conv{block}_{index}", f"relu{block}_{index}"
            single = configuration == "c" and index == 3
            window = {"kernel_size": 1} if single else {"kernel_size": 3, "pad": 1}
            filling = _filled(0 if scratch else 0.01, 0)
            net[conv] = L.Convolution(net[last], num_output=channels, **window, **filling)
            net[relu] = L.ReLU(net[conv], in_place=True)
            last = conv
        if configuration == "a-lrn" and block == 1:
            net.norm1 = L.LRN(net[last], local_size=5, alpha=0.0001, beta=0.75, k=2)
            last = "norm1"
        net[f"pool{block}"] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        last = f"pool{block}"
    filling = _filled(0 if scratch else 0.005, 0.1)
    for fc in (6, 7):
        net[f"fc{fc}"] = L.InnerProduct(net[last], num_output=4096, **filling)
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
    body = partial(_body, configuration)
    images = Images(ILSVRC, (64, 50), {"crop_size": 224, "mean_value": _MEAN})
    deeper = not configuration.startswith("a")
    notes = ["train on images whose shorter side is 256, of any longer side: crops of 224 are drawn from them"]
    if deeper:
        notes.append("vgg-a.caffemodel stands for the weights of a trained vgg-a, from which the paper starts this one")
    return Nets(
        {
            "train_val": train_val(name, asked, images, top_1_and_5(body, asked.classes)),
            "deploy": bare(deploy(name, (10, 3, 224, 224), body, asked.classes, layer="input")),
        },
        # The paper's batch of 256; its rate falls three times, whenever the accuracy stops to rise.
        caffe_pb2.SolverParameter(
            test_iter=[1000],
            test_interval=2500,
            base_lr=0.01,
            lr_policy="step",
            gamma=0.1,
            stepsize=100_000,
            display=20,
            max_iter=370_000,
            iter_size=4,
            momentum=0.9,
            weight_decay=0.0005,
            snapshot=10_000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        name,
        "vgg-a.caffemodel" if deeper else None,
        tuple(notes),
    )


MODELS = tuple(
    Model(
        f"vgg-{configuration}",
        f"VGG, configuration {configuration.upper()}: {sum(counts) + 3} layers of weights",
        "Simonyan and Zisserman 2014",
        partial(_build, configuration),
        {"imagenet": 1000},
    )
    for configuration, (counts, _) in _CONFIGURATIONS.items()
)
