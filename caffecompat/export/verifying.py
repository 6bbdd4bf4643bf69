"""What another program makes of an exported net, compared with the net.

Layers that choose (DetectionOutput, ArgMax, ...) turn a difference of 1e-7 into another choice where two values are
nearly equal, and Softmax of large values makes it larger. So the bottoms of these layers are compared, like outputs;
then the net's own layer is given the other program's bottoms, and must come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, quoted, shown
from caffecompat.export.axes import fed
from caffecompat.export.comparing import difference, is_sensitive
from caffecompat.export.sampling import Array, random_inputs
from caffecompat.graph.spec import BlobKey, Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.recurrent import Recurrent
from caffecompat.net import Net

TOLERANCE = 1e-4
# float16 has 11 bits: 5e-4 for each rounding, of which a deep net has many.
HALF_TOLERANCE = 5e-2
HINT = "--no-verify (verify=False) writes it nevertheless"


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


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        files: the files written.
        varies: whether the number of images may vary.
        comparisons: the outputs compared with the net's; None if they were not.
    """

    files: list[Path]
    varies: bool
    comparisons: list[Comparison] | None


def watched(net: Net) -> list[BlobKey]:
    """What sensitive layers read: it is compared besides the outputs."""
    return [key for layer in net.layers if is_sensitive(layer) for key in layer.spec.bottoms]


def compare_with(
    net: Net,
    trials: Sequence[Mapping[str, Shape]],
    run: Callable[[Mapping[str, Array]], Mapping[BlobKey, Array]],
    program: str,
    *,
    allowed: float = TOLERANCE,
) -> list[Comparison]:
    """Compare what a program makes of a net with the net, on random inputs.

    Args:
        net: the net, in evaluation.
        trials: shapes of the inputs by name, for each pass.
        run: the program: the outputs, and those of `watched` that it knows.
        program: its name and version.
        allowed: the largest difference, as a part of the largest magnitude.

    Returns:
        The outputs, and what sensitive layers have read; of each the worst.

    Raises:
        CaffeCompatError: an output is not the net's.
    """
    passes = drawn(net, trials)
    return compare_passes(net, passes, map(run, passes), program, allowed=allowed)


def drawn(net: Net, trials: Sequence[Mapping[str, Shape]]) -> list[dict[str, Array]]:
    """Random inputs of these shapes: the first as large as the net's pictures may be, the next normal, and so on."""
    random = np.random.default_rng(0)
    return [
        random_inputs(net, shapes, random, pixels=pixels)
        for shapes, pixels in zip(trials, cycle((True, False)), strict=False)
    ]


def compare_passes(
    net: Net,
    passes: Sequence[Mapping[str, Array]],
    computed: Iterable[Mapping[BlobKey, Array]],
    program: str,
    *,
    allowed: float,
    by_item: Collection[BlobKey] = (),
) -> list[Comparison]:
    """Compare what a program computed in each pass with the net; see `compare_with`.

    Of the blobs in `by_item` each item, along the first axis, is held against its own largest magnitude.
    """
    worst: dict[str, Comparison] = {}
    for inputs, values in zip(passes, computed, strict=True):
        for found in _compared(net, inputs, values, allowed, by_item):
            before = worst.get(found.name)
            if before is None or not found.difference <= before.difference:
                worst[found.name] = found
    for found in worst.values():
        if not found.holds:
            raise CaffeCompatError(
                f"the model is not the net: blob {quoted(found.name)} differs by {found.difference:.1e} of its "
                f"largest magnitude in {program}; {found.allowed:.0e} is allowed",
                hint=HINT + ("; float16 may not hold the net's values" if allowed == HALF_TOLERANCE else ""),
            )
    return list(worst.values())


class _Watch:
    """Hooks that compare the bottoms of sensitive layers, and hand them those of the other program."""

    def __init__(self, found: Mapping[BlobKey, Array], allowed: float, by_item: Collection[BlobKey]) -> None:
        self.found = found
        self.allowed = allowed
        self.by_item = by_item
        self.comparisons: list[Comparison] = []

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not is_sensitive(layer):
            return bottoms
        handed = []
        for key, bottom in zip(layer.spec.bottoms, bottoms, strict=True):
            value = self.found.get(key)
            if value is None:
                handed.append(bottom)
                continue
            self.comparisons.append(_comparison(key, value, bottom, self.allowed, by_item=key in self.by_item))
            handed.append(torch.from_numpy(value.astype(np.float32)).to(bottom.dtype))
        return tuple(handed)

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return tops


def _compared(
    net: Net,
    inputs: Mapping[str, Array],
    found: Mapping[BlobKey, Array],
    allowed: float,
    by_item: Collection[BlobKey],
) -> list[Comparison]:
    hooks = _Watch(found, allowed, by_item)
    env = {key: torch.from_numpy(inputs[key.name]) for key in fed(net)}
    for layer in net.layers:
        if isinstance(layer, Recurrent):
            layer.forget()
    with torch.no_grad():
        net.run(env, hooks=hooks, keep=frozenset(net.graph.outputs))
    handed = {key for layer in net.layers if is_sensitive(layer) for key in layer.spec.tops}
    outputs = [key for key in net.graph.outputs if key in found]
    return [
        *hooks.comparisons,
        *(
            _comparison(
                key,
                found[key],
                env[key],
                min(allowed, TOLERANCE) if key in handed else allowed,
                given=key in handed,
                by_item=key in by_item,
            )
            for key in outputs
        ),
    ]


def _comparison(
    key: BlobKey, found: Array, ours: Tensor, allowed: float, *, given: bool = False, by_item: bool = False
) -> Comparison:
    wanted, theirs = ours.detach().cpu().float(), torch.from_numpy(found.astype(np.float32))
    if by_item and wanted.shape == theirs.shape and len(wanted):
        apart = max(difference(one, other) for one, other in zip(theirs, wanted, strict=True))
    else:
        apart = difference(theirs, wanted)
    return Comparison(key.name, tuple(wanted.shape), apart, allowed, given)
