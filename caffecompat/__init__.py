"""Caffe models, unchanged, on PyTorch: load, run, prove equal, convert.

>>> import caffecompat
>>> net = caffecompat.load("deploy.prototxt", "net.caffemodel")
>>> outputs = net(data=images)
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning

if TYPE_CHECKING:
    from caffecompat.engines.optimizing import optimize
    from caffecompat.export.from_torch.converting import from_torch
    from caffecompat.export.fusing import fuse
    from caffecompat.layers.base import Layer
    from caffecompat.layers.plugins import layer
    from caffecompat.net import Net, load
    from caffecompat.solver import Solver

__version__ = "0.1.0"
__all__ = [
    "CaffeCompatError",
    "CaffeCompatWarning",
    "Layer",
    "Net",
    "Solver",
    "__version__",
    "from_torch",
    "fuse",
    "layer",
    "load",
    "optimize",
]

_MODULES = {
    "Layer": "caffecompat.layers.base",
    "Net": "caffecompat.net",
    "Solver": "caffecompat.solver",
    "from_torch": "caffecompat.export.from_torch.converting",
    "fuse": "caffecompat.export.fusing",
    "layer": "caffecompat.layers.plugins",
    "load": "caffecompat.net",
    "optimize": "caffecompat.engines.optimizing",
}


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first asked for: `import caffecompat` stays cheap."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A collection in the middle of these imports walks all of PyTorch's objects: 80 ms.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return getattr(import_module(_MODULES[name]), name)
    finally:
        if collecting:
            gc.enable()
