"""How a check is asked for: beside the files, what will be given to the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from caffecompat.data.source import Reading
from caffecompat.graph.spec import Phase
from caffecompat.solver.options import Options

# Labels are looked at in so many records of a database.
RECORDS = 1000


@dataclass(frozen=True)
class Asked:
    """How a check is asked for.

    Attributes:
        options: how the solver will be run: dialect, root, level, stages, ignore_fields count.
        weights: the weight files that the run will start from, in the place of those that the solver names; None
            takes those.
        processes: how many processes, or GPUs, will train together.
        phase: of a file that is a net, the phase that is checked; None checks each that has data.
        records: in how many records of a database labels are looked at.
    """

    options: Options = field(default_factory=Options)
    weights: tuple[Path, ...] | None = None
    processes: int = 1
    phase: Phase | None = None
    records: int = RECORDS

    def reading(self) -> Reading:
        """How data layers read while they are looked at."""
        return Reading(root=self.options.root, workers=0)
