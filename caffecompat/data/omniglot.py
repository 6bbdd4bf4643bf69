"""Omniglot's folders as classes: images_background and images_evaluation, of alphabets, of characters, of drawings."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from caffecompat.data.images import decode_image, read_encoded
from caffecompat.errors import FormatError
from caffecompat.schema import caffe_pb2

# What the folders' classes are for, as their makers split them.
PARTS = {"train": "images_background", "test": "images_evaluation"}


def characters(folder: Path) -> list[tuple[str, list[Path]]]:
    """The characters of a part, "Alphabet/character01", each with its drawings, in the order of their names.

    Raises:
        FormatError: there is no such folder, or it holds none.
    """
    try:
        found = [
            (f"{character.parent.name}/{character.name}", sorted(character.glob("*.png")))
            for character in sorted(folder.glob("*/character*"))
        ]
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", file=folder) from error
    kept = [(name, drawings) for name, drawings in found if drawings]
    if not kept:
        raise FormatError(
            "expected folders Alphabet/character01 with pictures (.png), got none",
            file=folder,
            hint="give the folder in which images_background.zip and images_evaluation.zip were unpacked",
        )
    return kept


def datums(drawing: Path, first_label: int, size: int, rotations: int) -> list[bytes]:
    """A drawing, grey, size x size, turned by 0, 90, ... degrees as so many classes from `first_label` on.

    Raises:
        FormatError: it cannot be read.
    """
    image = decode_image(read_encoded(drawing), drawing, grey=True)
    small = np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    made = []
    for turn in range(rotations):
        data = np.ascontiguousarray(np.rot90(small, turn)).tobytes()
        datum = caffe_pb2.Datum(channels=1, height=size, width=size, data=data, label=first_label + turn)
        made.append(datum.SerializeToString())
    return made
