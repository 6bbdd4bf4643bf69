"""The nets of train.py: prototxts, and the same nets in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SOLVER = """
net: "{net}"
base_lr: 0.001
lr_policy: "fixed"
momentum: 0.9
weight_decay: 0.0005
max_iter: 1000
solver_mode: CPU
"""
VGG = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]


@dataclass(frozen=True)
class Case:
    """A net: its layers after the data, what feeds it, its peer, and the most that a step may take of the peer's.

    Attributes:
        repeats: so many steps are timed for each pair asked for; a short step needs more.
    """

    name: str
    batch: int
    shape: tuple[int, int, int]
    classes: int
    layers: str
    peer: Callable[[], nn.Module]
    bar: float
    repeats: int = 1
    reads: str = ""

    @property
    def fed(self) -> str:
        sizes = " ".join(f"dim: {size}" for size in (self.batch, *self.shape))
        shapes = f"shape {{ {sizes} }} shape {{ dim: {self.batch} }}"
        return f'layer {{ name: "in" type: "Input" top: "data" top: "label" input_param {{ {shapes} }} }}\n'


def _layer(name: str, kind: str, bottom: str, top: str, rest: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {rest} }}\n'


def _learned(name: str, kind: str, bottom: str, param: str) -> str:
    rates = "param { lr_mult: 1 } param { lr_mult: 2 }"
    return _layer(name, kind, bottom, name, f"{rates} {param}")


def _convolution(name: str, bottom: str, outputs: int, window: str) -> str:
    param = f'convolution_param {{ num_output: {outputs} {window} weight_filler {{ type: "msra" }} }}'
    return _learned(name, "Convolution", bottom, param)


def _inner_product(name: str, bottom: str, outputs: int) -> str:
    param = f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    return _learned(name, "InnerProduct", bottom, param)


def _pool(name: str, bottom: str) -> str:
    return _layer(name, "Pooling", bottom, name, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")


def _loss(bottom: str) -> str:
    return f'layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "label" top: "loss" }}\n'


def vgg_layers() -> str:
    """VGG-16's layers, as its train_val prototxt has them."""
    text, bottom, block, place = "", "data", 1, 1
    for width in VGG:
        if width:
            name = f"conv{block}_{place}"
            text += _convolution(name, bottom, width, "kernel_size: 3 pad: 1")
            text += _layer(f"relu{block}_{place}", "ReLU", name, name)
            bottom, place = name, place + 1
        else:
            text += _pool(f"pool{block}", bottom)
            bottom, block, place = f"pool{block}", block + 1, 1
    for number, width in ((6, 4096), (7, 4096)):
        name = f"fc{number}"
        text += _inner_product(name, bottom, width) + _layer(f"relu{number}", "ReLU", name, name)
        text += _layer(f"drop{number}", "Dropout", name, name, "dropout_param { dropout_ratio: 0.5 }")
        bottom = name
    return text + _inner_product("fc8", bottom, 1000) + _loss("fc8")


def lenet_layers() -> str:
    """LeNet's layers, as its train_test prototxt has them."""
    text = _convolution("conv1", "data", 20, "kernel_size: 5") + _pool("pool1", "conv1")
    text += _convolution("conv2", "pool1", 50, "kernel_size: 5") + _pool("pool2", "conv2")
    text += _inner_product("ip1", "pool2", 500) + _layer("relu1", "ReLU", "ip1", "ip1")
    return text + _inner_product("ip2", "ip1", 10) + _loss("ip2")


def vgg_peer() -> nn.Module:
    """VGG-16 in PyTorch, its ReLUs in place."""
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    layers.append(nn.Flatten())
    for inputs in (25088, 4096):
        layers += [nn.Linear(inputs, 4096), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


class LeNet(nn.Module):
    """LeNet in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.ip1, self.ip2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv1(x), 2)
        x = functional.max_pool2d(self.conv2(x), 2)
        return self.ip2(functional.relu_(self.ip1(torch.flatten(x, 1))))


LMDB = """
layer {{
  name: "mnist" type: "Data" top: "data" top: "label"
  transform_param {{ scale: 0.00390625 }}
  data_param {{ source: "{source}" batch_size: 64 backend: LMDB }}
}}
"""
NETS = {
    "LeNet": Case("LeNet", 64, (1, 28, 28), 10, lenet_layers(), LeNet, 1.15, repeats=20, reads=LMDB),
    "VGG-16": Case("VGG-16", 8, (3, 224, 224), 1000, vgg_layers(), vgg_peer, 1.05),
}
