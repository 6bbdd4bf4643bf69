"""Errors that are both ours and what the original raised: scripts catch RuntimeError where a file is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from caffecompat.errors import CaffeCompatError

_BOTH: dict[type[CaffeCompatError], type[CaffeCompatError]] = {}


@contextmanager
def runtime_errors() -> Iterator[None]:
    """Let every `CaffeCompatError` that passes through be a RuntimeError as well."""
    try:
        yield
    except CaffeCompatError as error:
        if not isinstance(error, RuntimeError):
            error.__class__ = _both(type(error))
        raise


def _both(kind: type[CaffeCompatError]) -> type[CaffeCompatError]:
    if kind not in _BOTH:
        names = {"__doc__": kind.__doc__, "__module__": kind.__module__}
        _BOTH[kind] = type(kind.__name__, (kind, RuntimeError), names)
    return _BOTH[kind]
