"""Parameters that several layers, or several nets, have in common."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.errors import GraphError, WeightsError
from caffecompat.layers.base import Layer


def share_within(layers: Sequence[Layer]) -> None:
    """Let layers of one net that name the same `param` use the owner's values.

    Raises:
        ShapeError: the owner's blob has another shape, or with PERMISSIVE another number of values.
        GraphError: a layer states more `param`s than it has blobs.
    """
    for layer in layers:
        if len(layer.spec.params) > len(layer.blob_names):
            raise layer.error(
                f"states {len(layer.spec.params)} param entries, but has {len(layer.blob_names)} blobs",
                hint="take the last ones out",
                kind=GraphError,
            )
        for index, ref in enumerate(layer.spec.params):
            if ref.owner is None:
                continue
            owner, source = layers[ref.owner[0]], ref.owner[1]
            theirs, own = owner.blobs[source], layer.blobs[index]
            if theirs.shape != own.shape and not (ref.permissive and theirs.numel() == own.numel()):
                raise layer.error(
                    f'param "{ref.name}" has shape {tuple(own.shape)} here and {tuple(theirs.shape)} in layer '
                    f'"{owner.spec.name}", which owns it',
                    hint="give both the same shape, or as many values and share_mode: PERMISSIVE",
                )
            layer.share_blob(index, owner, source)


def share_between(targets: Sequence[Layer], sources: Sequence[Layer]) -> None:
    """Let the layers of one net use the parameters of another's layers of the same name.

    Raises:
        WeightsError: a layer of the same name has another number of blobs, or blobs of another shape.
    """
    by_name = {layer.spec.name: layer for layer in reversed(targets)}
    for source in sources:
        target = by_name.get(source.spec.name)
        if target is None:
            continue
        theirs = [tuple(blob.shape) for blob in source.blobs]
        own = [tuple(blob.shape) for blob in target.blobs]
        if theirs != own:
            raise target.error(
                f"cannot share: its blobs have shapes {own}, the other net's {theirs}", kind=WeightsError
            )
        for index, blob in enumerate(source.blobs):
            target.set_blob(index, blob)
