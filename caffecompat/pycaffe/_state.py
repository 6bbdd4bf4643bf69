"""What the original keeps for the whole process: mode, device, random numbers; and here the dialect."""

from __future__ import annotations

import warnings
from typing import cast, get_args

import torch

from caffecompat.data.draws import Draws
from caffecompat.errors import CaffeCompatWarning, UsageError, quoted
from caffecompat.graph.spec import Dialect


class _State:
    def __init__(self) -> None:
        self.gpu = False
        self.device_id = 0
        self.dialect: Dialect = "ssd"
        self.draws = Draws()
        self.solver_count = 1
        self.solver_rank = 0


STATE = _State()


def device() -> torch.device:
    """Where passes are computed."""
    return torch.device("cuda", STATE.device_id) if STATE.gpu else torch.device("cpu")


def set_mode_cpu() -> None:
    """Compute on the CPU from now on."""
    STATE.gpu = False


def set_mode_gpu() -> None:
    """Compute on the GPU from now on; where there is none, a warning says so and the CPU is used."""
    STATE.gpu = torch.cuda.is_available()
    if not STATE.gpu:
        warnings.warn("set_mode_gpu: no GPU is here, the CPU is used", CaffeCompatWarning, stacklevel=2)


def set_device(number: int) -> None:
    """Choose the GPU by its number; where there is none at all, nothing happens.

    Raises:
        UsageError: there are GPUs, and none of this number.
    """
    count = torch.cuda.device_count()
    if count and not 0 <= number < count:
        raise UsageError(f"GPU {number} is wanted; {count} GPUs are here")
    STATE.device_id = int(number)


def set_random_seed(seed: int) -> None:
    """Seed the random numbers of fillers, layers and data layers."""
    torch.manual_seed(seed)
    STATE.draws = Draws(seed)


def set_dialect(dialect: str) -> None:
    """Choose whose rules count where two Caffes differ, for the nets and solvers that are made from now on.

    Args:
        dialect: "ssd" (the SSD branch, the default) or "bvlc" (BVLC master).

    Raises:
        UsageError: it is neither.
    """
    if dialect not in get_args(Dialect):
        raise UsageError(f"dialect must be ssd or bvlc, got {quoted(dialect)}")
    STATE.dialect = cast(Dialect, dialect)


def solver_count() -> int:
    """How many solvers train together."""
    return STATE.solver_count


def set_solver_count(count: int) -> None:
    """Say how many solvers train together; here each trains alone, whatever is said."""
    STATE.solver_count = int(count)


def solver_rank() -> int:
    """Which of the solvers that train together this is."""
    return STATE.solver_rank


def set_solver_rank(rank: int) -> None:
    """Say which of the solvers that train together this is."""
    STATE.solver_rank = int(rank)


def set_multiprocess(multiprocess: bool) -> None:
    """Nothing: taken so that scripts for several GPUs run on one."""
