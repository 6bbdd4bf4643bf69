"""Optimised inference: `optimize(net, ...)` makes an `Engine`, which is called like the net; one module for each.

What is named here is imported when it is first used: to list engines needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffecompat.engines.base import Engine, Settings
    from caffecompat.engines.calibrating import Calibration
    from caffecompat.engines.optimizing import optimize
    from caffecompat.engines.registry import ENGINES, PRECISIONS, EngineRow, available

_MODULES = {
    "Calibration": "calibrating",
    "ENGINES": "registry",
    "Engine": "base",
    "EngineRow": "registry",
    "PRECISIONS": "registry",
    "Settings": "base",
    "available": "registry",
    "optimize": "optimizing",
}

__all__ = ["ENGINES", "PRECISIONS", "Calibration", "Engine", "EngineRow", "Settings", "available", "optimize"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
