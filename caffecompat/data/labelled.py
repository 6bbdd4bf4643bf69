"""Pictures with a class each, to be scored: in a database, in a list, or in a folder with a folder for each class."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from caffecompat.data.databases import open_database
from caffecompat.data.datum import read_datum
from caffecompat.data.images import IMAGE_SUFFIXES, Image, read_image
from caffecompat.data.lists import FileList, read_labelled
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, FormatError, context, did_you_mean, quoted, shown
from caffecompat.formats import paths

# So many folders are named in an error.
_SHOWN = 5


class LabelledPicture(NamedTuple):
    """A picture with its class.

    Attributes:
        name: what it is called: its file, or its key.
        image: uint8 (height, width) or (height, width, 3), B, G, R.
        label: its class.
    """

    name: str
    image: Image
    label: int


class LabelledPictures(ABC):
    """Pictures with a class each; any thread may read them.

    Attributes:
        folders: of how many folders the order says the classes; None if the classes are stated.
    """

    folders: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def read(self, index: int) -> LabelledPicture:
        """One of them.

        Raises:
            FormatError: it cannot be read.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that hold the pictures and say the classes.

        Raises:
            FormatError: one is not there.
        """


def open_labelled(path: Path, root: Path | None = None, names: Sequence[str] = ()) -> LabelledPictures:
    """The pictures of a database, of a list of lines `name label`, or of a folder with a folder for each class.

    Args:
        path: the database's folder, the list, or the folder of folders.
        root: where the names of a list start; None is the working directory.
        names: what the classes are called. If all folders of classes are called so, these say their numbers; else the
            order of the folders' names does; a `CaffeCompatWarning` says so.

    Raises:
        FormatError: it is none of these, or some folders are called as classes are, and others are not.
    """
    if path.suffix == ".mdb" or any((path / file).exists() for file in ("data.mdb", "CURRENT")):
        return _Records(path)
    if not path.is_dir():
        files, labels, stated = read_labelled(path)
        if not stated:
            raise FormatError("the list states no labels", file=path, hint="each line is a name, a space, and a label")
        return _Listed(files, labels, root)
    return _Folders(path, names)


class _Records(LabelledPictures):
    """Those of a database of Datums."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path)
        self._count = self._database.count()

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> LabelledPicture:
        key, value = self._database.read(index)
        name = key.decode("utf-8", "backslashreplace")
        with context(file=f"{self._database.path}, record {shown(name)}"):
            datum = read_datum(value)
            if datum.encoded:
                return LabelledPicture(name, datum.picture(cv2.IMREAD_COLOR), datum.label)
            values = datum.values()
            if values.dtype != np.uint8 or len(values) not in (1, 3):
                got = f"{values.dtype} of {len(values)} channels"
                raise FormatError(f"expected a picture of bytes with 1 or 3 channels, got {got}")
            return LabelledPicture(name, np.ascontiguousarray(values.transpose(1, 2, 0), np.uint8), datum.label)

    def files(self) -> list[Path]:
        return sorted(file for file in self._database.path.iterdir() if file.is_file())


class _Listed(LabelledPictures):
    """Those of a list."""

    def __init__(self, files: FileList, labels: array[int], root: Path | None) -> None:
        self._files = files
        self._labels = labels
        self._root = root

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> LabelledPicture:
        name = self._files.names[index]
        try:
            image = read_image(self._path(name))
        except CaffeCompatError as error:
            place = "" if error.file is None else f"{error.file}: "
            line = self._files.lines[index]
            raise FormatError(place + error.message, file=self._files.path, line=line, hint=error.hint) from error
        return LabelledPicture(name, image, self._labels[index])

    def files(self) -> list[Path]:
        return [self._files.path, *map(self._path, self._files.names)]

    def _path(self, name: str) -> Path:
        return paths.find(name, "picture", root=self._root, beside=str(self._files.path))


class _Folders(LabelledPictures):
    """Those of a folder with a folder for each class."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
        if not folders:
            hint = "a database, a list of lines `name label`, or a folder with a folder of pictures for each class"
            raise FormatError("expected pictures with classes, got a folder without folders", file=path, hint=hint)
        known = {name: label for label, name in enumerate(names) if name}
        named = _named(path, [folder.name for folder in folders], known)
        self.folders = None if named else len(folders)
        self._items = [
            (file, known[folder.name] if named else order)
            for order, folder in enumerate(folders)
            for file in sorted(folder.rglob("*"))
            if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
        ]
        if not self._items:
            raise FormatError("its folders hold no pictures", file=path)

    def __len__(self) -> int:
        return len(self._items)

    def read(self, index: int) -> LabelledPicture:
        file, label = self._items[index]
        return LabelledPicture(str(file), read_image(file), label)

    def files(self) -> list[Path]:
        return [file for file, _ in self._items]


def _named(path: Path, folders: Sequence[str], known: Collection[str]) -> bool:
    """Whether the folders of classes are called as the classes are; if none is, a warning says what counts instead.

    Raises:
        FormatError: some are and some are not: the order of all would make other classes of those that are.
    """
    unknown = [name for name in folders if name not in known]
    if unknown and len(unknown) < len(folders):
        shown_names = ", ".join(map(quoted, unknown[:_SHOWN])) + (", ..." if len(unknown) > _SHOWN else "")
        raise FormatError(
            f"{len(unknown)} of {len(folders)} folders of classes are not among the labels: {shown_names}",
            file=path,
            hint=did_you_mean(unknown[0], known) or "call each folder as the labels call its class",
        )
    if unknown and known:
        text = f"{path}: no folder is called as a label is, such as {quoted(unknown[0])}: their order says the classes"
        warnings.warn(text, CaffeCompatWarning, stacklevel=4)
    return not unknown
