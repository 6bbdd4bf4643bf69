"""Modules that get back what they lack, as soon as they are imported."""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def complete_when_imported(name: str, complete: Callable[[ModuleType], None]) -> None:
    """Call `complete` with the module of this name: at once if it is there, or else when it is imported."""
    if name in sys.modules:
        complete(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, complete))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds a module once, as it would be found without it."""

    def __init__(self, name: str, complete: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._complete = complete

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._complete)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads as another loader does, and completes the module."""

    def __init__(self, loader: Any, complete: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._complete = complete

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # cv2 replaces itself while it loads.
        self._complete(sys.modules.get(module.__name__, module))
