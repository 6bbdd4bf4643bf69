"""Nets of one layer, for the tests of layers."""

from __future__ import annotations

from typing import Any

from caffecompat.layers import Layer, Shape
from tests.support import make_net


def single(type_: str, body: str = "", *shapes: Shape, tops: int = 1, **options: Any) -> Layer:
    """The layer of a type with these fields, built by a net on inputs x0, x1, ... of these shapes; tops y0, y1, ..."""
    lines = [
        f'layer {{ name: "x{index}" type: "Input" top: "x{index}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {size}' for size in shape)} }} }} }}"
        for index, shape in enumerate(shapes)
    ]
    bottoms = " ".join(f'bottom: "x{index}"' for index in range(len(shapes)))
    names = " ".join(f'top: "y{index}"' for index in range(tops))
    lines.append(f'layer {{ name: "l" type: "{type_}" {bottoms} {names} {body} }}')
    return make_net("\n".join(lines), **options).layers[-1]
