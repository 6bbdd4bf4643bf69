"""LeNet for handwritten digits, cifar10_quick and cifar10_full, the first nets of Caffe's tutorials.

Source: LeCun et al.: Gradient-Based Learning Applied to Document Recognition, 1998, in Caffe's form; Krizhevsky:
cuda-convnet's layers-18pct, in Caffe's form.
"""

from __future__ import annotations

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, rates
from caffecompat.zoo.classifying import Body, Images, accuracy_and_loss, bare, deploy, train_val
from caffecompat.zoo.model import Asked, Model, Nets

_TWICE: list[Params] = [{"lr_mult": 1}, {"lr_mult": 2}]
_ZERO: Params = {"type": "constant"}


def _lenet(net: NetSpec, classes: int) -> str:
    filled: Params = {"param": _TWICE, "weight_filler": {"type": "xavier"}, "bias_filler": _ZERO}
    last = "data"
    for index, channels in ((1, 20), (2, 50)):
        conv, pool = f"conv{index}", f"pool{index}"
        net[conv] = L.Convolution(net[last], num_output=channels, kernel_size=5, stride=1, **filled)
        net[pool] = L.Pooling(net[conv], pool=P.Pooling.MAX, kernel_size=2, stride=2)
        last = pool
    net.ip1 = L.InnerProduct(net[last], num_output=500, **filled)
    net.relu1 = L.ReLU(net.ip1, in_place=True)
    net.ip2 = L.InnerProduct(net.ip1, num_output=classes, **filled)
    return "ip2"


def _build_lenet(asked: Asked) -> Nets:
    images = Images(
        ("examples/mnist/mnist_train_lmdb", "examples/mnist/mnist_test_lmdb"),
        (64, 100),
        {"scale": 1 / 256},
        mirror=None,
        layer="mnist",
    )
    return Nets(
        {
            "train_val": train_val("LeNet", asked, images, accuracy_and_loss(_lenet, asked.classes)),
            "deploy": deploy("LeNet", (64, 1, 28, 28), _lenet, asked.classes),
        },
        caffe_pb2.SolverParameter(
            test_iter=[100],
            test_interval=500,
            base_lr=0.01,
            momentum=0.9,
            weight_decay=0.0005,
            lr_policy="inv",
            gamma=0.0001,
            power=0.75,
            display=100,
            max_iter=10_000,
            snapshot=5000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "lenet",
    )


def _cifar10_full(net: NetSpec, classes: int) -> str:
    def conv(name: str, bottom: str, channels: int, std: float, **rate: list[Params]) -> None:
        filled: Params = {"weight_filler": {"type": "gaussian", "std": std}, "bias_filler": _ZERO, **rate}
        net[name] = L.Convolution(net[bottom], num_output=channels, pad=2, kernel_size=5, stride=1, **filled)

    def norm(name: str, bottom: str) -> None:
        region = P.LRN.WITHIN_CHANNEL
        net[name] = L.LRN(net[bottom], local_size=3, alpha=0.00005, beta=0.75, norm_region=region)

    conv("conv1", "data", 32, 0.0001, param=_TWICE)
    net.pool1 = L.Pooling(net.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    net.relu1 = L.ReLU(net.pool1, in_place=True)
    norm("norm1", "pool1")
    conv("conv2", "norm1", 32, 0.01, param=_TWICE)
    net.relu2 = L.ReLU(net.conv2, in_place=True)
    net.pool2 = L.Pooling(net.conv2, pool=P.Pooling.AVE, kernel_size=3, stride=2)
    norm("norm2", "pool2")
    conv("conv3", "norm2", 64, 0.01)
    net.relu3 = L.ReLU(net.conv3, in_place=True)
    net.pool3 = L.Pooling(net.conv3, pool=P.Pooling.AVE, kernel_size=3, stride=2)
    net.ip1 = L.InnerProduct(
        net.pool3,
        num_output=classes,
        param=rates((1, 250), (2, 0)),
        weight_filler={"type": "gaussian", "std": 0.01},
        bias_filler=_ZERO,
    )
    return "ip1"


def _cifar10_quick(net: NetSpec, classes: int) -> str:
    def filled(std: float) -> Params:
        return {"param": _TWICE, "weight_filler": {"type": "gaussian", "std": std}, "bias_filler": _ZERO}

    last = "data"
    for index, (channels, std) in enumerate(((32, 0.0001), (32, 0.01), (64, 0.01)), start=1):
        conv, pool, relu = f"conv{index}", f"pool{index}", f"relu{index}"
        net[conv] = L.Convolution(net[last], num_output=channels, pad=2, kernel_size=5, stride=1, **filled(std))
        if index == 1:
            net[pool] = L.Pooling(net[conv], pool=P.Pooling.MAX, kernel_size=3, stride=2)
            net[relu] = L.ReLU(net[pool], in_place=True)
        else:
            net[relu] = L.ReLU(net[conv], in_place=True)
            net[pool] = L.Pooling(net[conv], pool=P.Pooling.AVE, kernel_size=3, stride=2)
        last = pool
    net.ip1 = L.InnerProduct(net[last], num_output=64, **filled(0.1))
    net.ip2 = L.InnerProduct(net.ip1, num_output=classes, **filled(0.1))
    return "ip2"


def _cifar10_nets(name: str, body: Body, asked: Asked) -> dict[str, caffe_pb2.NetParameter]:
    images = Images(
        ("examples/cifar10/cifar10_train_lmdb", "examples/cifar10/cifar10_test_lmdb"),
        (100, 100),
        {"mean_file": "examples/cifar10/mean.binaryproto"},
        mirror=None,
        layer="cifar",
    )
    return {
        "train_val": train_val(name, asked, images, accuracy_and_loss(body, asked.classes)),
        "deploy": bare(deploy(f"{name}_deploy", (1, 3, 32, 32), body, asked.classes), rates=True),
    }


def _build_cifar10_quick(asked: Asked) -> Nets:
    nets = _cifar10_nets("CIFAR10_quick", _cifar10_quick, asked)
    # As the original is named.
    nets["deploy"].name = "CIFAR10_quick_test"
    return Nets(
        nets,
        caffe_pb2.SolverParameter(
            test_iter=[100],
            test_interval=500,
            base_lr=0.001,
            momentum=0.9,
            weight_decay=0.004,
            lr_policy="fixed",
            display=100,
            max_iter=4000,
            snapshot=4000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "cifar10_quick",
        None,
        ("after 4,000 iterations the original goes on with a tenth of the rate for 1,000 more",),
    )


def _build_cifar10_full(asked: Asked) -> Nets:
    return Nets(
        _cifar10_nets("CIFAR10_full", _cifar10_full, asked),
        caffe_pb2.SolverParameter(
            test_iter=[100],
            test_interval=1000,
            base_lr=0.001,
            momentum=0.9,
            weight_decay=0.004,
            lr_policy="fixed",
            display=200,
            max_iter=60_000,
            snapshot=10_000,
            snapshot_format=caffe_pb2.SolverParameter.HDF5,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "cifar10_full",
    )


MODELS = (
    Model("lenet", "LeNet, for digits of 28x28", "LeCun et al. 1998", _build_lenet, {"mnist": 10}),
    Model(
        "cifar10-quick",
        "cifar10_quick, for images of 32x32",
        "Krizhevsky 2012",
        _build_cifar10_quick,
        {"cifar10": 10},
        files=("mean",),
    ),
    Model(
        "cifar10-full",
        "cifar10_full, for images of 32x32",
        "Krizhevsky 2012",
        _build_cifar10_full,
        {"cifar10": 10},
        files=("mean",),
    ),
)
