"""AlexNet, as Caffe's model zoo has it: bvlc_alexnet.

Source: Krizhevsky et al.: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.
"""

from __future__ import annotations

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import ILSVRC, Images, accuracy_and_loss, bare, deploy, train_val
from caffecompat.zoo.model import Asked, Model, Nets


def _filled(std: float, bias: float) -> Params:
    return {
        "param": rates((1, 1), (2, 0)),
        "weight_filler": {"type": "gaussian", "std": std},
        "bias_filler": constant(bias),
    }


# Channels, window, and the bias in the beginning; then LRN and pooling.
_CONVOLUTIONS: tuple[tuple[int, Params, float, bool, bool], ...] = (
    (96, {"kernel_size": 11, "stride": 4}, 0, True, True),
    (256, {"pad": 2, "kernel_size": 5, "group": 2}, 0.1, True, True),
    (384, {"pad": 1, "kernel_size": 3}, 0, False, False),
    (384, {"pad": 1, "kernel_size": 3, "group": 2}, 0.1, False, False),
    (256, {"pad": 1, "kernel_size": 3, "group": 2}, 0.1, False, True),
)


def _body(net: NetSpec, classes: int) -> str:
    last = "data"
    for index, (channels, window, bias, normalized, pooled) in enumerate(_CONVOLUTIONS, start=1):
        conv = f"conv{index}"
        net[conv] = L.Convolution(net[last], num_output=channels, **window, **_filled(0.01, bias))
        net[f"relu{index}"] = L.ReLU(net[conv], in_place=True)
        last = conv
        if normalized:
            net[f"norm{index}"] = L.LRN(net[last], local_size=5, alpha=0.0001, beta=0.75)
            last = f"norm{index}"
        if pooled:
            net[f"pool{index}"] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=3, stride=2)
            last = f"pool{index}"
    for index in (6, 7):
        fc = f"fc{index}"
        net[fc] = L.InnerProduct(net[last], num_output=4096, **_filled(0.005, 0.1))
        net[f"relu{index}"] = L.ReLU(net[fc], in_place=True)
        net[f"drop{index}"] = L.Dropout(net[fc], dropout_ratio=0.5, in_place=True)
        last = fc
    net.fc8 = L.InnerProduct(net[last], num_output=classes, **_filled(0.01, 0))
    return "fc8"


def _build(asked: Asked) -> Nets:
    name = "AlexNet"
    images = Images(ILSVRC, (256, 50), {"crop_size": 227, "mean_file": "data/ilsvrc12/imagenet_mean.binaryproto"})
    return Nets(
        {
            "train_val": train_val(name, asked, images, accuracy_and_loss(_body, asked.classes)),
            "deploy": bare(deploy(name, (10, 3, 227, 227), _body, asked.classes), rates=True),
        },
        caffe_pb2.SolverParameter(
            test_iter=[1000],
            test_interval=1000,
            base_lr=0.01,
            lr_policy="step",
            gamma=0.1,
            stepsize=100_000,
            display=20,
            max_iter=450_000,
            momentum=0.9,
            weight_decay=0.0005,
            snapshot=10_000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "caffe_alexnet_train",
    )


MODELS = (
    Model(
        "alexnet",
        "AlexNet, for crops of 227x227",
        "Krizhevsky et al. 2012",
        _build,
        {"imagenet": 1000},
        files=("mean",),
    ),
)
