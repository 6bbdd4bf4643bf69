"""Files of detections, as the evaluations of VOC, COCO and ILSVRC take them: what `save_output_param` writes.

Source of the rules: detection_output_layer.cpp of the SSD branch. Boxes are in pixels of the image, from 0, rounded to
hundredths. VOC has a file for each class, of lines `image score xmin ymin xmax ymax`; ILSVRC one file, of lines
`image label score xmin ymin xmax ymax`; both cut the corner and the sides to integers. COCO has one JSON, with boxes as
corner, width and height, where names that look like numbers are numbers. Otherwise than in the original that JSON is
always valid: it leaves scores below 1e-4 between quotation marks, and takes the quotation marks off 007.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.detection.name_sizes import NameSizes
from caffecompat.detection.placement import boxes_in_image
from caffecompat.errors import CaffeCompatError, UsageError, quoted
from caffecompat.formats import atomic_write
from caffecompat.schema import caffe_pb2

Floats = npt.NDArray[np.float32]
FORMATS = ("VOC", "COCO", "ILSVRC")
MAX_NAME = 200
# Of a row of DetectionOutput: the label, the score, where the box begins; the image stands before them.
LABEL, SCORE, BOX = 1, 2, 3
_JSON_VALUE = re.compile(r"null|true|false|-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_COCO_ITEM = """        {{
            "image_id": {},
            "category_id": {},
            "bbox": [
                {:.9g},
                {:.9g},
                {:.9g},
                {:.9g}
            ],
            "score": {:.9g}
        }}"""


@dataclass(frozen=True)
class Target:
    """Where files of results go, and what they call things.

    Attributes:
        folder: the folder.
        prefix: how the names of the files begin.
        format: "VOC", "COCO" or "ILSVRC".
        categories: label -> name, of the classes that are objects.
        images: the images of the database.
        round: after so many of them the files are written, and the next round begins.
        resize: how the images became the net's input, if not by plain warping.
    """

    folder: Path
    prefix: str
    format: str
    categories: Mapping[int, str]
    images: NameSizes
    round: int
    resize: caffe_pb2.ResizeParameter | None = None

    def file(self, category: str = "") -> Path:
        """The file of a class (VOC), or of all.

        Raises:
            UsageError: the name would be no name of a file in the folder.
        """
        name = f"{self.prefix}{category}{'.json' if self.format == 'COCO' else '.txt'}"
        if len(name) > MAX_NAME or not name.isprintable() or any(slash in name for slash in "/\\"):
            raise UsageError(
                f"expected output_name_prefix and the names of classes to make names of files, got {quoted(name)}",
                hint=f"a name has no slashes and at most {MAX_NAME} letters; folders belong in output_directory",
            )
        return self.folder / name

    def files(self) -> list[Path]:
        """All files of a round.

        Raises:
            UsageError: names that are none, or two classes of one name.
        """
        if self.format != "VOC":
            return [self.file()]
        paths = [self.file(category) for category in self.categories.values()]
        twice = [path for index, path in enumerate(paths) if path in paths[:index]]
        if twice:
            raise UsageError(f"two classes of the label map have the file {quoted(twice[0].name)}")
        return paths


class ResultFiles:
    """Gathers detections, image by image, and writes the files of each round when it is complete.

    Args:
        target: where to, and how.

    Raises:
        CaffeCompatError: the folder is a file, or classes have names that cannot be names of files.
    """

    def __init__(self, target: Target) -> None:
        target.files()
        if target.folder.exists() and not target.folder.is_dir():
            raise CaffeCompatError("expected a folder for the files of results, got a file", file=target.folder)
        self.target = target
        self._complete = False
        self._rows: list[Floats] = []
        # Of the round under way only what came after a resume is known.
        self._torn = False

    @property
    def place(self) -> int:
        """How many images of the round under way have passed."""
        return len(self._rows)

    def go_on(self, place: int) -> None:
        """Go on where so many images of a round had passed in a run that ended; that round's files are not written.

        Raises:
            ValueError: a round has not so many.
        """
        if not 0 <= place < self.target.round:
            raise ValueError(f"a round has {self.target.round} images, and {place} have passed")
        self._rows = [np.zeros((0, 6), np.float32)] * place
        self._torn = place > 0

    def add(self, rows: Tensor, images: int) -> None:
        """Take the detections of the next `images` images, in the order of the database.

        Args:
            rows: (K, 7) as DetectionOutput gives them; rows of label -1 mean none.
            images: how many images the batch has.

        Raises:
            CaffeCompatError: a class has no name, or a file cannot be written.
        """
        rows = rows.detach().cpu().float()
        for image in range(images):
            own = rows[(rows[:, 0] == image) & (rows[:, LABEL] >= 0)]
            self._rows.append(self._placed(own))
            if len(self._rows) == self.target.round:
                if not self._torn:
                    self._write()
                    self._complete = True
                self._torn = False
                self._rows.clear()

    def close(self) -> str | None:
        """Write what there is of the first round, if it is not complete; later ones leave the files as they are.

        Returns:
            A warning, if the files hold fewer images than they should.

        Raises:
            CaffeCompatError: a file cannot be written.
        """
        seen = len(self._rows)
        if self._complete or self._torn or not seen:
            return None
        self._write()
        self._rows.clear()
        return f"{self.target.folder} has the detections of {seen} images, not of {self.target.round}"

    def _placed(self, rows: Tensor) -> Floats:
        """(K, 6): label, score, and xmin, ymin, width, height in pixels of the image, rounded."""
        target = self.target
        missing = set(rows[:, LABEL].long().tolist()) - set(target.categories)
        if missing:
            raise CaffeCompatError(
                f"class {min(missing)} was found, and the label map has no name for it",
                hint="label_map_file needs an item for each class that the net knows",
            )
        height, width = target.images.sizes[len(self._rows)]
        boxes, _ = boxes_in_image(rows[:, BOX:], height, width, target.resize)
        corners = torch.nan_to_num(boxes).numpy()
        sides = rounded(np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1))
        return np.concatenate([rows[:, LABEL:BOX].numpy(), sides], 1)

    def _write(self) -> None:
        target = self.target
        try:
            target.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CaffeCompatError(f"cannot make the folder: {error.strerror or error}", file=target.folder) from error
        if target.format == "VOC":
            for label, category in target.categories.items():
                with atomic_write(target.file(category)) as file:
                    file.writelines(self._lines(label))
            return
        with atomic_write(target.file()) as file:
            if target.format == "COCO":
                self._write_json(file)
            else:
                file.writelines(self._lines())

    def _lines(self, only: int | None = None) -> Iterator[bytes]:
        for name, rows in zip(self.target.images.names, self._rows, strict=False):
            own = rows if only is None else rows[rows[:, 0] == only]
            for label, score, x, y, width, height in own.tolist():
                kind = f" {int(label)}" if only is None else ""
                # The original cuts the corner and the sides, and then adds them.
                corners = f"{int(x)} {int(y)} {int(x) + int(width)} {int(y) + int(height)}"
                yield f"{name}{kind} {score:.6g} {corners}\n".encode("utf-8", "surrogateescape")

    def _write_json(self, file: BinaryIO) -> None:
        categories = {label: json_value(name) for label, name in self.target.categories.items()}
        items = (
            _COCO_ITEM.format(json_value(name), categories[int(label)], *box, score)
            for name, rows in zip(self.target.images.names, self._rows, strict=False)
            for label, score, *box in rows.tolist()
        )
        between = b"[\n"
        for item in items:
            file.write(between + item.encode())
            between = b",\n"
        file.write(b"[\n]\n" if between == b"[\n" else b"\n    \n]\n")


def rounded(values: npt.NDArray[Any]) -> Floats:
    """Single-precision numbers to hundredths, halves away from 0."""
    hundreds = (values * np.float32(100)).astype(np.float64)
    return np.asarray(np.trunc(hundreds + np.copysign(0.5, hundreds)) / 100, np.float32)


def json_value(text: str) -> str:
    """A name in JSON: itself where it is a number, else a string."""
    if _JSON_VALUE.fullmatch(text):
        return text
    return json.dumps(text).replace("/", "\\/")
