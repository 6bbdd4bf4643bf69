"""What a written module computes, run in a process of its own without this package, compared with the net."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path

import numpy as np
import torch

from caffecompat.errors import CaffeCompatError
from caffecompat.export.axes import Axes
from caffecompat.export.sampling import Array
from caffecompat.export.verifying import HINT, Comparison, compare_passes, drawn
from caffecompat.graph.spec import BlobKey
from caffecompat.layers.base import Layer
from caffecompat.layers.detection import DetectionOutput
from caffecompat.layers.elementwise import ArgMax
from caffecompat.layers.proposal import Proposal, PythonProposal
from caffecompat.layers.roi import ROIPooling
from caffecompat.layers.softmax import Softmax
from caffecompat.net import Net

TOLERANCE = 1e-5
_NEEDED = ("torch", "safetensors", "numpy")
# Functions of the module, or of torch.nn.functional, whose arguments are compared with what these layers read.
_FUNCTIONS: dict[type[Layer], str] = {
    ArgMax: "argmax",
    DetectionOutput: "detect",
    Proposal: "propose",
    PythonProposal: "propose",
    ROIPooling: "roi_pool",
    Softmax: "softmax",
}


def can_verify() -> bool:
    """Whether the packages that a written module needs are installed."""
    return all(find_spec(name) is not None for name in _NEEDED)


def verify(net: Net, path: Path, axes: Axes, inputs: Sequence[str], outputs: Sequence[str]) -> list[Comparison]:
    """Compare a written module with the net, in one pass of random inputs.

    Args:
        net: the net, in evaluation.
        path: the module's file, its parameters beside it.
        axes: what of it varies.
        inputs: the names of the inputs, in the order that the module takes them.
        outputs: the names of the outputs, in the order that it gives them.

    Raises:
        CaffeCompatError: the module cannot be run, or an output is not the net's.
    """
    functions = sorted({_FUNCTIONS[type(layer)] for layer in net.layers if type(layer) in _FUNCTIONS})
    keys = {key.name: key for key in net.graph.outputs}

    values = _values(net, axes)
    found = _run_apart(path, [values[name] for name in inputs], functions)
    computed = {keys[name]: found[f"outputs/{place}"] for place, name in enumerate(outputs)}
    for function in functions:
        computed.update(_read(net, f"{function}/", found))
    by_item = {key for key, names in axes.names.items() if names[:1] == ("batch",)}
    return compare_passes(net, [values], [computed], "a process of its own", allowed=TOLERANCE, by_item=by_item)


def _values(net: Net, axes: Axes) -> dict[str, Array]:
    """Random inputs for one pass, by name.

    If the number of images may vary they are few, but not as many as the net was built for. The first is as large as
    its pictures are, which shows what large values make, the others normal, which shows what those would hide.
    """
    built, other = axes.inputs[0], axes.inputs[-1]
    varying = [name for name in built if axes.batch and built[name] != other[name]]
    shapes = {
        name: ((3 if shape[0] == 2 else 2), *shape[1:]) if name in varying else shape for name, shape in built.items()
    }
    large, normal = drawn(net, [shapes, shapes])
    return {**large, **{name: np.concatenate([large[name][:1], normal[name][1:]]) for name in varying}}


def _run_apart(path: Path, values: Sequence[Array], functions: Sequence[str]) -> dict[str, Array]:
    """What `_runner` writes."""
    options = {"threads": torch.get_num_threads(), "folders": _folders(), "recorded": functions}
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("inputs.npz", "outputs.npz")]
        np.savez(files[0], *values)
        runner = str(Path(__file__).with_name("_runner.py"))
        command = [sys.executable, "-I", runner, str(path.resolve()), *files, json.dumps(options)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise CaffeCompatError(f"the module that was written cannot be run: {reason}", hint=HINT)
        with np.load(files[1]) as file:
            return {name: file[name] for name in file.files}


@cache
def _folders() -> list[str]:
    """Where the packages lie; isolated, Python leaves the user's own folder out."""
    origins = [spec.origin for name in _NEEDED if (spec := find_spec(name)) is not None and spec.origin is not None]
    return list(dict.fromkeys(str(Path(origin).parents[1]) for origin in origins))


def _read(net: Net, prefix: str, found: Mapping[str, Array]) -> dict[BlobKey, Array]:
    """What the layers written as a call of a function have read; nothing if it is not called once for each.

    Args:
        net: the net.
        prefix: what the names of its arguments begin with: FUNCTION/.
        found: all that `_runner` wrote.
    """
    layers = [layer for layer in net.layers if _FUNCTIONS.get(type(layer)) == prefix.rstrip("/")]
    calls = {name.removeprefix(prefix).partition("/")[0] for name in found if name.startswith(prefix)}
    if len(calls) != len(layers):
        return {}
    read = {}
    for number, layer in enumerate(layers):
        for place, key in enumerate(layer.spec.bottoms):
            value = found.get(f"{prefix}{number}/{place}")
            rest = net.blob_shapes[key][1:]
            count = prod(rest)
            if value is not None and count and not value.size % count:
                read[key] = value.reshape(-1, *rest)
    return read
