"""Warnings about what a file says and we pass over: never silent, never a flood."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from caffecompat.errors import CaffeCompatWarning, Position, quoted
from caffecompat.formats.parsed import UnknownField

MAX_WARNINGS = 20


def warn(message: str, position: Position | None = None) -> None:
    """Emit a `CaffeCompatWarning` that names the place."""
    warnings.warn(f"{position}: {message}" if position else message, CaffeCompatWarning, stacklevel=3)


def warn_unknown(fields: Sequence[UnknownField]) -> None:
    """Report fields that the schema does not know and that are passed over, each once; of very many, the first."""
    for field in fields[:MAX_WARNINGS]:
        warn(f"unknown field {quoted(field.name)} is ignored", field.position)
    if len(fields) > MAX_WARNINGS:
        warn(f"{len(fields) - MAX_WARNINGS} more unknown fields are ignored", fields[MAX_WARNINGS].position)
