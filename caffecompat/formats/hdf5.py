"""Weights in HDF5 (`.caffemodel.h5`): the group "data" has a group for each layer, and that a dataset for each blob.

Source: Net::ToHDF5 and Net::CopyTrainedLayersFromHDF5. h5py is imported when it is needed: the extra `hdf5`.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from caffecompat.errors import (
    CaffeCompatError,
    CaffeCompatWarning,
    FormatError,
    UnsupportedError,
    UsageError,
    context,
    quoted,
)
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import MAX_AXES
from caffecompat.formats.weights import LayerWeights, RealArray, WeightBlob, Weights, real_blobs, real_diffs
from caffecompat.schema import caffe_pb2

MAX_LINKS = 200_000
# Weights hardly compress; a dataset that claims more than this many times its bytes is a trap.
MAX_COMPRESSION = 100
# Layer names with slashes become nested groups; no name has more parts.
MAX_DEPTH = 32

_BLOB_NAME = re.compile("0|[1-9][0-9]{0,3}")


def read_hdf5(path: str | os.PathLike[str]) -> Weights:
    """Read an HDF5 weight file; its layers come in alphabetical order and without types.

    Links that lead out of the file or around in it are refused, as are datasets that claim more than is stored.

    Raises:
        FormatError: it is no weight file, or it is broken.
        UnsupportedError: h5py is not installed.
    """
    h5py = import_h5py()
    with context(file=os.fspath(path)), hdf5_faults(), h5py.File(path, "r", locking=False) as file:
        size = os.stat(path).st_size
        return Weights(tuple(Reader(h5py, size).layers(_data(h5py, file))), os.fspath(path), hdf5=True)


def _data(h5py: Any, file: Any) -> Any:
    """The group that holds the layers."""
    is_link = file.get("data", getclass=True, getlink=True) is h5py.HardLink
    if is_link and isinstance(file["data"], h5py.Group):
        return file["data"]
    hint = "only Caffe's own .caffemodel.h5 files are read"
    if "history" in file:
        hint = "this is a solver state; the weights are in the .caffemodel.h5 of the same iteration"
    raise FormatError(f'expected the group "data", found {quoted(sorted(map(_text, file)))}', hint=hint)


class Reader:
    """Walks the groups of one file and counts what they take."""

    def __init__(self, h5py: Any, size: int) -> None:
        self.h5py = h5py
        self.size = size
        self.bytes_left = size
        self.links_left = MAX_LINKS
        self.seen: set[tuple[int, int]] = set()

    def layers(self, root: Any) -> Iterator[LayerWeights]:
        """The layers below a group, depth first; Caffe's own files have them all at the first level."""
        stack = [(root, ())]
        while stack:
            group, path = stack.pop()
            groups, datasets = self._members(group, path)
            if path and (datasets or not groups):
                with context(layer="/".join(path)):
                    yield self._layer("/".join(path), datasets)
            stack.extend(reversed(groups))

    def _members(self, group: Any, path: tuple[str, ...]) -> tuple[list[Any], dict[int, Any]]:
        """The groups in a group, with their paths, and the datasets by their numbers."""
        info = self.h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in self.seen or len(path) > MAX_DEPTH:
            raise FormatError(f'the group "{"/".join(path)}" is linked into itself or twice')
        self.seen.add((info.fileno, info.addr))
        groups, datasets = [], {}
        for name in sorted(group, key=_text):
            self.links_left -= 1
            if self.links_left < 0:
                raise FormatError(f"more than {MAX_LINKS} groups and datasets")
            shown = _text(name)
            where = "/".join((*path, shown))
            if group.get(name, getclass=True, getlink=True) is not self.h5py.HardLink:
                raise FormatError(f'"{where}" leads to another place or file', hint="Caffe writes no such links")
            member = group[name]
            if isinstance(member, self.h5py.Group):
                groups.append((member, (*path, shown)))
            elif isinstance(member, self.h5py.Dataset) and path and _BLOB_NAME.fullmatch(shown):
                datasets[int(shown)] = member
            else:
                raise FormatError(f'expected groups of datasets "0", "1", ..., found "{where}"')
        return groups, datasets

    def _layer(self, name: str, datasets: dict[int, Any]) -> LayerWeights:
        indices = tuple(sorted(datasets))
        blobs = tuple(WeightBlob(self.array(datasets[index], index)) for index in indices)
        return LayerWeights(name, "", blobs, () if indices == tuple(range(len(indices))) else indices)

    def array(self, dataset: Any, index: int) -> Any:
        """The dataset of a blob as float32, after checking that the file can hold it."""
        kind = dataset.id.get_type().get_class()
        if kind not in (self.h5py.h5t.FLOAT, self.h5py.h5t.INTEGER):
            raise FormatError(f"expected numbers in blob {index}, got {dataset.dtype}")
        if dataset.shape is None or len(dataset.shape) > MAX_AXES:
            raise FormatError(f"expected a blob of at most {MAX_AXES} axes as blob {index}, got {dataset.shape}")
        self.check(dataset, f"blob {index}")
        return np.asarray(dataset.astype(np.float32)[()], np.float32).reshape(dataset.shape)

    def check(self, dataset: Any, what: str, harmless: int = 0) -> None:
        """Refuse a dataset that lies elsewhere or claims more than the file can hold.

        Args:
            dataset: the dataset.
            what: what it is, for errors.
            harmless: so many bytes may be claimed whatever is stored.

        Raises:
            FormatError: it does; `what` names it.
        """
        if dataset.external or dataset.is_virtual:
            raise FormatError(f"the values of {what} lie in another file", hint="Caffe keeps them in one file")
        # A chunk is unpacked whole, however little of it the dataset takes.
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        claimed, stored = max(int(dataset.nbytes), chunk), int(dataset.id.get_storage_size())
        packed = dataset.chunks is not None and dataset.id.get_create_plist().get_nfilters() > 0
        self.bytes_left -= stored
        if self.bytes_left < 0 or claimed > max(harmless, stored * (MAX_COMPRESSION if packed else 1)):
            raise FormatError(
                f"{what} of shape {quoted(dataset.shape)} claims {claimed} bytes, {stored} are stored in a file "
                f"of {self.size}"
            )


def write_hdf5(
    path: str | os.PathLike[str],
    net: caffe_pb2.NetParameter,
    blobs: Sequence[Sequence[RealArray]],
    diffs: Sequence[Sequence[RealArray]] | None = None,
) -> None:
    """Write weights as Caffe's `snapshot_format: HDF5` does; only the names of the net's layers are stored.

    Args:
        path: the file; it is replaced as a whole.
        net: the net in V2.
        blobs: the blobs of each layer in the order of `net.layer`, of any shape; stored as float32.
        diffs: their gradients (`snapshot_diff`), each of its blob's shape, stored in the group "diff"; None stores
            none.

    Raises:
        UsageError: the arguments do not fit together, or two layers have one name.
        UnsupportedError: h5py is not installed, or HDF5 cannot hold a layer of some name.
        CaffeCompatError: the file cannot be written.
    """
    h5py = import_h5py()
    arrays = real_blobs(net, blobs)
    groups: dict[str, Sequence[Sequence[RealArray | None]]] = {"data": arrays}
    if diffs is not None:
        groups["diff"] = real_diffs(net, arrays, diffs)
    names = [layer.name for layer in net.layer]
    _check_names(names)
    if any("/" in name for name in names):
        warnings.warn(
            f"{os.fspath(path)}: layer names with / become nested groups, which the original Caffe does not read",
            CaffeCompatWarning,
            stacklevel=2,
        )
    with atomic_write(path) as target, context(file=os.fspath(path)), h5py.File(target, "w") as file:
        for kind, of_layers in groups.items():
            for name, own in zip(names, of_layers, strict=True):
                group = file.require_group(f"{kind}/{name}")
                for index, array in enumerate(own):
                    group.create_dataset(str(index), data=array, dtype="<f4")


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, RealArray]) -> None:
    """Write an HDF5 file of datasets.

    Args:
        path: the file; it is replaced as a whole.
        arrays: the datasets by name, of any shape; stored as float32.

    Raises:
        UnsupportedError: h5py is not installed.
        CaffeCompatError: the file cannot be written.
    """
    h5py = import_h5py()
    with atomic_write(path) as target, context(file=os.fspath(path)), h5py.File(target, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, dtype="<f4")


def _check_names(names: Sequence[str]) -> None:
    """Refuse layers that HDF5 cannot hold by their names."""
    known: set[str] = set()
    for name in names:
        if name in known:
            raise UsageError("two layers of one name: HDF5 holds one", layer=name, hint="write a .caffemodel")
        known.add(name)
    for name in names:
        parent, _, last = name.rpartition("/")
        # "conv/0" would stand where the blobs of a layer "conv" stand.
        blocked = last.isdigit() and parent in known
        if blocked or "\0" in name or not {"", "."}.isdisjoint(name.split("/")):
            raise UnsupportedError(f"HDF5 holds no layer of the name {quoted(name)}", hint="write a .caffemodel")


def _text(name: str | bytes) -> str:
    """A name as h5py gives it: bytes that are not UTF-8 come as surrogates, or all of them as bytes."""
    raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")


def import_h5py() -> Any:
    """The module h5py.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise UnsupportedError(
            "HDF5 needs h5py, which is not installed", hint="pip install 'caffecompat[hdf5]'"
        ) from error
    return h5py


@contextmanager
def hdf5_faults() -> Iterator[None]:
    """Make FormatErrors of what h5py raises for broken files: errors of many kinds, by where the damage is met."""
    try:
        yield
    except CaffeCompatError:
        raise
    except Exception as error:
        hint = "the file is damaged or incomplete"
        raise FormatError(f"broken HDF5: {quoted(str(error))}", hint=hint) from error
