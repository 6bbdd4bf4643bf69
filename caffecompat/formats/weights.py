"""What a weight file becomes: the layers' names, types and blobs, whatever its encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
    """A layer of a weight file; `type` is today's name of its type, or "" where the file has none."""

    name: str
    type: str
    blobs: tuple[WeightBlob, ...]


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
