"""Which function converts which ATen operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from caffecompat.export.registering import Registry

if TYPE_CHECKING:
    from caffecompat.export.from_torch.scope import Scope
    from caffecompat.export.from_torch.values import Value

Convert = Callable[["Scope"], "Value | Sequence[Value]"]

_FAMILIES = ("arithmetic", "convolving", "joining", "neurons", "normalizing", "pooling", "resampling", "shaping")
_CONVERTERS: Registry[str, Convert] = Registry("caffecompat.export.from_torch", _FAMILIES, "converter")


def converts(*operations: str) -> Callable[[Convert], Convert]:
    """Register what converts these operations, named as ATen names them, without the overload.

    Raises:
        ValueError: one of them has a converter already.
    """

    def register(convert: Convert) -> Convert:
        _CONVERTERS.add(operations, convert, convert)
        return convert

    return register


def converters() -> dict[str, Convert]:
    """The converter of every operation that has one."""
    return _CONVERTERS.complete()
