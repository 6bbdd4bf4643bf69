"""SSD300 for training: the prototxt of its layers, and the same net and loss written by hand in plain PyTorch."""

from __future__ import annotations

import torch
from multibox import CLASSES, LOSS_PARAM, SOURCES, VARIANCES, priors
from torch import Tensor, nn
from torch.nn import functional

# Of a convolution: outputs, kernel, pad, stride and dilation; of a pooling: kernel, stride and pad.
TRUNK: tuple[tuple[str, tuple[int, ...]], ...] = (
    *((f"conv1_{n}", (64, 3, 1, 1, 1)) for n in (1, 2)),
    ("pool1", (2, 2, 0)),
    *((f"conv2_{n}", (128, 3, 1, 1, 1)) for n in (1, 2)),
    ("pool2", (2, 2, 0)),
    *((f"conv3_{n}", (256, 3, 1, 1, 1)) for n in (1, 2, 3)),
    ("pool3", (2, 2, 0)),
    *((f"conv4_{n}", (512, 3, 1, 1, 1)) for n in (1, 2, 3)),
    ("pool4", (2, 2, 0)),
    *((f"conv5_{n}", (512, 3, 1, 1, 1)) for n in (1, 2, 3)),
    ("pool5", (3, 1, 1)),
    ("fc6", (1024, 3, 6, 1, 6)),
    ("fc7", (1024, 1, 0, 1, 1)),
    ("conv6_1", (256, 1, 0, 1, 1)),
    ("conv6_2", (512, 3, 1, 2, 1)),
    ("conv7_1", (128, 1, 0, 1, 1)),
    ("conv7_2", (256, 3, 1, 2, 1)),
    ("conv8_1", (128, 1, 0, 1, 1)),
    ("conv8_2", (256, 3, 0, 1, 1)),
    ("conv9_1", (128, 1, 0, 1, 1)),
    ("conv9_2", (256, 3, 0, 1, 1)),
)
# What is predicted from: the layer, its channels, and the blob that the heads see.
HEADS = (
    ("conv4_3", 512, "conv4_3_norm"),
    ("fc7", 1024, "fc7"),
    ("conv6_2", 512, "conv6_2"),
    ("conv7_2", 256, "conv7_2"),
    ("conv8_2", 256, "conv8_2"),
    ("conv9_2", 256, "conv9_2"),
)
RATE, MOMENTUM, DECAY, SCALE = 1e-3, 0.9, 5e-4, 20.0
NORM_EPS = 1e-10

CONVOLUTION = """layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
  param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {pad} stride: {stride} dilation: {dilation}
    weight_filler {{ type: "xavier" }} }} }}
"""
RELU = """layer {{ name: "{name}_relu" type: "ReLU" bottom: "{name}" top: "{name}" }}
"""
POOLING = """layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
  pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} pad: {pad} }} }}
"""
NORM = """layer {{ name: "conv4_3_norm" type: "Normalize" bottom: "conv4_3" top: "conv4_3_norm"
  norm_param {{ across_spatial: false channel_shared: false scale_filler {{ type: "constant" value: {scale} }} }} }}
"""
FLATTEN = """layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat" flatten_param {{ axis: 1 }} }}
"""
PRIORS = """layer {{ name: "{name}_mbox_priorbox" type: "PriorBox" bottom: "{name}" bottom: "data"
  top: "{name}_mbox_priorbox" prior_box_param {{ min_size: {least} max_size: {greatest} {ratios} flip: true
    variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: {step} offset: 0.5 }} }}
"""
CONCAT = """layer {{ name: "mbox_{name}" type: "Concat" {bottoms} top: "mbox_{name}" concat_param {{ axis: {axis} }} }}
"""
LOSS = """layer {{ name: "mbox_loss" type: "MultiBoxLoss" bottom: "mbox_loc" bottom: "mbox_conf"
  bottom: "mbox_priorbox" bottom: "label" top: "mbox_loss" loss_param {{ normalization: VALID }}
  propagate_down: true propagate_down: true propagate_down: false propagate_down: false
  multibox_loss_param {{ {param} }} }}
"""
_SIZES = ("outputs", "kernel", "pad", "stride", "dilation")


def boxes_of(source: int) -> int:
    """How many prior boxes the source has at each place."""
    return 2 + 2 * len(SOURCES[source][4])


def net_text(data: str) -> str:
    """The train net's prototxt, its data layer given."""
    text, bottom = f'name: "SSD300" {data}', "data"
    for name, sizes in TRUNK:
        if name.startswith("pool"):
            kernel, stride, pad = sizes
            text += POOLING.format(name=name, bottom=bottom, kernel=kernel, stride=stride, pad=pad)
        else:
            text += CONVOLUTION.format(name=name, bottom=bottom, **dict(zip(_SIZES, sizes, strict=True)))
            text += RELU.format(name=name)
        bottom = name
    text += NORM.format(scale=SCALE)
    for source, (_, _, blob) in enumerate(HEADS):
        for kind, values in (("loc", 4), ("conf", CLASSES)):
            name = f"{blob}_mbox_{kind}"
            sizes = (boxes_of(source) * values, 3, 1, 1, 1)
            text += CONVOLUTION.format(name=name, bottom=blob, **dict(zip(_SIZES, sizes, strict=True)))
            text += FLATTEN.format(name=name)
        _, step, least, greatest, ratios = SOURCES[source]
        stated = " ".join(f"aspect_ratio: {ratio}" for ratio in ratios)
        text += PRIORS.format(name=blob, least=least, greatest=greatest, ratios=stated, step=step)
    for name, suffix, axis in (("loc", "loc_flat", 1), ("conf", "conf_flat", 1), ("priorbox", "priorbox", 2)):
        bottoms = " ".join(f'bottom: "{blob}_mbox_{suffix}"' for _, _, blob in HEADS)
        text += CONCAT.format(name=name, bottoms=bottoms, axis=axis)
    return text + LOSS.format(param=LOSS_PARAM.format(classes=CLASSES))


class Plain(nn.Module):
    """SSD300 by hand; forward gives its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name, sizes in TRUNK:
            if not name.startswith("pool"):
                outputs, kernel, pad, stride, dilation = sizes
                self.convolutions[name] = nn.Conv2d(channels, outputs, kernel, stride, pad, dilation)
                channels = outputs
        for source, (_, inputs, blob) in enumerate(HEADS):
            for kind, values in (("loc", 4), ("conf", CLASSES)):
                name = f"{blob}_mbox_{kind}"
                self.convolutions[name] = nn.Conv2d(inputs, boxes_of(source) * values, 3, padding=1)
        self.scale = nn.Parameter(torch.full((512,), SCALE))
        boxes = priors()[0, 0].reshape(-1, 4)
        self.register_buffer("corners", boxes)
        self.register_buffer("centres", torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1))
        self.register_buffer("variances", torch.tensor(VARIANCES))

    def forward(self, x: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        kept, loc, conf = {}, [], []
        for name, sizes in TRUNK:
            if name.startswith("pool"):
                x = functional.max_pool2d(x, *sizes, ceil_mode=True)
            else:
                x = functional.relu(self.convolutions[name](x), inplace=True)
                kept[name] = x
        for source, _, blob in HEADS:
            seen = kept[source]
            if source == "conv4_3":
                wide = seen.float()
                norm = (wide.square().sum(1, keepdim=True) + NORM_EPS).sqrt()
                seen = wide / norm * self.scale[:, None, None]
            for found, kind in ((loc, "loc"), (conf, "conf")):
                found.append(self.convolutions[f"{blob}_mbox_{kind}"](seen).permute(0, 2, 3, 1).flatten(1))
        count = len(x)
        return self.loss(
            torch.cat(loc, 1).float().reshape(count, -1, 4),
            torch.cat(conf, 1).float().reshape(count, -1, CLASSES),
            truth,
            labels,
        )

    def loss(self, loc: Tensor, conf: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
        """The loss of SSD, for as many boxes an image: truth (N, G, 4), labels (N, G)."""
        with torch.no_grad():
            overlap = _overlap(self.corners, truth)
            best, match = overlap.max(2)
            own = overlap.argmax(1)
            best.scatter_(1, own, 2.0)
            match.scatter_(1, own, torch.arange(truth.shape[1], device=truth.device).expand_as(own))
            positive = best > 0.5
            target = torch.where(positive, labels.gather(1, match), 0)
            losses = functional.cross_entropy(conf.transpose(1, 2), target, reduction="none")
            rank = losses.masked_fill(positive | (best >= 0.5), -1).argsort(1, descending=True).argsort(1)
            chosen = positive | (rank < 3 * positive.sum(1, keepdim=True))
        wanted = truth.gather(1, match[..., None].expand(-1, -1, 4))[positive]
        centres = self.centres.expand_as(loc)[positive]
        offsets = ((wanted[:, :2] + wanted[:, 2:]) / 2 - centres[:, :2]) / centres[:, 2:]
        scales = ((wanted[:, 2:] - wanted[:, :2]) / centres[:, 2:]).log()
        code = torch.cat([offsets, scales], 1) / self.variances
        loss = functional.smooth_l1_loss(loc[positive], code, reduction="sum")
        loss = loss + functional.cross_entropy(conf[chosen], target[chosen], reduction="sum")
        return loss / positive.sum()

    def groups(self) -> list[dict[str, object]]:
        """The parameters for torch.optim.SGD: biases have twice the rate and no decay."""
        biases = [module.bias for module in self.convolutions.values()]
        weights = [module.weight for module in self.convolutions.values()]
        return [
            {"params": [*weights, self.scale], "lr": RATE, "weight_decay": DECAY},
            {"params": biases, "lr": 2 * RATE, "weight_decay": 0.0},
        ]


def _overlap(boxes: Tensor, truth: Tensor) -> Tensor:
    """(N, P, G) the overlaps of boxes (P, 4) and truth (N, G, 4)."""
    low = torch.maximum(boxes[:, None, :2], truth[:, None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], truth[:, None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    own, other = ((b[..., 2:] - b[..., :2]).prod(-1) for b in (boxes[:, None], truth[:, None]))
    return both / (own + other - both)
