"""Weights to layers: matched by name as Caffe matches them, handed over without a copy where that is possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from caffecompat.errors import WeightsError
from caffecompat.formats.weights import LayerWeights, WeightBlob, Weights
from caffecompat.layers.base import Layer, Shape, meanings_of


@dataclass(frozen=True)
class Assigned:
    """What a weight file did to a net.

    Attributes:
        matched: names of the layers that took weights from it.
        unused: names of the file's layers that the net lacks.
    """

    matched: tuple[str, ...]
    unused: tuple[str, ...]


def assign(layers: Sequence[Layer], weights: Weights) -> Assigned:
    """Give layers the weights of a file; layers that the net lacks are passed over.

    Raises:
        WeightsError: a layer of the same name has another number of blobs, or blobs of another shape.
    """
    matched, unused = [], []
    for source, target in targets(layers, weights):
        if target is None:
            if source.blobs:
                unused.append(source.name)
            continue
        for index, blob in fitting(source, target, weights.file):
            target.give(index, tensor(blob, tuple(target.blobs[index].shape)))
        if source.blobs:
            matched.append(source.name)
    return Assigned(tuple(matched), tuple(unused))


def targets(layers: Sequence[Layer], weights: Weights) -> Iterator[tuple[LayerWeights, Layer | None]]:
    """Each layer of the file, with the layer of the net that takes it.

    Of several layers of one name Caffe takes the first for a binary file and the last for HDF5.
    """
    by_name: dict[str, Layer] = {}
    for layer in layers if weights.hdf5 else reversed(layers):
        by_name[layer.spec.name] = layer
    for source in weights.layers:
        yield source, by_name.get(source.name)


def fitting(source: LayerWeights, target: Layer, file: str | None) -> list[tuple[int, WeightBlob]]:
    """The blobs of a file that a layer takes, each with its place among the layer's blobs.

    A file may leave out the blobs that the layer shares with an earlier one, as Caffe's HDF5 files do.

    Raises:
        WeightsError: another number of blobs, or another shape; it names both.
    """
    count = len(target.blob_names)
    blobs = dict(zip(source.indices or range(len(source.blobs)), source.blobs, strict=True))
    missing = [index for index in range(count) if index not in blobs and target.spec.param(index).owner is None]
    if missing or max(blobs, default=-1) >= count or (len(blobs) < count and not source.indices and blobs):
        several = len(meanings_of(target.spec.type)) > 1
        raise target.error(
            f"expected {count} blobs, got {len(blobs)} from {file or 'the weights'}",
            hint=f"{target.spec.type} means different layers in different forks: caffecompat.load with the weights "
            f"chooses by the number of blobs where {target.spec.row.param} does not tell"
            if several
            else "the weights are of another net, or the layer differs in bias_term or type; "
            "rename the layer in the prototxt to leave its weights out",
            kind=WeightsError,
        )
    for index, blob in blobs.items():
        shape = tuple(target.blobs[index].shape)
        if not same_shape(blob, shape):
            raise target.error(
                f"expected shape {shape} for blob {index} ({target.blob_names[index]}), "
                f"got {blob.array.shape} from {file or 'the weights'}",
                hint="rename the layer in the prototxt to start it from its filler instead",
                kind=WeightsError,
            )
    return list(blobs.items())


def same_shape(blob: WeightBlob, shape: Shape) -> bool:
    """Whether a blob of a file has this shape; four legacy sizes equal it if they do padded with ones on the left."""
    if blob.array.shape == shape:
        return True
    return blob.legacy and len(shape) <= 4 and blob.array.shape == (1,) * (4 - len(shape)) + shape


def tensor(blob: WeightBlob, shape: Shape) -> Tensor:
    """The blob as a tensor of this shape, on the same memory."""
    return torch.from_numpy(np.reshape(blob.array, shape))
