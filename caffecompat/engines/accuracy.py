"""What int8 costs, in figures; imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Figures that are parts of a whole; others are told as they are.
TOP_1, TOP_5, MAP = "top-1", "top-5", "mAP"
SAME_TOP, SAME_PIXELS, MATCHED = "same top-1", "same pixels", "matched detections"
OVERLAP, SCORES, LARGEST = "mean overlap", "mean score difference", "largest difference"
_SHARES = (TOP_1, TOP_5, MAP, SAME_TOP, SAME_PIXELS, MATCHED)
# Of fewer items one alone moves a share by more than ten points.
FEW = 10


@dataclass(frozen=True)
class Accuracy:
    """What int8 costs, measured on items that took no part in calibration, unless there is one alone.

    Figures go by their names: with several outputs, those of one have its name in brackets behind.

    Attributes:
        items: how many were measured.
        float32: what the plain net reaches, where the truth is known: "top-1", "top-5", "mAP"; parts of 1.
        int8: what the engine reaches, by the same names.
        agreement: how alike the two are: "same top-1", "same pixels" and "matched detections", parts of 1; of matched
            detections "mean overlap" and "mean score difference"; "largest difference" of an output, as a part of its
            largest value.
        notes: what could not be measured, and why; and that the figures rest on few items.
        took_part: int8 was calibrated with the same items: figures for others may be worse.
    """

    items: int
    float32: Mapping[str, float] = field(default_factory=dict)
    int8: Mapping[str, float] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    took_part: bool = False

    @property
    def drop(self) -> dict[str, float]:
        """By how much int8 reaches less, by name; negative where it reaches more."""
        return {name: self.float32[name] - self.int8[name] for name in self.float32}

    def values(self) -> dict[str, Any]:
        """The figures as JSON holds them: one that is not finite is None."""
        groups = {"float32": self.float32, "int8": self.int8, "drop": self.drop, "agreement": self.agreement}
        plain = {key: {name: _plain(value) for name, value in group.items()} for key, group in groups.items()}
        return {"items": self.items, "took_part": self.took_part, **plain, "notes": list(self.notes)}

    def __str__(self) -> str:
        lines = [self._head()]
        lines += [
            f"{name}: float32 {_told(name, value)}, int8 {_told(name, self.int8[name])}, "
            f"drop {100 * self.drop[name]:.2f} points"
            for name, value in self.float32.items()
        ]
        if self.agreement:
            lines.append(", ".join(f"{name} {_told(name, value)}" for name, value in self.agreement.items()))
        return "\n  ".join([*lines, *self.notes])

    def _head(self) -> str:
        """What the figures are of."""
        items = counted(self.items, "item")
        if not (self.float32 or self.agreement):
            return f"what int8 costs is not known: nothing could be measured on {items}:"
        part = "that it was calibrated with too" if self.took_part else "that took no part in calibration"
        return f"int8 beside float32, on {items} {part}:"


def counted(number: int, unit: str) -> str:
    """Such as `1 item` or `2 items`."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _told(name: str, value: float) -> str:
    share = name.startswith(_SHARES)
    return f"{100 * value:.2f}%" if share else f"{value:.3g}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
