"""What a weight file becomes: the layers' names, types and blobs, whatever its encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UsageError, quoted
from caffecompat.schema import caffe_pb2

# An array of floating-point numbers or integers, which is stored as float32.
RealArray = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class WeightBlob:
    """One blob of a layer.

    Attributes:
        array: float32; a view of the mapped file where the encoding allows it (then not always aligned).
        legacy: its shape is the four sizes num, channels, height, width of files before 2014, which equal
            a shorter shape if that is padded with ones on the left.
    """

    array: npt.NDArray[np.float32]
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """A layer of a weight file.

    Attributes:
        name: its name; bytes that are not UTF-8 stand as backslash escapes.
        type: today's name of its type, or "" where the file has none or one that is not known.
        blobs: the blobs that the file has.
        indices: the places of `blobs` among the layer's blobs where the file leaves some out, else (). Caffe's HDF5
            files leave out those that the layer shares with an earlier one.
    """

    name: str
    type: str
    blobs: tuple[WeightBlob, ...]
    indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Weights:
    """A weight file.

    Attributes:
        layers: every layer in the order of the file, those without blobs included; a name may come twice.
        file: its path, or None.
        hdf5: it came from HDF5. Where a net has several layers of one name, Caffe gives the weights to the
            first of them from a binary file and to the last of them from HDF5.
    """

    layers: tuple[LayerWeights, ...]
    file: str | None = None
    hdf5: bool = False


def real_blobs(net: caffe_pb2.NetParameter, blobs: Sequence[Sequence[RealArray]]) -> list[list[RealArray]]:
    """Check what is to be written: a net in V2, and for each of its layers a list of arrays of real numbers.

    Raises:
        UsageError: it is something else.
    """
    if len(net.layers):
        raise UsageError("expected a net in V2, got one in V1", hint="upgrade it first: caffecompat.formats.upgrade")
    if len(blobs) != len(net.layer):
        raise UsageError(f"expected blobs for each of {len(net.layer)} layers, got {len(blobs)}")
    arrays = [[np.asarray(blob) for blob in own] for own in blobs]
    for layer, own in zip(net.layer, arrays, strict=True):
        for index, array in enumerate(own):
            if array.dtype.kind not in "fiu":
                raise UsageError(
                    f"expected real numbers in blob {index}, got an array of {array.dtype}", layer=layer.name
                )
    return arrays


def real_diffs(
    net: caffe_pb2.NetParameter,
    blobs: Sequence[Sequence[RealArray]],
    diffs: Sequence[Sequence[RealArray]] | None,
) -> Sequence[Sequence[RealArray | None]]:
    """Check the gradients that are to be written beside blobs; for each blob its own, or None for all.

    Raises:
        UsageError: they are not as many and of the shapes of the blobs, or no arrays of real numbers.
    """
    if diffs is None:
        return [[None] * len(own) for own in blobs]
    arrays = real_blobs(net, diffs)
    for layer, own, gradients in zip(net.layer, blobs, arrays, strict=True):
        shapes, given = [blob.shape for blob in own], [gradient.shape for gradient in gradients]
        if shapes != given:
            raise UsageError(f"expected diffs of the shapes {quoted(shapes)}, got {quoted(given)}", layer=layer.name)
    return arrays
