"""Where the inputs come from that int8 is calibrated and measured with, and what is known of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from caffecompat.data.annotations import BOX
from caffecompat.data.databases import open_database
from caffecompat.data.images import IMAGE_SUFFIXES, Image, find_files, read_image
from caffecompat.data.labelled import LabelledPictures, open_labelled
from caffecompat.data.lists import read_labelled
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.data.source import Floats
from caffecompat.data.stored import Stored, read_stored
from caffecompat.errors import FormatError, UsageError, context, quoted
from caffecompat.formats import paths

# Readers of a database touch these.
_LOCKS = frozenset(("lock.mdb", "LOCK", "LOG", "LOG.old"))

# The class of a picture; or its boxes, (N, 7) as `annotations.read_annotations` gives them, as they lie in the input;
# None where nothing is known.
Truth = int | Floats | None


class Sample(NamedTuple):
    """What a net is fed with for one item, each input a batch of one; and what is known of it."""

    inputs: dict[str, Tensor]
    truth: Truth = None


class Typical(ABC):
    """Items to calibrate and measure with.

    Attributes:
        classes: of how many folders the order says the classes; None if the classes are stated, or not known.
    """

    classes: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def read(self, index: int, record: Preprocessing) -> Sample:
        """One of them, a picture prepared by `record`.

        Raises:
            CaffeCompatError: it cannot be read.
        """

    @abstractmethod
    def stamp(self) -> str:
        """Another text if the items are others: a hash of values, or of the names, sizes and times of files."""


def open_typical(path: Path, names: Sequence[str]) -> Typical:
    """The pictures of a database, of a list, or of a folder.

    Args:
        path: the folder of an LMDB or LevelDB of Datums or AnnotatedDatums; a text that lists pictures, with labels or
            without; a folder of pictures, in which folders alone are those of classes; or a picture or a pattern.
        names: what the classes are called; see `open_labelled`.

    Raises:
        FormatError: it cannot be read, or holds no pictures.
    """
    if path.suffix == ".mdb" or any((path / name).exists() for name in ("data.mdb", "CURRENT")):
        return _Records(path.parent if path.suffix == ".mdb" else path)
    if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
        files, _, stated = read_labelled(path)
        if stated:
            return _Labelled(open_labelled(path))
        found = [paths.find(name, "picture", beside=str(path)) for name in files.names]
        return _Pictures(found)
    if path.is_dir() and _of_classes(path):
        return _Labelled(open_labelled(path, names=names))
    return _Pictures(find_files([path]))


def _of_classes(folder: Path) -> bool:
    """Whether it holds folders, and no pictures beside them."""
    inside = [one for one in folder.iterdir() if not one.name.startswith(".")]
    return any(one.is_dir() for one in inside) and not any(one.suffix.lower() in IMAGE_SUFFIXES for one in inside)


def _prepared(image: Image, record: Preprocessing) -> dict[str, Tensor]:
    return {record.input: torch.from_numpy(record.apply([image]))}


def _stamp_of(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise FormatError(f"cannot be read: {error.strerror or error}", file=file) from error
        digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class _Pictures(Typical):
    """Files of pictures."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int, record: Preprocessing) -> Sample:
        return Sample(_prepared(read_image(self._files[index]), record))

    def stamp(self) -> str:
        return _stamp_of(self._files)


class _Labelled(Typical):
    """Files of pictures with a class each."""

    def __init__(self, pictures: LabelledPictures) -> None:
        self._pictures = pictures
        self.classes = pictures.folders

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int, record: Preprocessing) -> Sample:
        picture = self._pictures.read(index)
        return Sample(_prepared(picture.image, record), picture.label)

    def stamp(self) -> str:
        return _stamp_of(self._pictures.files())


class _Records(Typical):
    """The records of a database."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)

    def __len__(self) -> int:
        return self._database.count()

    def read(self, index: int, record: Preprocessing) -> Sample:
        key, value = self._database.read(index)
        with context(file=f"{self._database.path}, record {key.decode(errors='backslashreplace')}"):
            stored = read_stored(value)
            values = stored.values()
            if values.dtype != np.uint8 or len(values) not in (1, 3):
                got = f"{values.dtype} of {len(values)} channels"
                raise FormatError(f"expected a picture of bytes with 1 or 3 channels, got {got}")
            image = np.ascontiguousarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0), np.uint8)
            inputs = _prepared(image, record)
            size = inputs[record.input].shape[2:]
            return Sample(inputs, _truth(stored, record, (image.shape[0], image.shape[1]), (size[0], size[1])))

    def stamp(self) -> str:
        return _stamp_of(sorted(file for file in self._database.path.iterdir() if file.name not in _LOCKS))


def _truth(stored: Stored, record: Preprocessing, size: tuple[int, int], net_size: tuple[int, int]) -> Truth:
    """What a record says of a picture of this (height, width), in an input of that."""
    if stored.boxes is None or not stored.typed:
        return stored.datum.label
    place = record.geometry(*size)
    scale = np.array([size[1] * place.scale_x, size[0] * place.scale_y] * 2)
    offset = np.array([place.offset_x, place.offset_y] * 2)
    rows: Floats = stored.boxes.copy()
    rows[:, BOX] = (rows[:, BOX] * scale + offset) / np.array([net_size[1], net_size[0]] * 2)
    return rows


class Arrays(Typical):
    """Inputs as they are.

    Args:
        batches: the inputs by name, all items of a batch stacked.
        labels: the class of each item.

    Raises:
        UsageError: the batches do not fit together, or the labels do not fit them.
    """

    def __init__(self, batches: Sequence[Mapping[str, Any]], labels: Sequence[int] | None) -> None:
        self._arrays = _stacked(batches)
        counts = {len(value) for value in self._arrays.values()}
        if len(counts) > 1:
            raise UsageError(f"the inputs to calibrate with have {sorted(counts)} items: expected as many of each")
        self._count = counts.pop() if counts else 0
        self._labels = None if labels is None else [int(label) for label in labels]
        if self._labels is not None and len(self._labels) != self._count:
            raise UsageError(f"expected a label for each of {self._count} items, got {len(self._labels)}")

    def __len__(self) -> int:
        return self._count

    def read(self, index: int, record: Preprocessing) -> Sample:
        """See `Typical.read`."""
        inputs = {name: value[index : index + 1] for name, value in self._arrays.items()}
        return Sample(inputs, None if self._labels is None else self._labels[index])

    def stamp(self) -> str:
        """See `Typical.stamp`."""
        digest = hashlib.sha256(repr(self._labels).encode())
        for name, value in sorted(self._arrays.items()):
            digest.update(f"{name}\0{tuple(value.shape)}\0".encode())
            digest.update(value.contiguous().numpy().data)
        return digest.hexdigest()


def _stacked(batches: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    arrays = {}
    for name in sorted({name for batch in batches for name in batch}):
        parts = [torch.as_tensor(batch[name]).float() for batch in batches if name in batch]
        if len(parts) < len(batches) or len({part.shape[1:] for part in parts}) > 1:
            raise UsageError(f"the batches to calibrate with differ in their input {quoted(name)}")
        arrays[name] = torch.cat(parts)
    return arrays
