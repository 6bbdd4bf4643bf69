"""What `caffecompat inspect --weights` tells of each blob: how its values are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from caffecompat.errors import shown

if TYPE_CHECKING:
    from torch import Tensor

    from caffecompat.layers.base import Layer
    from caffecompat.net import Net

COLUMNS = ("layer", "type", "blob", "shape", "mean", "deviation", "least", "greatest")


@dataclass(frozen=True)
class Spread:
    """The values of a blob.

    Attributes:
        blob: its name in the layer.
        shape: its shape.
        mean: their mean.
        deviation: their standard deviation.
        least: the least of them.
        greatest: the greatest of them.
    """

    blob: str
    shape: tuple[int, ...]
    mean: float
    deviation: float
    least: float
    greatest: float

    def as_json(self) -> dict[str, Any]:
        """The values as JSON has them, which knows no number that is not finite."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def spreads(layer: Layer) -> list[Spread]:
    """What there is to tell of the blobs of a layer that have values."""
    pairs = zip(layer.blob_names, layer.blobs, strict=True)
    return [_spread(name, blob.detach()) for name, blob in pairs if not blob.is_meta and blob.numel()]


def _spread(name: str, values: Tensor) -> Spread:
    numbers = [float(value) for value in (values.mean(), values.std(correction=0), values.min(), values.max())]
    return Spread(name, tuple(values.shape), *numbers)


def as_text(net: Net, found: Sequence[Sequence[Spread]]) -> str:
    """A table of all blobs that have values.

    Args:
        net: the net.
        found: of each of its layers.
    """
    rows: list[tuple[str, ...]] = [COLUMNS]
    for layer, own in zip(net.layers, found, strict=True):
        for one in own:
            numbers = (f"{value:.4g}" for value in (one.mean, one.deviation, one.least, one.greatest))
            size = "x".join(map(str, one.shape)) or "scalar"
            rows.append((shown(layer.spec.name), layer.spec.type, one.blob, size, *numbers))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column > 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
