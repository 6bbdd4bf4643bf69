"""`import cv2` in an old script: OpenCV 5's `cv2.dnn` gets back what it lacks to read Caffe's files.

`caffecompat.cv2dnn` is known here by its name only, and imported when a script imports `cv2`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

IMPORTER = "caffecompat.cv2dnn"


def offer_importer() -> None:
    """Complete `cv2` when it is imported, if this OpenCV has no importer of Caffe's files."""
    if "cv2" in sys.modules:
        _complete(sys.modules["cv2"])
    else:
        sys.meta_path.insert(0, _Finder())


def _complete(cv2: ModuleType) -> None:
    dnn = getattr(cv2, "dnn", None)
    if dnn is not None and not hasattr(dnn, "readNetFromCaffe"):
        importlib.import_module(IMPORTER).install()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `cv2` once, as it would be found without it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "cv2":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads as another loader does, and completes the module."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # cv2 replaces itself while it loads.
        _complete(sys.modules.get(module.__name__, module))
