"""Which sizes of a net's blobs vary with the number of images, and with the height and width of its pictures.

Nothing is derived layer by layer: the shapes of all blobs are computed for other inputs, and what differs varies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from caffecompat.errors import CaffeCompatError, UnsupportedError, UsageError
from caffecompat.graph.spec import BlobKey, Shape
from caffecompat.layers.data import DummyData
from caffecompat.layers.detection import DetectionOutput
from caffecompat.layers.proposal import Proposal, PythonProposal
from caffecompat.layers.selecting import Filter
from caffecompat.net import Net

# The sizes of a blob; None where more than one is possible.
Sizes = tuple[int | None, ...]
# Layers of which one size of the tops depends on values, and its axis.
_BY_VALUES = ((DetectionOutput, 2), (Filter, 0), (Proposal, 0), (PythonProposal, 0))


@dataclass(frozen=True)
class Axes:
    """What varies.

    Attributes:
        shapes: the sizes of every blob, None for those that vary.
        names: for each, what the sizes that vary are called: "batch", "height", "width", or None.
        batch: the number of images varies.
        inputs: shapes of the inputs to try the result with, by name: one for each way in which it varies.
    """

    shapes: dict[BlobKey, Sizes]
    names: dict[BlobKey, tuple[str | None, ...]]
    batch: bool
    inputs: list[dict[str, Shape]]


def fed(net: Net) -> list[BlobKey]:
    """The inputs of a net; DummyData makes its tops itself."""
    made = {key for layer in net.layers if isinstance(layer, DummyData) for key in layer.spec.tops}
    return [key for key in net.graph.inputs if key not in made]


def find_axes(net: Net, *, dynamic_batch: bool, dynamic_size: bool) -> Axes:
    """Find what varies.

    Args:
        net: the net.
        dynamic_batch: let the number of images vary, if the net allows.
        dynamic_size: let height and width vary.

    Raises:
        UnsupportedError: height and width are to vary and a layer does not allow it.
        UsageError: they are to vary, and the net has no input of pictures.
    """
    built = {key.name: net.blob_shapes[key] for key in fed(net)}
    tried = [built]
    batch = _more_images(net, built) if dynamic_batch else None
    if batch is not None:
        tried.append(batch)
    if dynamic_size:
        tried.append(_larger(net, built))
    found = [shapes_for(net, inputs) for inputs in tried]
    with suppress(CaffeCompatError):
        found.append(shapes_for(net, built, more_by_values=1))
    shapes = {
        key: tuple(
            size if all(other[key][axis] == size for other in found[1:]) else None for axis, size in enumerate(shape)
        )
        for key, shape in found[0].items()
    }
    for layer in net.layers:
        for cls, axis in _BY_VALUES:
            if isinstance(layer, cls):
                shapes.update((key, _open(shapes[key], axis)) for key in layer.spec.tops)
    names = {key: _names(key, found, tried, batch is not None) for key in shapes}
    return Axes(shapes, names, batch is not None, _trials(net, tried, batch, dynamic_size=dynamic_size))


def _trials(
    net: Net, tried: list[dict[str, Shape]], batch: dict[str, Shape] | None, *, dynamic_size: bool
) -> list[dict[str, Shape]]:
    """Inputs to run the result on: few images, and pictures of half the size, where the net takes them."""
    trials = list(tried)
    if batch is not None:
        built = tried[0]
        trials[1] = {
            name: shape if shape == built[name] else (1 if built[name][0] > 1 else 2, *shape[1:])
            for name, shape in batch.items()
        }
    if dynamic_size:
        halves = {name: (*s[:2], s[2] // 2, s[3] // 2) if len(s) == 4 else s for name, s in tried[0].items()}
        with suppress(CaffeCompatError):
            shapes_for(net, halves)
            trials[-1] = halves
    return trials


def _names(
    key: BlobKey, found: Sequence[Mapping[BlobKey, Shape]], tried: Sequence[Mapping[str, Shape]], batch: bool
) -> tuple[str | None, ...]:
    """What to call the sizes of a blob: as an input's, if they have been the same in all that was tried."""
    names: list[str | None] = [None] * len(found[0][key])
    first = next(iter(tried[0]), "")
    pictures = [name for name, shape in tried[0].items() if len(shape) == 4]
    known = [(first, 0, "batch")] if batch else []
    known += [(name, axis, what) for name in pictures[:1] for axis, what in ((2, "height"), (3, "width"))]
    for name, axis, what in known:
        sizes = [inputs[name][axis] for inputs in tried]
        varies = len(set(sizes)) > 1 and axis < len(names)
        if varies and [shapes[key][axis] for shapes in found[: len(tried)]] == sizes:
            names[axis] = what
    return tuple(names)


def _open(shape: Sizes, axis: int) -> Sizes:
    return (*shape[:axis], None, *shape[axis + 1 :])


def _more_images(net: Net, built: Mapping[str, Shape]) -> dict[str, Shape] | None:
    """Inputs of more images, or None if the net fixes how many they are.

    Tried are all inputs that have as many items as the first, then those of pictures alone.
    """
    if not built or not all(built.values()):
        return None
    count = next(iter(built.values()))[0]
    alike = [name for name, shape in built.items() if shape[0] == count]
    pictures = [name for name in alike if len(built[name]) == 4]
    for names in (alike, pictures):
        inputs = {name: (count + 1, *shape[1:]) if name in names else shape for name, shape in built.items()}
        with suppress(CaffeCompatError):
            shapes_for(net, inputs)
            return inputs if names else None
    return None


def _larger(net: Net, built: Mapping[str, Shape]) -> dict[str, Shape]:
    """Inputs of larger pictures: multiples, since some nets need their sizes divisible."""
    inputs = {name: (*s[:2], s[2] * 2, s[3] * 3) if len(s) == 4 else s for name, s in built.items()}
    if inputs == built:
        raise UsageError("the net has no input of pictures (N, C, H, W) whose size could vary")
    try:
        shapes_for(net, inputs)
    except CaffeCompatError as error:
        product = any(spec.name == error.layer and spec.type == "InnerProduct" for spec in net.graph.layers)
        way = "--recipe fc_to_conv makes convolutions of InnerProduct layers; or " if product else ""
        raise UnsupportedError(
            f"the net fixes the size of its input: {error.message}",
            file=error.file,
            line=error.line,
            layer=error.layer,
            hint=f"{way}fix the size: dynamic_size=False, or no --dynamic-size",
        ) from error
    return inputs


def shapes_for(net: Net, inputs: Mapping[str, Shape], *, more_by_values: int = 0) -> dict[BlobKey, Shape]:
    """The shape of every blob for inputs of these shapes.

    Args:
        net: the net.
        inputs: the shapes by name.
        more_by_values: how much larger than `Layer.shapes` says those sizes are that depend on values.

    Raises:
        CaffeCompatError: a layer refuses its bottoms.
    """
    shapes: dict[BlobKey, Shape] = {}
    for layer in net.layers:
        spec = layer.spec
        if spec.row.data:
            tops = tuple(inputs.get(key.name, net.blob_shapes[key]) for key in spec.tops)
        else:
            try:
                tops = layer.shapes(*(shapes[key] for key in spec.bottoms))
            except CaffeCompatError as error:
                spec.locate(error)
                raise
        for cls, axis in _BY_VALUES:
            if isinstance(layer, cls):
                tops = tuple((*top[:axis], top[axis] + more_by_values, *top[axis + 1 :]) for top in tops)
        shapes.update(zip(spec.tops, tops, strict=True))
    return shapes
