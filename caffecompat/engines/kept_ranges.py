"""The ranges that int8 was calibrated with, kept on disk beside what "auto" chose: to find them takes minutes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress

from caffecompat.engines.base import Settings
from caffecompat.engines.caching import key_of, read_kept, write_kept
from caffecompat.engines.ranges import Range
from caffecompat.net import Net

# Another number where ranges are found in another way.
_WAY = 1


def kept_ranges(trunk: Net, settings: Settings, find: Callable[[], Mapping[str, Range]]) -> Mapping[str, Range]:
    """The ranges of a net's values: those kept, or else those found now, which are kept.

    They hang on what a choice does (see `caching.key_of`), and where a net has several inputs also on the example, of
    which those are taken that are not calibrated with.

    Args:
        trunk: the net whose values they are.
        settings: those of the engine.
        find: finds them.
    """
    if not settings.cache:
        return find()
    key = _key(trunk, settings)
    found: Mapping[str, Range] | None = _recall(key)
    if found is None:
        found = find()
        write_kept(key, {name: list(limits) for name, limits in found.items()}, "the ranges of int8")
    return found


def _key(trunk: Net, settings: Settings) -> str:
    digest = hashlib.sha256(f"{key_of(trunk, settings)} {_WAY}".encode())
    if len(settings.example) > 1:
        for name, value in sorted(settings.example.items()):
            digest.update(f"{name}\0{tuple(value.shape)}\0".encode())
            digest.update(value.detach().float().contiguous().numpy().data)
    return f"{digest.hexdigest()}.ranges"


def _recall(key: str) -> dict[str, Range] | None:
    """The ranges kept under a key; None if there are none, or the file is not one of ours."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        found = {str(name): Range(*map(float, limits)) for name, limits in read_kept(key).items()}
        if all(math.isfinite(low) and math.isfinite(high) and low <= 0 <= high for low, high in found.values()):
            return found
    return None
