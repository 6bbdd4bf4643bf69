"""Where the Caffes differ: one table, read by whatever it concerns: sharing, layers, fillers, snapshots.

Sources: the SSD branch of Caffe (weiliu89/caffe, ssd) and BVLC master, compared line by line and by runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from caffecompat.graph.spec import Dialect


@dataclass(frozen=True)
class Rules:
    """What one Caffe does where another does otherwise.

    Attributes:
        bilinear_center: the centre of a bilinear filler's kernel, in units of half the kernel rounded up, from
            the kernel's size. The two give the same for sizes of the form 4n and 4n + 1.
        accuracy_ties_by_class: of equal scores Accuracy ranks the higher class first; else every tie counts
            against the label.
        accuracy_of_nothing: what Accuracy gives where no label counts.
        infogain_of_scores: InfogainLoss takes scores and does the softmax itself; else it takes probabilities.
        batch_norm_drops_params: the three `param` of a BatchNorm layer are dropped, and with them the names by which
            they could be shared; else only what they say of learning is.
        solver_names_snapshots: snapshots are called after the solver's file where it states no `snapshot_prefix`, or
            one that is a folder; else the prefix is taken as it is, and `snapshot` needs one.
        reader_draws: the thread that reads the database of a data layer draws a seed, before all else.
        encoded_datums_state_sizes: databases that are made state the sizes of compressed pictures.
    """

    bilinear_center: Callable[[int], float]
    accuracy_ties_by_class: bool
    accuracy_of_nothing: float
    infogain_of_scores: bool
    batch_norm_drops_params: bool
    solver_names_snapshots: bool
    reader_draws: bool
    encoded_datums_state_sizes: bool


def _ssd_bilinear_center(size: int) -> float:
    factor = math.ceil(size / 2)
    return (2 * factor - 1 - factor % 2) / (2 * factor)


def _bvlc_bilinear_center(size: int) -> float:
    return (size - 1) / (2 * math.ceil(size / 2))


DIALECTS: dict[Dialect, Rules] = {
    "ssd": Rules(
        bilinear_center=_ssd_bilinear_center,
        accuracy_ties_by_class=True,
        accuracy_of_nothing=math.nan,
        infogain_of_scores=False,
        batch_norm_drops_params=True,
        solver_names_snapshots=False,
        reader_draws=True,
        encoded_datums_state_sizes=True,
    ),
    "bvlc": Rules(
        bilinear_center=_bvlc_bilinear_center,
        accuracy_ties_by_class=False,
        accuracy_of_nothing=0.0,
        infogain_of_scores=True,
        batch_norm_drops_params=False,
        solver_names_snapshots=True,
        reader_draws=False,
        encoded_datums_state_sizes=False,
    ),
}
