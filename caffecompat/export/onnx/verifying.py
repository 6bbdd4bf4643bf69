"""What ONNX Runtime makes of an exported model, compared with the net.

Layers that choose (DetectionOutput, ArgMax, ...) turn a difference of 1e-7 into another choice where two values are
nearly equal, and Softmax of large values makes it larger. So the bottoms of these layers are compared, like outputs;
then the net's own layer is given ONNX Runtime's bottoms, and must come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, quoted, shown
from caffecompat.export.comparing import chooses
from caffecompat.export.onnx.axes import Axes, fed
from caffecompat.export.onnx.model import Model
from caffecompat.export.onnx.sampling import random_inputs
from caffecompat.export.onnx.values import Array
from caffecompat.graph.spec import BlobKey, Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.recurrent import Recurrent
from caffecompat.layers.roi import ROIPooling
from caffecompat.layers.softmax import Softmax
from caffecompat.net import Net

TOLERANCE = 1e-4
# float16 has 11 bits: 5e-4 for each rounding, of which a deep net has many.
HALF_TOLERANCE = 5e-2
_HINT = "--no-verify (verify=False) writes it nevertheless"


@dataclass(frozen=True)
class Comparison:
    """A blob of the model beside that of the net.

    Attributes:
        name: its name.
        shape: its shape.
        difference: the largest difference, as a part of the largest magnitude of the net's.
        allowed: how much is allowed.
        given: it is the top of a layer that got the same bottoms in both.
    """

    name: str
    shape: Shape
    difference: float
    allowed: float
    given: bool

    @property
    def holds(self) -> bool:
        """Whether it is near enough."""
        return self.difference <= self.allowed

    def __str__(self) -> str:
        same = ", from the same values," if self.given else ""
        return f"{shown(self.name)}{same} differs by {self.difference:.1e} of its largest magnitude"


def check(path: Path) -> None:
    """Run onnx's checker, shape inference included.

    Raises:
        CaffeCompatError: it refuses the model.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CaffeCompatError(f"onnx's checker refuses the model: {reason}", file=path.name) from error


def runtime() -> Any | None:
    """The module onnxruntime, or None if it is not installed."""
    with suppress(ImportError):
        import onnxruntime

        return onnxruntime
    return None


def compare(net: Net, path: Path, model: Model, axes: Axes) -> list[Comparison] | None:
    """Compare the model with the net on random inputs, one for each way in which they vary.

    Args:
        net: the net, in evaluation.
        path: where the model lies.
        model: what was written there.
        axes: what varies.

    Returns:
        The outputs, and what sensitive layers have read; of each the worst. None without onnxruntime.

    Raises:
        CaffeCompatError: ONNX Runtime refuses the model, or an output is not the net's.
    """
    module = runtime()
    if module is None:
        return None
    session = Session(module, path, model, watched(net, model))
    program = f"ONNX Runtime {module.__version__}"
    return compare_with(net, model, axes, session.run, program, half=model.half)


def watched(net: Net, model: Model) -> list[str]:
    """The names of the values that sensitive layers read: they are compared besides the outputs."""
    return [model.names[key] for layer in net.layers if _is_sensitive(layer) for key in layer.spec.bottoms]


def compare_with(
    net: Net,
    model: Model,
    axes: Axes,
    run: Callable[[Mapping[str, Array]], Mapping[str, Array]],
    program: str,
    *,
    half: bool,
) -> list[Comparison]:
    """Compare what a program makes of the model with the net; see `compare`.

    Args:
        net: the net, in evaluation.
        model: what the program was given.
        axes: what varies.
        run: the program: the outputs, and those of `watched` that it has, by name.
        program: its name and version.
        half: it has float16 weights.

    Raises:
        CaffeCompatError: an output is not the net's.
    """
    worst: dict[str, Comparison] = {}
    random = np.random.default_rng(0)
    for shapes, pixels in zip(axes.inputs, cycle((True, False)), strict=False):
        inputs = random_inputs(net, shapes, random, pixels=pixels)
        for found in _compared(net, inputs, run(inputs), model, half=half):
            before = worst.get(found.name)
            if before is None or not found.difference <= before.difference:
                worst[found.name] = found
    for found in worst.values():
        if not found.holds:
            raise CaffeCompatError(
                f"the model is not the net: blob {quoted(found.name)} differs by {found.difference:.1e} of its "
                f"largest magnitude in {program}; {found.allowed:.0e} is allowed",
                hint=_HINT + ("; float16 may not hold the net's values" if half else ""),
            )
    return list(worst.values())


def _is_sensitive(layer: Layer) -> bool:
    # Which value a window of ROIPooling holds hangs on its corners, and Softmax makes differences larger.
    return chooses(layer) or isinstance(layer, (ROIPooling, Softmax))


class Session:
    """The model in ONNX Runtime, with the blobs besides that are to be watched."""

    def __init__(self, module: Any, path: Path, model: Model, watched: list[str]) -> None:
        outputs = {value.name for value in model.outputs}
        fed = {value.name for value in model.inputs}
        self._inputs = fed
        extra = [name for name in dict.fromkeys(watched) if name not in outputs | fed]
        options = module.SessionOptions()
        options.log_severity_level = 3
        source: str | bytes = str(path)
        try:
            if extra:
                source = _with_outputs(path, extra)
            self._session = module.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refused(error) from error
        self.names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        fed = {name: value for name, value in inputs.items() if name in self._inputs}
        try:
            return dict(zip(self.names, self._session.run(None, fed), strict=True))
        except Exception as error:
            raise _refused(error) from error


def _refused(error: Exception) -> CaffeCompatError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return CaffeCompatError(f"ONNX Runtime refuses the model: {reason}", hint=_HINT)


def _with_outputs(path: Path, names: list[str]) -> str:
    """The model beside itself with further outputs; its file goes with the folder."""
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    watched = path.with_name("watched.onnx")
    watched.write_bytes(proto.SerializeToString())
    return str(watched)


class _Watch:
    """Hooks that compare the bottoms of sensitive layers, and hand them those of the model."""

    def __init__(self, found: Mapping[BlobKey, Array], half: bool) -> None:
        self.found = found
        self.half = half
        self.comparisons: list[Comparison] = []

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not _is_sensitive(layer):
            return bottoms
        handed = []
        for key, bottom in zip(layer.spec.bottoms, bottoms, strict=True):
            value = self.found.get(key)
            if value is None:
                handed.append(bottom)
                continue
            self.comparisons.append(_comparison(key, value, bottom, half=self.half))
            handed.append(torch.from_numpy(value.astype(np.float32)).to(bottom.dtype))
        return tuple(handed)

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return tops


def _compared(
    net: Net, inputs: Mapping[str, Array], found: Mapping[str, Array], model: Model, *, half: bool
) -> list[Comparison]:
    hooks = _Watch({key: found[name] for key, name in model.names.items() if name in found}, half)
    env = {key: torch.from_numpy(inputs[key.name]) for key in fed(net)}
    for layer in net.layers:
        if isinstance(layer, Recurrent):
            layer.forget()
    with torch.no_grad():
        net.run(env, hooks=hooks, keep=frozenset(net.graph.outputs))
    given = {key for layer in net.layers if _is_sensitive(layer) for key in layer.spec.tops}
    outputs = [key for key in net.graph.outputs if key in hooks.found]
    return [
        *hooks.comparisons,
        *(_comparison(key, hooks.found[key], env[key], given=key in given, half=half) for key in outputs),
    ]


def _comparison(key: BlobKey, found: Array, ours: Tensor, *, given: bool = False, half: bool = False) -> Comparison:
    allowed = HALF_TOLERANCE if half and not given else TOLERANCE
    wanted = ours.detach().cpu().float().numpy()
    return Comparison(key.name, tuple(wanted.shape), difference(found, wanted), allowed, given)


def difference(found: Array, wanted: Array) -> float:
    """The largest difference as a part of the largest magnitude; infinite for another shape or other nans."""
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    odd = ~np.isfinite(wanted)
    if (odd != ~np.isfinite(found)).any() or not np.array_equal(found[odd], wanted[odd], equal_nan=True):
        return float("inf")
    largest = np.abs(wanted[~odd]).max(initial=0.0)
    apart = np.abs(found.astype(np.float64)[~odd] - wanted[~odd]).max(initial=0.0)
    return float(apart / largest) if largest else float(apart)
