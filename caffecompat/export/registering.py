"""Tables of the functions that write or convert something, each registered by a decorator in its family's module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Registry(dict[K, V]):
    """What handles what.

    Args:
        package: where the families' modules are.
        families: the modules that register.
        role: what a function is called, for errors.
    """

    def __init__(self, package: str, families: Iterable[str], role: str) -> None:
        super().__init__()
        self._modules = [f"{package}.{family}" for family in families]
        self._role = role
        self._functions: dict[K, str] = {}

    def add(self, keys: Iterable[K], value: V, function: Callable[..., Any]) -> None:
        """Let a function handle these.

        Raises:
            ValueError: one of them has a function already.
        """
        for key in keys:
            if key in self:
                name = key.__name__ if isinstance(key, type) else key
                raise ValueError(f"{name} has two {self._role}s: {self._functions[key]}, {function.__name__}")
            self[key] = value
            self._functions[key] = function.__name__

    def complete(self) -> dict[K, V]:
        """All of them, their modules imported."""
        for module in self._modules:
            import_module(module)
        return dict(self)
