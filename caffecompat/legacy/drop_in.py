"""`import caffe` and every `caffe.X` give `caffecompat.pycaffe` and `caffecompat.pycaffe.X`: the same module objects.

The drop-in is known here by its name only, and imported when a script first asks for it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from caffecompat.errors import CaffeCompatError

NAME = "caffe"
DROP_IN = "caffecompat.pycaffe"
# Stands in the package that `caffecompat shim` writes, which is not a Caffe of its own.
SHIM_MARK = "Written by `caffecompat shim`"


def install() -> None:
    """Make `import caffe` give `caffecompat.pycaffe` in this process; once more does nothing.

    A tree of Caffe's sources whose `_caffe` was never built cannot be imported, and is no obstacle.

    Raises:
        CaffeCompatError: there is another `caffe`, imported or to be found on `sys.path`.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    _refuse_another()
    sys.meta_path.insert(0, _Finder())
    importlib.invalidate_caches()


def uninstall() -> None:
    """Undo `install`: `import caffe` is what it was. Modules that hold the drop-in already keep it."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name in [name for name in sys.modules if _is_ours(name)]:
        if _drop_in_of(sys.modules[name]):
            del sys.modules[name]


def _refuse_another() -> None:
    imported = sys.modules.get(NAME)
    if imported is not None and not _drop_in_of(imported) and not _is_shim(getattr(imported, "__file__", None)):
        place = getattr(imported, "__file__", None) or "no file"
        raise CaffeCompatError(
            f"expected no other caffe, got the one of {place}, which is imported already",
            hint="call install() before anything imports caffe",
        )
    spec = PathFinder.find_spec(NAME)
    if spec is None or spec.origin is None or _is_shim(spec.origin) or _is_unbuilt(spec):
        return
    raise CaffeCompatError(
        f"expected no other caffe, got the one at {spec.origin}",
        hint="take its folder off PYTHONPATH or uninstall it; `import caffecompat.pycaffe as caffe` works beside it",
    )


def _is_shim(file: str | None) -> bool:
    try:
        return file is not None and SHIM_MARK in Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _is_unbuilt(spec: ModuleSpec) -> bool:
    """Whether it is Caffe's own package without the half that a compiler makes."""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    sources = any((folder / "pycaffe.py").is_file() for folder in folders)
    return sources and not any(list(folder.glob("_caffe*.so")) + list(folder.glob("_caffe*.pyd")) for folder in folders)


def _is_ours(name: str) -> bool:
    return name == NAME or name.startswith(NAME + ".")


def _drop_in_of(module: ModuleType) -> bool:
    """Whether it is one of the drop-in's modules, under whatever name it was found."""
    spec = module.__spec__
    return module is sys.modules.get(DROP_IN) or (spec is not None and spec.name.startswith("caffecompat."))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `caffe` and what is below it, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not _is_ours(fullname):
            return None
        real = DROP_IN + fullname[len(NAME) :]
        if real not in sys.modules and importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, _Loader(real), is_package=fullname == NAME)


class _Loader(importlib.abc.Loader):
    """Gives a module of the drop-in for one of `caffe`, as it is."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the spec of `caffe` there; the module keeps the one it was loaded by.
        module.__spec__ = self._spec
