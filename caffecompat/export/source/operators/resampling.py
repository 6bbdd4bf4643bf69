"""Resampling to a given size: rows and columns weighed apart."""

# fmt: off

from __future__ import annotations

import math

import torch
from torch import Tensor


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear; beyond the last row and column there is nothing, so that they darken."""
    weights = []
    for source, target in zip(x.shape[2:], size):
        place = torch.arange(target) * torch.tensor(source / target)
        distance = (place[:, None] - torch.arange(source)).abs()
        weights.append((1 - distance).clamp(min=0).to(x))
    return weights[0] @ x @ weights[1].T


def round_away(x: Tensor) -> Tensor:
    """Rounded to whole numbers, halves away from 0."""
    whole = x.trunc()
    return whole + ((x - whole).abs() >= 0.5) * x.sign()


def resample_places(
    x: Tensor, size: tuple[int, int]
) -> list[tuple[int, Tensor, Tensor]]:
    """Of rows and columns: how many there are, by how much they shrink, where they lie.

    As in FlowNet2, each is moved by half of the other one's factor.
    """
    factors = [torch.tensor(x.shape[axis + 2] / size[axis]) for axis in (0, 1)]
    places = [
        torch.arange(size[axis]) * factors[axis] + factors[1 - axis] / 2 - 0.5
        for axis in (0, 1)
    ]
    return list(zip(x.shape[2:], factors, places))


def resample_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """FlowNet2's Resample: the nearest row and column."""
    for axis, (source, _, place) in enumerate(resample_places(x, size), 2):
        index = round_away(place).clamp(0, source - 1).long()
        x = x.index_select(axis, index.to(x.device))
    return x


def resample(
    x: Tensor, size: tuple[int, int], cubic: bool = False, antialias: bool = True
) -> Tensor:
    """FlowNet2's Resample: linear or cubic, with a wider filter where it shrinks."""
    places = resample_places(x, size)
    widens = antialias and any(factor > 1 for _, factor, _ in places)
    weights = []
    for source, factor, place in places:
        scale = 1 / factor if widens else torch.ones(())
        reach = 2 if factor < 1 else math.ceil((4 if cubic else 2) / scale)
        column = torch.arange(source)
        distance = ((place[:, None] - column) * scale).abs()
        weight = keys_cubic(distance) if cubic else (1 - distance).clamp(min=0)
        weight = weight * ((column - round_away(place)[:, None]).abs() <= reach)
        total = weight.sum(1, keepdim=True)
        weights.append(torch.where(total != 0, weight / total, 0).to(x))
    return weights[0] @ x @ weights[1].T


def keys_cubic(x: Tensor) -> Tensor:
    """The weights of a cubic filter at these distances."""
    inner = x * x * (1.5 * x - 2.5) + 1
    outer = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, 0))
