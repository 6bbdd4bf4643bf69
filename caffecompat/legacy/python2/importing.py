"""`import` as Python 2 understood it, for translated modules only: modules beside them first, old names of modules."""

from __future__ import annotations

import builtins
import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from caffecompat.legacy.python2.modules import KEPT, MOVED, renamed
from caffecompat.legacy.python2.names import make_builtins


@cache
def builtins2() -> dict[str, Any]:
    """The `__builtins__` of translated modules; all have the same, and `__builtin__` is it."""
    return make_builtins(import2)


@cache
def _builtin_module() -> ModuleType:
    class Builtin(ModuleType):
        def __getattr__(self, name: str) -> Any:
            try:
                return builtins2()[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name: str, value: Any) -> None:
            builtins2()[name] = value

    return Builtin("__builtin__")


def import2(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """What `__import__` is for `import name` and `from name import ...` in a translated module."""
    if level == 0 and _is_beside(name, globals or {}):
        level = 1
    if level == 0 and _is_moved(name):
        return _builtin_module() if name == "__builtin__" else renamed(name)
    module = builtins.__import__(name, globals, locals, fromlist or (), max(level, 0))
    top = name.partition(".")[0]
    if level == 0 and top in KEPT and (name == top or not fromlist):
        return renamed(top)
    return module


def _is_moved(name: str) -> bool:
    """Whether it is an old name of a module, and no module of the user's."""
    return name in MOVED and importlib.util.find_spec(name) is None


def _is_beside(name: str, globals: Mapping[str, Any]) -> bool:
    """Whether the package that a module is in has a module of this name, which goes first."""
    package = globals.get("__package__")
    # The name is bound by `from __future__ import absolute_import`.
    if not package or "absolute_import" in globals:
        return False
    return importlib.util.find_spec(f"{package}.{name.partition('.')[0]}") is not None
