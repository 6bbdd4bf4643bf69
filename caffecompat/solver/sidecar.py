"""What exact resuming needs beyond a solver state, beside it as JSON: random state and positions.

These are the positions of the readers, and those of detection layers in their `name_size_file`. Caffe keeps nothing of
it: a resumed run draws other numbers, and starts its readers and the names anew.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from caffecompat.errors import FormatError, context, quoted
from caffecompat.formats import atomic_write
from caffecompat.layers.detection import DetectionEvaluate, DetectionOutput
from caffecompat.net import Net
from caffecompat.solver.group import Group

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

VERSION = 2
# The order of a list of ten million shuffled items takes less.
MAX_BYTES = 1 << 28

_HINT = "resume without --exact-resume: the readers then start anew, as Caffe's do"


def sidecar_path(state: Path, group: Group) -> Path:
    """Where the sidecar of a solver state lies; each of several processes has its own."""
    rank = f".rank{group.rank}" if group.world > 1 else ""
    return state.with_name(f"{state.name}.resume{rank}.json")


def write_sidecar(path: Path, solver: Solver) -> None:
    """Write what this process needs to go on exactly.

    Raises:
        CaffeCompatError: the file cannot be written.
    """
    cuda = _encoded(torch.cuda.get_rng_state(solver.device)) if solver.device.type == "cuda" else None
    content = {
        "version": VERSION,
        "iteration": solver.iteration,
        "world": solver.group.world,
        "random": {"cpu": _encoded(torch.get_rng_state()), "cuda": cuda},
        "smoothed": solver.smoothed.state(),
        "minimum_loss": solver.rate.minimum_loss,
        "readers": [[reader.state() for reader in net.readers] for net in _nets(solver)],
        "places": [{layer.spec.name: layer.place for layer in _named(net)} for net in _nets(solver)],
    }
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def read_sidecar(path: Path, solver: Solver, iteration: int) -> dict[str, Any]:
    """What a sidecar holds, checked as far as that is possible without using it.

    Args:
        path: where it lies.
        solver: which is to go on.
        iteration: that of the solver state beside it.

    Raises:
        FormatError: it is absent, broken, or of another run.
    """
    with context(file=path, hint=_HINT):
        try:
            if os.path.getsize(path) > MAX_BYTES:
                raise FormatError(f"expected at most {MAX_BYTES} bytes, got {os.path.getsize(path)}")
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            hint = f"only a run with --exact-resume writes it; {_HINT}"
            raise FormatError("exact resuming needs this file, which is not there", hint=hint) from None
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise FormatError(f"the file is damaged: {quoted(str(error))}") from error
        if not isinstance(content, dict):
            raise FormatError(f"expected a JSON object, got {quoted(content)}")
        readers = [len(net.readers) for net in _nets(solver)]
        wanted = {"version": VERSION, "iteration": iteration, "world": solver.group.world}
        for name, value in wanted.items():
            if content.get(name) != value:
                raise FormatError(f"expected {name} {value}, got {quoted(content.get(name))}")
        given = content.get("readers")
        if not isinstance(given, list) or [isinstance(one, list) and len(one) for one in given] != readers:
            raise FormatError(f"expected the states of {readers} readers, got {quoted(given)}")
        return content


def apply_sidecar(path: Path, solver: Solver, content: Mapping[str, Any]) -> None:
    """Take up what a sidecar holds.

    Raises:
        FormatError: it is broken, or of another run.
    """
    with context(file=path, hint=_HINT):
        try:
            for net, states, places in zip(_nets(solver), content["readers"], content["places"], strict=True):
                for reader, state in zip(net.readers, states, strict=True):
                    reader.restore(state)
                for layer in _named(net):
                    layer.go_on(int(places[layer.spec.name]))
            solver.smoothed.restore(content["smoothed"])
            solver.rate.minimum_loss = float(content["minimum_loss"])
            torch.set_rng_state(_decoded(content["random"]["cpu"]))
            cuda = content["random"]["cuda"]
            if cuda is not None and solver.device.type == "cuda":
                torch.cuda.set_rng_state(_decoded(cuda), solver.device)
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, AttributeError) as error:
            text = f"{type(error).__name__}: {error}"
            raise FormatError(f"the file is damaged, or of another run: {quoted(text)}") from error


def _nets(solver: Solver) -> Sequence[Net]:
    return (solver.net, *solver.test_nets)


def _named(net: Net) -> Iterator[DetectionOutput | DetectionEvaluate]:
    """The layers that take the names or sizes of images from a file, one after the other."""
    return (layer for layer in net.layers if isinstance(layer, (DetectionOutput, DetectionEvaluate)))


def _encoded(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _decoded(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text, validate=True)), dtype=torch.uint8)
