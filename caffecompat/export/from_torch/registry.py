"""Which function converts which ATen operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffecompat.export.from_torch.scope import Scope
    from caffecompat.export.from_torch.values import Value

Convert = Callable[["Scope"], "Value | Sequence[Value]"]

_FAMILIES = ("arithmetic", "convolving", "joining", "neurons", "normalizing", "pooling", "resampling", "shaping")
_CONVERTERS: dict[str, Convert] = {}


def converts(*operations: str) -> Callable[[Convert], Convert]:
    """Register what converts these operations, named as ATen names them, without the overload.

    Raises:
        ValueError: one of them has a converter already.
    """

    def register(convert: Convert) -> Convert:
        for operation in operations:
            if operation in _CONVERTERS:
                raise ValueError(f"{operation} has two converters")
            _CONVERTERS[operation] = convert
        return convert

    return register


def converters() -> dict[str, Convert]:
    """The converter of every operation that has one."""
    for family in _FAMILIES:
        import_module(f"caffecompat.export.from_torch.{family}")
    return dict(_CONVERTERS)
