"""What was measured, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from caffecompat.engines.accuracy import Accuracy
from caffecompat.engines.registry import Precision


@dataclass(frozen=True)
class Trial:
    """How an engine did on the example.

    Attributes:
        engine: its name.
        milliseconds: the median of a pass; None if it was not measured.
        difference: how far its outputs are from the plain net's, in parts of what is allowed; None if it gave none.
        fault: why it was not taken, or "".
    """

    engine: str
    milliseconds: float | None = None
    difference: float | None = None
    fault: str = ""

    def __str__(self) -> str:
        parts = [] if self.milliseconds is None else [f"{self.milliseconds:.1f} ms"]
        parts += [] if self.difference is None else [f"differs by {self.difference:.2g} of what is allowed"]
        parts += [f"not taken: {self.fault}"] if self.fault else []
        return f"{self.engine}: " + ", ".join(parts)


@dataclass(frozen=True)
class Report:
    """Why an engine was chosen, and what it costs.

    Attributes:
        chosen: its name.
        precision: what it computes in.
        threads: how many threads all had.
        trials: all that were tried; none if the engine was named by the user.
        cached: the choice was made earlier, by these figures, and not now.
        accuracy: what int8 costs; None for other precisions, and if it was not measured.
    """

    chosen: str
    precision: Precision
    threads: int
    trials: tuple[Trial, ...] = ()
    cached: bool = False
    accuracy: Accuracy | None = None

    def __str__(self) -> str:
        how = ", as measured earlier" if self.cached else ", measured" if self.trials else ""
        head = f"engine {self.chosen} ({self.precision}, {self.threads} threads){how}"
        lines = "\n  ".join([head, *map(str, self.trials)])
        return lines if self.accuracy is None else f"{lines}\n{self.accuracy}"
