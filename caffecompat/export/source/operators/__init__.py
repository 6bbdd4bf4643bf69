"""What Caffe's layers do and PyTorch's modules do not: copied, as they stand here, into the files that need them.

Lines end at 88 characters, as in those files.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

_MODULES = (
    "boxes", "regions", "normalizing", "pooling", "shaping", "resampling", "flow", "recurring", "matching"
)  # fmt: skip


@cache
def _own() -> dict[str, Any]:
    """The classes and functions to copy, by name, in the order they stand in the modules."""
    modules = [import_module(f"{__name__}.{name}") for name in _MODULES]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
    }


def names() -> list[str]:
    """What there is to copy."""
    return list(_own())


def sources(needed: Iterable[str]) -> list[str]:
    """The source of these classes and functions and of those that they use, in the order they stand in the modules."""
    wanted = set(needed)
    texts: dict[str, str] = {}
    while missing := wanted - texts.keys():
        for name in missing:
            texts[name] = inspect.getsource(_own()[name]).rstrip()
            words = set(re.findall(r"(?<![.\w])[A-Za-z]\w*(?=\()", texts[name]))
            wanted |= words & _own().keys()
    return [texts[name] for name in _own() if name in texts]
