"""`caffecompat upgrade`: old prototxts and weights in today's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffecompat.cli.errors import tell

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from caffecompat.formats import LayerWeights, ParsedNet, ParsedSolver, WeightBlob

HEAD = 4096
CONTROL = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")


@click.command("upgrade")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def command(old: Path, new: Path) -> None:
    """Write OLD, a net, a solver or weights of any age, as NEW in today's form (V2).

    A prototxt's comments are not kept; fields that Caffe's schema does not know are. Of a weight file only the layers'
    names, types and weights are carried over.
    """
    from caffecompat.cli.files import keep_inputs, tell_written

    keep_inputs(new, [old])
    notes = _upgrade_weights(old, new) if _is_binary(old) else _upgrade_text(old, new)
    for note in notes or ["it is in today's form already"]:
        tell(f"{old}: {note}")
    tell_written(new)


def _is_binary(path: Path) -> bool:
    """Whether a file is no text: every weight file has control characters near its start."""
    from caffecompat.errors import FormatError

    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", file=path) from error
    return not CONTROL.isdisjoint(head) and not head.startswith((b"\xff\xfe", b"\xfe\xff"))


def _upgrade_text(old: Path, new: Path) -> list[str]:
    from caffecompat.formats import atomic_write, upgrade_net, upgrade_notes, upgrade_solver, write_text
    from caffecompat.formats.either import read_net_or_solver

    parsed = read_net_or_solver(old)
    upgraded = upgrade_solver(parsed) if _is_solver(parsed) else upgrade_net(parsed)  # type: ignore[arg-type]
    with atomic_write(new) as file:
        file.write(write_text(upgraded.message, upgraded.unknown).encode())
    return upgrade_notes(parsed)


def _is_solver(parsed: ParsedNet | ParsedSolver) -> bool:
    return parsed.message.DESCRIPTOR.name == "SolverParameter"


def _upgrade_weights(old: Path, new: Path) -> list[str]:
    from caffecompat.formats import read_weights, write_caffemodel
    from caffecompat.schema import caffe_pb2

    weights = read_weights(old)
    net = caffe_pb2.NetParameter()
    for layer in weights.layers:
        net.layer.add(name=layer.name, type=layer.type)
    write_caffemodel(new, net, [_blobs(layer) for layer in weights.layers])
    legacy = sum(blob.legacy for layer in weights.layers for blob in layer.blobs)
    notes = ["HDF5 became a binary file"] if weights.hdf5 else []
    return notes + ([f"{legacy} blobs of four legacy sizes got today's shapes"] if legacy else [])


def _blobs(layer: LayerWeights) -> list[npt.NDArray[np.float32]]:
    return [_today(layer, index, blob) for index, blob in enumerate(layer.blobs)]


def _today(layer: LayerWeights, index: int, blob: WeightBlob) -> npt.NDArray[np.float32]:
    """The blob in the shape that today's layers have.

    Of the layers that legacy files know, convolutions have weights of four axes and inner products of two; what
    follows the weights is a bias of one axis.
    """
    if not blob.legacy or blob.array.ndim != 4 or not layer.type:
        return blob.array
    if index > 0:
        return blob.array.reshape(-1)
    return blob.array.reshape(blob.array.shape[2:]) if layer.type == "InnerProduct" else blob.array
