"""Layers as exported programs, for the tests of layers."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from caffecompat.layers import Layer


def check_export(layer: Layer, *bottoms: Tensor) -> None:
    """Export a layer with a dynamic batch, and compare it with the layer on batches of other sizes."""
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes: tuple[object, ...] = ({0: batch},) * len(bottoms)
    if "bottoms" in inspect.signature(layer.forward).parameters:  # def forward(self, *bottoms)
        shapes = (shapes,)
    program = torch.export.export(layer.eval(), bottoms, dynamic_shapes=shapes, strict=False)
    for count in (2, 3, 5):
        repeated = [bottom.repeat(count, *([1] * (bottom.dim() - 1)))[:count] for bottom in bottoms]
        with torch.no_grad():
            got, expected = program.module()(*repeated), layer(*repeated)
        torch.testing.assert_close(got, expected)
