"""`.prototxt`, `.caffemodel` and `.caffemodel.h5`: the net and its parameters for Caffe, in today's form (V2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from caffecompat.formats import atomic_write, write_caffemodel, write_hdf5, write_text
from caffecompat.net import Net
from caffecompat.net.saving import net_blobs, net_message


def export_prototxt(net: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the net's graph as text; the metadata are comments at the top, each `# name: value`, on one line if it is.

    Of a text of several lines each is a comment.
    """
    unknown = [
        replace(field, path=("layer", spec.index, *field.path[2:]))
        for spec in net.graph.layers
        for field in spec.unknown
    ]
    lines = [line for name, value in metadata.items() for line in f"{name}: {value}".splitlines()]
    comments = "".join(f"# {line}\n" for line in lines)
    with atomic_write(path) as file:
        file.write(comments.encode())
        file.write(write_text(net_message(net), unknown).encode())


def export_caffemodel(net: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the net and its parameters as the original Caffe's snapshots; the format has no place for metadata."""
    write_caffemodel(path, net_message(net), net_blobs(net))


def export_hdf5(net: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the parameters as Caffe's HDF5 snapshots (needs h5py); the format has no place for metadata."""
    write_hdf5(path, net_message(net), net_blobs(net))
