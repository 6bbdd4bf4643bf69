"""Modules of plain PyTorch as their users write them: small nets of the published families."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in evaluation, with weights and statistics that look trained."""
    random = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=random) * 0.3)
            part.running_var.copy_(torch.rand(part.num_features, generator=random) + 0.5)
            if part.affine:
                part.weight.data.copy_(torch.rand(part.num_features, generator=random) + 0.5)
                part.bias.data.copy_(torch.randn(part.num_features, generator=random) * 0.2)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            fan = part.weight[0].numel()
            part.weight.data.copy_(torch.randn(part.weight.shape, generator=random) * (1.5 / fan) ** 0.5)
            if part.bias is not None:
                part.bias.data.copy_(torch.randn(part.bias.shape, generator=random) * 0.1)
    return module.eval()


class Vgg(nn.Module):
    """VGG: plain chains, an adaptive pooling that does nothing, a classifier with Dropout."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in (8, 8, 0, 16, 16, 0):
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(nn.Linear(16 * 49, 32), nn.ReLU(True), nn.Dropout(0.4), nn.Linear(32, 10))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Basic(nn.Module):
    """ResNet's block of two convolutions, or with a bottleneck of three."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        self.bottleneck = bottleneck
        self.conv1 = nn.Conv2d(inputs, width, 1 if bottleneck else 3, 1 if bottleneck else stride,
                               0 if bottleneck else 1, bias=False)  # fmt: skip
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride if bottleneck else 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if bottleneck:
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """ResNet-18 or, with bottlenecks, ResNet-50, with fewer channels and blocks."""

    def __init__(self, bottleneck: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        more = 4 if bottleneck else 1
        self.layer1 = nn.Sequential(Basic(8, 8, 1, bottleneck), Basic(8 * more, 8, 1, bottleneck))
        self.layer2 = nn.Sequential(Basic(8 * more, 16, 2, bottleneck))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16 * more, 10)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


def mobile_v1() -> nn.Module:
    """MobileNet: depthwise and pointwise convolutions."""

    def pair(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False), nn.BatchNorm2d(inputs), nn.ReLU(True),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True), pair(8, 16, 1), pair(16, 32, 2),
        nn.AvgPool2d(8), nn.Flatten(), nn.Linear(32, 10), nn.Softmax(1),
    )  # fmt: skip


class Inverted(nn.Module):
    """MobileNet v2's block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * 3
        self.use_res_connect = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(True),
            nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileV2(nn.Module):
    """MobileNet v2: inverted residuals, the mean over the last axes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Inverted(8, 8, 1), Inverted(8, 12, 2))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 10))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class Inception(nn.Module):
    """GoogLeNet's block: four branches joined."""

    def __init__(self, inputs: int, a: int, b: int, c: int, d: int) -> None:
        super().__init__()
        self.branch1 = nn.Conv2d(inputs, a, 1)
        self.branch2 = nn.Sequential(nn.Conv2d(inputs, b // 2, 1), nn.ReLU(), nn.Conv2d(b // 2, b, 3, padding=1))
        self.branch3 = nn.Sequential(nn.Conv2d(inputs, c // 2, 1), nn.ReLU(), nn.Conv2d(c // 2, c, 5, padding=2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), nn.Conv2d(inputs, d, 1))

    def forward(self, x):
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return torch.cat([functional.relu(branch) for branch in branches], 1)


class GoogLeNet(nn.Module):
    """GoogLeNet: local response normalization, Inception blocks, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = nn.LocalResponseNorm(5, alpha=0.1)
        self.inception_3a = Inception(8, 4, 8, 6, 5)
        self.inception_3b = Inception(23, 4, 6, 4, 4)
        self.aux = nn.Linear(23 * 16, 7)
        self.fc = nn.Linear(18, 10)

    def forward(self, x):
        x = self.norm1(self.pool1(torch.relu(self.conv1(x))))
        x = self.inception_3a(x)
        aux = self.aux(functional.adaptive_avg_pool2d(x, 4).flatten(1))
        x = functional.avg_pool2d(self.inception_3b(x), 3, 1, 1, count_include_pad=False)
        return {"prob": functional.softmax(self.fc(x.mean((-2, -1))), dim=-1), "aux": aux}


class Fire(nn.Module):
    """SqueezeNet's block."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet: a classifier that is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 8), Fire(16, 4, 8)
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(16, 10, 1), nn.ReLU(True), nn.AdaptiveAvgPool2d(1))

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class Dense(nn.Module):
    """DenseNet's layer: BatchNorm and ReLU before the convolutions."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, features):
        return self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))


class DenseNet(nn.Module):
    """DenseNet: every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.block = nn.ModuleList([Dense(8 + 4 * index, 4) for index in range(3)])
        self.transition = nn.Sequential(nn.BatchNorm2d(20), nn.ReLU(True), nn.Conv2d(20, 10, 1), nn.AvgPool2d(2, 2))
        self.classifier = nn.Linear(10, 6)

    def forward(self, x):
        features = [self.conv0(x)]
        for layer in self.block:
            features.append(layer(features))
        x = functional.relu(self.transition(torch.cat(features, 1)), inplace=True)
        return self.classifier(functional.adaptive_avg_pool2d(x, (1, 1)).view(x.size(0), -1))


class Fcn(nn.Module):
    """FCN: scores of two strides, made larger by transposed convolutions, cut, added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(True))
        self.conv2 = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 2, dilation=2), nn.ReLU(True))
        self.score1 = nn.Conv2d(8, 5, 1)
        self.score2 = nn.Conv2d(16, 5, 1)
        self.up2 = nn.ConvTranspose2d(5, 5, 4, 2, 1, bias=False)
        self.up1 = nn.ConvTranspose2d(5, 5, 3, 2, 1, output_padding=1, groups=5)

    def forward(self, x):
        fine = self.conv1(x)
        up = self.up2(self.score2(self.conv2(fine)))
        score = self.up1(self.score1(fine) + up[:, :, : fine.shape[2], : fine.shape[3]])
        return functional.interpolate(score, scale_factor=2, mode="bilinear", align_corners=False)
