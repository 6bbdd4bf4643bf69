"""How the processes that train together meet: what the environment states, and PyTorch's process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from caffecompat.errors import CaffeCompatError, UnsupportedError, UsageError, quoted

# How long processes wait for each other at the start.
JOIN = timedelta(minutes=30)
# Set for processes that `caffecompat train` started itself: where they meet. It tells of one that is killed.
STORE = "CAFFECOMPAT_STORE"
_HINT = "start it by torchrun, or let caffecompat train start the processes: --gpu 0,1 or --processes 2"


def stated(name: str, default: int | None = None) -> int:
    """A number that the environment states.

    Raises:
        UsageError: it does not, or it is none.
    """
    value = os.environ.get(name, "" if default is None else str(default))
    if not value:
        raise UsageError(f"the environment variable {name} is not set", hint=_HINT)
    if not value.isdecimal():
        raise UsageError(f"expected a number as environment variable {name}, got {quoted(value)}", hint=_HINT)
    return int(value)


def backend() -> str:
    """What carries tensors from process to process: gloo those on CPUs, NCCL those on GPUs where it is there."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def initialise(rank: int, world: int) -> None:
    """Make PyTorch's process group.

    Raises:
        UsageError: the environment does not say where the processes meet.
        UnsupportedError: this PyTorch cannot do it.
        CaffeCompatError: the others cannot be joined.
    """
    if not dist.is_available():
        raise UnsupportedError("this build of PyTorch has no torch.distributed")
    path = os.environ.get(STORE)
    if not 0 <= rank < world:
        raise UsageError(f"expected a RANK from 0 to {world - 1}, got {rank}", hint=_HINT)
    if path is None:
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise UsageError(f"the environment variable {name} is not set", hint=_HINT)
    with joining(rank):
        method = "env://" if path is None else Path(path).as_uri()
        dist.init_process_group(backend(), init_method=method, rank=rank, world_size=world, timeout=JOIN)


@contextmanager
def joining(rank: int) -> Iterator[None]:
    """While processes meet: what goes wrong is a `CaffeCompatError`."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CaffeCompatError(f"worker {rank} cannot join the others: {reason}") from error


def share_cores(processes: int) -> None:
    """Let the processes of this machine share its cores, unless the user says otherwise."""
    if processes > 1 and not any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(cores // processes, 1))
