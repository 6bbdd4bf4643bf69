"""The peers of load.py in plain PyTorch: the parameters of VGG-16 and SSD300, in the order of their prototxts."""

from __future__ import annotations

import torch
from torch import nn

VGG = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512]


def _trunk() -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, int(width), 3, padding=1), nn.ReLU(inplace=True)]
            channels = int(width)
    return layers


class VGG16(nn.Module):
    """VGG-16, the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_trunk(), nn.MaxPool2d(2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(25088, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )


class L2Norm(nn.Module):
    """The learnt scale of SSD's Normalize layer."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(512))


class SSD300(nn.Module):
    """SSD300 of VOC: trunk, extra layers, and for each of six sources the scale, locations and confidences."""

    def __init__(self) -> None:
        super().__init__()
        extras = [
            (512, 1024, 3, 1, 6, 6),
            (1024, 1024, 1, 1, 0, 1),
            (1024, 256, 1, 1, 0, 1),
            (256, 512, 3, 2, 1, 1),
            (512, 128, 1, 1, 0, 1),
            (128, 256, 3, 2, 1, 1),
            (256, 128, 1, 1, 0, 1),
            (128, 256, 3, 1, 0, 1),
            (256, 128, 1, 1, 0, 1),
            (128, 256, 3, 1, 0, 1),
        ]
        self.trunk = nn.Sequential(*_trunk())
        self.extras = nn.ModuleList(nn.Conv2d(a, b, k, stride=s, padding=p, dilation=d) for a, b, k, s, p, d in extras)
        self.norm = L2Norm()
        heads: list[nn.Module] = []
        for width, boxes in zip([512, 1024, 512, 256, 256, 256], [4, 6, 6, 6, 4, 4], strict=True):
            heads += [nn.Conv2d(width, boxes * 4, 3, padding=1), nn.Conv2d(width, boxes * 21, 3, padding=1)]
        self.heads = nn.ModuleList(heads)


MODELS = {"VGG-16": VGG16, "SSD300": SSD300}
