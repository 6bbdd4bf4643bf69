"""A folder of pictures and videos that a command writes, one name for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from caffecompat.cli.errors import tell
from caffecompat.data.images import Image, Item, write_image
from caffecompat.data.png import Colour, write_indexed
from caffecompat.errors import CaffeCompatError, UsageError


class Folder:
    """Writes pictures named after those they were made from; of two equal names the second gets a number.

    Args:
        path: the folder; it is made if it is not there.
        inputs: the files that are read, which are never overwritten.

    Raises:
        CaffeCompatError: the folder cannot be made.
    """

    def __init__(self, path: Path, inputs: Sequence[Path]) -> None:
        self._path = path
        self._inputs = {file.resolve() for file in inputs}
        self._used: set[str] = set()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaffeCompatError(f"cannot make the folder: {error.strerror or error}", file=path) from error

    def write(self, item: Item, picture: Image, ending: str = "") -> Path:
        """Write a picture as PNG; its path.

        Args:
            item: what it was made from.
            picture: B, G, R or grey, uint8.
            ending: what the name gets between its stem and its suffix.
        """
        path = self.path(item, ending)
        write_image(path, picture)
        return path

    def write_labels(self, item: Item, labels: npt.NDArray[np.integer], palette: Sequence[Colour]) -> Path:
        """Write class numbers as an indexed PNG; its path."""
        path = self.path(item, "")
        write_indexed(path, labels, palette)
        return path

    def path(self, item: Item, ending: str = "") -> Path:
        """The path for a picture made from `item`, given out once.

        Raises:
            UsageError: it is a file that the command reads.
        """
        return self.named(f"{item.stem}{ending}", ".png")

    def named(self, stem: str, suffix: str) -> Path:
        """The path of a file in the folder, given out once.

        Raises:
            UsageError: it is a file that the command reads.
        """
        name, number = stem, 2
        while name in self._used:
            name = f"{stem}-{number}"
            number += 1
        self._used.add(name)
        path = self._path / f"{name}{suffix}"
        if path.resolve() in self._inputs:
            raise UsageError(f"{path} is an input of this command", hint="write to another folder")
        return path

    def tell_written(self) -> None:
        """Say on stderr how many files were written."""
        count = len(self._used)
        tell(f"wrote {count} {'file' if count == 1 else 'files'} into {self._path}")
