"""What all tests share: where the recorded answers and the files that may not be committed lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from caffecompat import Net

REFERENCE = Path(__file__).resolve().parent / "reference"
SHARED = Path(os.environ.get("CAFFECOMPAT_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_file(name: str) -> Path:
    """A file or folder beside the checkout that may not be committed; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs shared/{name}, which is not here")
    return path


def make_net(text: str, phase: str = "TEST", **options: Any) -> Net:
    """A net from prototxt text, its parameters filled; options as those of `build_graph` and `Net`."""
    from caffecompat import Net
    from caffecompat.formats import parse_net
    from caffecompat.graph import build_graph

    shapes = options.pop("input_shapes", None)
    net = Net(build_graph(parse_net(text), phase, **options), shapes)
    net.fill()
    return net
