"""Axes: from values to places, and the values that are written beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Values that lie so far apart have a logarithmic axis.
WIDE = 100.0
# Steps between ticks are these times a power of ten.
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Scale:
    """An axis.

    Attributes:
        low: the value at `start`.
        high: the value at `end`; above `low`.
        start: a place in pixels.
        end: a place in pixels; below `start` for an axis that rises.
        log: places are those of the logarithms.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: Floats) -> Floats:
        """The places of values, in pixels."""
        low, high = self._of(self.low), self._of(self.high)
        with np.errstate(invalid="ignore", divide="ignore"):
            inner = np.log10(values) if self.log else np.asarray(values, np.float64)
        return self.start + (inner - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values on the axis, at most so many and one more."""
        if not self.log:
            return _linear(self.low, self.high, most)
        first, last = math.ceil(self._of(self.low) - 1e-9), math.floor(self._of(self.high) + 1e-9)
        every = max(math.ceil((last - first + 1) / most), 1)
        decades = [10.0**power for power in range(first, last + 1) if power % every == 0]
        if len(decades) > 2:
            return decades
        finer = (step * 10.0**power for power in range(first - 1, last + 1) for step in (1, 2, 5))
        return [value for value in finer if self.low <= value * (1 + 1e-9) and value <= self.high * (1 + 1e-9)]

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value


def fit(values: Floats, start: float, end: float, wide: float = WIDE) -> Scale:
    """An axis on which values have room.

    Args:
        values: those that are not finite count for nothing.
        start: a place in pixels.
        end: a place in pixels.
        wide: values that lie so far apart, if all are positive, have a logarithmic axis.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Scale(0.0, 1.0, start, end)
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high >= wide * low:
        return Scale(low / 1.15, high * 1.15, start, end, log=True)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    room = (high - low) * 0.06
    if room <= abs(high) * 1e-12:
        room = abs(high) * 0.1 or 1.0
    return Scale(low if low == 0 else low - room, high + room, start, end)


def tick_text(value: float) -> str:
    """A tick's value: short, whole where it is whole."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:,.6f}".rstrip("0").rstrip(".")
        return "0" if text in ("-0", "") else text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _linear(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    if not (rough > 0 and math.isfinite(rough)):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9)), 10 * power)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(first + index) * step for index in range(min(max(count, 0), most + 2))]
