"""A Net as a file: `export(net, path)` picks the format by the suffix; one module for each format.

What is named here is imported when it is first used: to list formats and recipes needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffecompat.export.files import export
    from caffecompat.export.suffixes import SUFFIXES

_MODULES = {"export": "files", "SUFFIXES": "suffixes"}

__all__ = ["SUFFIXES", "export"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
