"""Random inputs and parameters to try a model with."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.graph.spec import Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.inner_product import Embed
from caffecompat.layers.pooling import STOCHASTIC, Pooling
from caffecompat.layers.proposal import Proposal, PythonProposal
from caffecompat.layers.recurrent import LSTMUnit, Recurrent
from caffecompat.layers.roi import PSROIPooling, ROIPooling
from caffecompat.layers.selecting import BatchReindex
from caffecompat.layers.upsampling import MaxUnpool, UpsampleByMask
from caffecompat.net import Net

Array = npt.NDArray[Any]

# The deviation of a picture's values, from 0 to 255.
_PIXELS = 60


def random_inputs(
    net: Net, shapes: Mapping[str, Shape], random: np.random.Generator, *, pixels: bool
) -> dict[str, Array]:
    """Values for the inputs, by name.

    Args:
        net: the net.
        shapes: the shapes of the inputs.
        random: what draws.
        pixels: let a picture be about as large as the net's pictures; otherwise values are standard normal.

    Returns:
        float32. Where a layer reads numbers of places, items or rows, or sizes, there are such.
    """
    record = net.preprocessing
    inputs: dict[str, Array] = {}
    for name, shape in shapes.items():
        picture = pixels and len(shape) == 4 and name == record.input and record.channels != "none"
        deviation = np.float32(_PIXELS * abs(record.scale) if picture else 1.0)
        inputs[name] = np.asarray(random.standard_normal(shape, dtype=np.float32) * deviation)
    for layer in net.layers:
        for place, key in enumerate(layer.spec.bottoms):
            if key.name in inputs and key in net.graph.inputs:
                numbers = _numbers(layer, place, [shapes.get(bottom.name, ()) for bottom in layer.spec.bottoms], random)
                if numbers is not None:
                    inputs[key.name] = numbers.astype(np.float32).reshape(shapes[key.name])
    return inputs


def random_tensors(net: Net) -> dict[str, Tensor]:
    """Values for all inputs of the shapes that the net was built for, by name: the same each time; see above."""
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    drawn = random_inputs(net, shapes, np.random.default_rng(0), pixels=True)
    return {name: torch.from_numpy(value) for name, value in drawn.items()}


def draw_parameters(net: Net) -> None:
    """Let all parameters of a net be random, the same each time, each of a size at which it matters to the outputs.

    Weights keep the scale of what passes through (deviation (2 / fan-in) ** 0.5); factors and variances are positive.
    Its old parameters' memory is not written to.
    """
    random = np.random.default_rng(1)
    for layer in net.layers:
        for index, (name, blob) in enumerate(zip(layer.blob_names, layer.blobs, strict=True)):
            if layer.owner_of(index)[0] is layer:
                values = _drawn(name, tuple(blob.shape), random)
                layer.set_blob(index, torch.from_numpy(np.asarray(values, np.float32).reshape(blob.shape)))


def _drawn(name: str, shape: Shape, random: np.random.Generator) -> Array:
    fan_in = prod(shape[1:])
    if name in ("variance", "factor") or (name == "weight" and (len(shape) < 2 or fan_in == 1)):
        return random.uniform(0.5, 1.5, shape)
    values = np.asarray(random.standard_normal(shape, dtype=np.float32))
    values *= (2 / max(fan_in, 1)) ** 0.5 if len(shape) > 1 else 0.5
    return values


def _numbers(layer: Layer, place: int, shapes: list[Shape], random: np.random.Generator) -> Array | None:
    """What a layer reads at a bottom that is no plain value; None for a plain one."""
    shape = shapes[place]
    if isinstance(layer, Pooling) and layer.method == STOCHASTIC:
        return np.abs(random.standard_normal(shape))
    if isinstance(layer, Embed):
        return random.integers(0, layer.blobs[0].shape[0], shape)
    if place == 2 and isinstance(layer, (Proposal, PythonProposal)):
        return np.broadcast_to(np.array([600, 800, 1, 1][: prod(shape[1:])]), shape)
    if place == 1 and isinstance(layer, BatchReindex):
        return random.integers(0, max(shapes[0][0], 1) if shapes[0] else 1, shape)
    if place == 1 and isinstance(layer, (MaxUnpool, UpsampleByMask)):
        return np.broadcast_to(np.arange(prod(shape[2:])), (prod(shape[:2]), prod(shape[2:])))
    if place == 1 and isinstance(layer, (ROIPooling, PSROIPooling)):
        corners = random.integers(0, 100, (shape[0], 2))
        return np.concatenate([np.zeros((shape[0], 1)), corners, corners + random.integers(0, 100, (shape[0], 2))], 1)
    if (place == 1 and isinstance(layer, Recurrent)) or (place == 2 and isinstance(layer, LSTMUnit)):
        return random.integers(0, 2, shape)
    return None
