"""The nets of inference.py in plain PyTorch, written by hand as one would to export them.

Their parameters stand in the order in which the prototxts have them. Each gives its outputs in Caffe's order. What a
person who exports to ONNX would do is done: dropout is left out, prior boxes are constants, boxes are decoded in the
graph; suppression, which ONNX says slowly, is left to `detections` behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from multibox import CLASSES, priors
from ssd_net import HEADS, NORM_EPS, TRUNK, boxes_of
from torch import Tensor, nn
from torch.nn import functional

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
# Of each inception: 1x1, 3x3 reduced and itself, 5x5 reduced and itself, what is pooled; and what it reads.
INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


def relu(*layers: nn.Module) -> list[nn.Module]:
    """Each layer with a ReLU behind it."""
    return [module for layer in layers for module in (layer, nn.ReLU(inplace=True))]


def vgg16() -> nn.Module:
    """VGG-16, the classifier."""
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG:
        if width:
            layers += relu(nn.Conv2d(channels, width, 3, padding=1))
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.Flatten(), *relu(nn.Linear(25088, 4096), nn.Linear(4096, 4096))]
    return nn.Sequential(*layers, nn.Linear(4096, 1000), nn.Softmax(1))


def front_end() -> nn.Module:
    """dilation8's front end: VGG-16 without padding and without the last two poolings, dilated instead."""
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG[:13]:
        if width:
            layers += relu(nn.Conv2d(channels, width, 3))
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    layers += relu(*(nn.Conv2d(512, 512, 3, dilation=2) for _ in range(3)))
    layers += relu(nn.Conv2d(512, 4096, 7, dilation=4), nn.Conv2d(4096, 4096, 1))
    return nn.Sequential(*layers, nn.Conv2d(4096, 21, 1))


class _AcrossChannels(torch.autograd.Function):
    """The LRN of AlexNet and GoogLeNet; ONNX has it as one operator, which PyTorch's exporter does not write."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return functional.local_response_norm(x, 5, 1e-4, 0.75)

    @staticmethod
    def symbolic(graph: Any, x: Any) -> Any:
        return graph.op("LRN", x, size_i=5, alpha_f=1e-4, beta_f=0.75, bias_f=1.0).setType(x.type())


class Norm(nn.Module):
    """A module of the above."""

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = _AcrossChannels.apply(x)
        return normalized


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, one: int, before3: int, three: int, before5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one = nn.Sequential(*relu(nn.Conv2d(inputs, one, 1)))
        self.three = nn.Sequential(*relu(nn.Conv2d(inputs, before3, 1), nn.Conv2d(before3, three, 3, padding=1)))
        self.five = nn.Sequential(*relu(nn.Conv2d(inputs, before5, 1), nn.Conv2d(before5, five, 5, padding=2)))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), *relu(nn.Conv2d(inputs, pooled, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


def googlenet() -> nn.Module:
    """GoogLeNet as it is deployed."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    blocks = {name: Inception(*sizes) for name, sizes in INCEPTIONS.items()}
    return nn.Sequential(
        *relu(nn.Conv2d(3, 64, 7, 2, 3)),
        pool(),
        Norm(),
        *relu(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 192, 3, padding=1)),
        Norm(),
        pool(),
        *(blocks[name] for name in ("3a", "3b")),
        pool(),
        *(blocks[name] for name in ("4a", "4b", "4c", "4d", "4e")),
        pool(),
        *(blocks[name] for name in ("5a", "5b")),
        nn.AvgPool2d(7),
        nn.Flatten(),
        nn.Linear(1024, 1000),
        nn.Softmax(1),
    )


class RNet(nn.Module):
    """MTCNN's second net."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 28, 3),
            nn.PReLU(28),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(28, 48, 3),
            nn.PReLU(48),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(48, 64, 2),
            nn.PReLU(64),
            nn.Flatten(),
            nn.Linear(576, 128),
            nn.PReLU(128),
        )
        self.score = nn.Linear(128, 2)
        self.box = nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return self.box(x), self.score(x).softmax(1)


class Normalize(nn.Module):
    """The places' values brought to a length of 1, and a learnt scale of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        norm = (x.square().sum(1, keepdim=True) + NORM_EPS).sqrt()
        return x / norm * self.scale[:, None, None]


class SSD300(nn.Module):
    """SSD300 to the point where suppression begins: boxes (N, 8732, 4) and scores (N, 8732, 21)."""

    centre: Tensor
    size: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict()
        channels = 3
        for name, sizes in TRUNK:
            if name.startswith("pool"):
                kernel, stride, pad = sizes
                self.trunk[name] = nn.MaxPool2d(kernel, stride, pad, ceil_mode=True)
            else:
                outputs, kernel, pad, stride, dilation = sizes
                self.trunk[name] = nn.Sequential(*relu(nn.Conv2d(channels, outputs, kernel, stride, pad, dilation)))
                channels = outputs
        self.norm = Normalize(512)
        self.heads = nn.ModuleList(
            nn.Conv2d(inputs, boxes_of(source) * values, 3, padding=1)
            for source, (_, inputs, _) in enumerate(HEADS)
            for values in (4, CLASSES)
        )
        corners = priors()[0, 0].reshape(-1, 4)
        size = corners[:, 2:] - corners[:, :2]
        self.register_buffer("centre", (corners[:, :2] + corners[:, 2:]) / 2, persistent=False)
        self.register_buffer("size", size, persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept = {}
        for name, module in self.trunk.items():
            kept[name] = x = module(x)
        kept["conv4_3"] = self.norm(kept["conv4_3"])
        rows = [head(kept[HEADS[n // 2][0]]).permute(0, 2, 3, 1).flatten(1) for n, head in enumerate(self.heads)]
        loc = torch.cat(rows[0::2], 1).reshape(len(x), -1, 4)
        scores = torch.cat(rows[1::2], 1).reshape(len(x), -1, CLASSES).softmax(2)
        centre = self.centre + loc[..., :2] * 0.1 * self.size
        half = (loc[..., 2:] * 0.2).exp() * self.size / 2
        return torch.cat([centre - half, centre + half], 2), scores


@dataclass(frozen=True)
class Case:
    """A net to measure.

    Attributes:
        prototxt: its file beside the checkout, in shared/.
        outputs: the blobs that come out of it, in the order of its peer's outputs.
        model: its peer.
        shape: of one picture.
        batch: so many pictures in a pass.
        weights: its caffemodel, in shared/; "" draws one.
        last: the layer that it ends with; "" takes all.
        detects: the peer's outputs become rows of detection_out by `detections`.
    """

    prototxt: str
    outputs: tuple[str, ...]
    model: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    batch: int = 1
    weights: str = ""
    last: str = ""
    detects: bool = False


CASES = {
    "SSD300": Case(
        "prototxt/ssd/SSD300_VOC0712/deploy.prototxt", ("detection_out",), SSD300, (3, 300, 300), detects=True
    ),
    "VGG-16": Case("prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt", ("prob",), vgg16, (3, 224, 224)),
    "GoogLeNet": Case("prototxt/bvlc/bvlc_googlenet__deploy.prototxt", ("prob",), googlenet, (3, 224, 224)),
    "dilation8": Case(
        "prototxt/dilation/dilation8_pascal_voc_deploy.prototxt",
        ("fc-final",),
        front_end,
        (3, 500, 500),
        last="fc-final",
    ),
    "R-Net": Case(
        "models/mtcnn/det2.prototxt",
        ("conv5-2", "prob1"),
        RNet,
        (3, 24, 24),
        batch=64,
        weights="models/mtcnn/det2.caffemodel",
    ),
}
