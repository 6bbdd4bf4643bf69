"""A record of an annotated database, made of an image file and its boxes.

Source of the rules: ReadRichImageToAnnotatedDatum in util/io.cpp of the SSD branch, and tools/convert_annoset.cpp: an
image that cannot be read has no record, one without an annotation file has one without boxes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from caffecompat.data.annoset.boxes import BoxRules, Marked, Problem, annotation_groups
from caffecompat.data.imageset import DatumForm, Sizes, read_picture
from caffecompat.errors import FormatError, quoted
from caffecompat.schema import caffe_pb2

# What the Datum of a picture with boxes has as its label.
NO_LABEL = -1
Marks = Marked | FormatError | str | int | None
ReadMarks = Callable[[str], Marked]


@dataclass(frozen=True)
class Entry:
    """An image with its annotation, to become a record.

    Attributes:
        name: as the record's key has it.
        path: the image file.
        marks: the boxes; or what is wrong with the annotation; or the annotation's file, to be read; or the label of
            the whole image; or None where there is no annotation, and none is needed.
        listed: what the list of the split says of it beside the name.
        size_name: what the list of sizes calls it.
        about: the annotation, as problems name it.
    """

    name: str
    path: str
    marks: Marks = None
    listed: str = ""
    size_name: str = ""
    about: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of an entry.

    Attributes:
        record: the AnnotatedDatum, or None if it could not be made.
        sizes: (channels, height, width) of the image in the record.
        file_size: (height, width) of the image in its file.
        boxes: how many boxes the record has.
        problems: what is wrong.
    """

    record: bytes | None
    sizes: Sizes | None = None
    file_size: tuple[int, int] | None = None
    boxes: int = 0
    problems: tuple[Problem, ...] = ()


class RecordMaker:
    """Makes records; any number of threads may call it.

    Args:
        form: what becomes of images.
        rules: what becomes of boxes.
        read_marks: reads an annotation file.
    """

    def __init__(self, form: DatumForm, rules: BoxRules, read_marks: ReadMarks | None = None) -> None:
        self._form = form
        self._rules = rules
        self._read_marks = read_marks

    def __call__(self, entry: Entry) -> Outcome:
        """The record of an entry.

        Raises:
            FormatError: a class that is not known.
            UsageError: images cannot be compressed as asked.
        """
        if "\0" in entry.name or "\0" in entry.path:
            return _failed("image", FormatError(f"expected the name of a file, got {quoted(entry.name)}"))
        label = entry.marks if isinstance(entry.marks, int) else NO_LABEL
        try:
            picture = read_picture(entry.path, label, self._form)
        except FormatError as error:
            return _failed("image", error)
        message = caffe_pb2.AnnotatedDatum(datum=picture.datum)
        problems: list[Problem] = []
        if not isinstance(entry.marks, int):
            message.type = caffe_pb2.AnnotatedDatum.BBOX
            try:
                marked = self._marked(entry, problems)
            except FormatError as error:
                return _failed("annotation", error)
            groups, found = annotation_groups(marked, picture.file_size, self._rules, entry.about or entry.name)
            message.annotation_group.extend(groups)
            problems += found
        boxes = sum(len(group.annotation) for group in message.annotation_group)
        return Outcome(message.SerializeToString(), picture.sizes, picture.file_size, boxes, tuple(problems))

    def _marked(self, entry: Entry, problems: list[Problem]) -> Marked:
        """The boxes of an entry."""
        marks = entry.marks
        if isinstance(marks, FormatError):
            raise marks
        if isinstance(marks, Marked):
            return marks
        if isinstance(marks, str):
            if os.path.exists(marks):
                assert self._read_marks is not None
                return self._read_marks(marks)
            problems.append(Problem("missing", f"{marks}: there is no such annotation; {entry.name} has no boxes"))
        return Marked(())


def _failed(kind: str, error: FormatError) -> Outcome:
    # The way out is for those who stop there.
    text = str(error).split("\n")[0]
    return Outcome(None, problems=(Problem("image" if kind == "image" else "annotation", text),))
