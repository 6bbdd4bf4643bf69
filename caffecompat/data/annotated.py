"""AnnotatedDatum, a picture with boxes: read from a record, expanded, cut out and distorted as SSD trains on it.

Source of the rules: annotated_data_layer.cpp and data_transformer.cpp of the SSD branch: distort, expand, sample.
Only what is cut out is computed: the canvas that an expanded picture lies on is never filled beyond it, and colours
change only where they are kept. The original encodes the picture as JPEG after each of the three; here that is done
after the last of them only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from google.protobuf.message import DecodeError

from caffecompat.data.annotations import BOX, WHOLE, project, read_annotations
from caffecompat.data.datum import Datum, read_datum
from caffecompat.data.distortion import distort
from caffecompat.data.geometry import MAX_PIXELS, Size
from caffecompat.data.images import Image
from caffecompat.data.sampling import Samplers
from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, ShapeError, UnsupportedError
from caffecompat.formats.wire import BYTES, VARINT, Wire, tag
from caffecompat.schema import caffe_pb2

_DATUM, _TYPE, _GROUP = tag(1, BYTES), tag(2, VARINT), tag(3, BYTES)
# An expanded picture of ratio r is its size times r rounded down; below this ratio the original leaves it as it is.
_LEAST_RATIO = 1e-2
# Of a JPEG.
MAX_SIDE = 65500
# The sides of the blocks that a JPEG is made of, where colours have half the resolution.
_BLOCK = 16
_BLACK = np.zeros(1, np.uint8)


class Margins(NamedTuple):
    """How many rows and columns lie around a picture."""

    top: int
    bottom: int
    left: int
    right: int


NO_MARGINS = Margins(0, 0, 0, 0)


@dataclass(frozen=True)
class Annotated:
    """A record.

    Attributes:
        datum: the picture.
        typed: it says of what type its annotations are; one without has the label of its datum.
        rows: the boxes, as `annotations.read_annotations` gives them.
    """

    datum: Datum
    typed: bool
    rows: Floats


def read_annotated(buffer: bytes | memoryview) -> Annotated:
    """The AnnotatedDatum in a buffer; its picture stays where it is.

    Raises:
        FormatError: it is none.
        UnsupportedError: its annotations are no boxes.
    """
    view = memoryview(buffer)
    datum: Datum | None = None
    groups: list[caffe_pb2.AnnotationGroup] = []
    typed = False
    for key, value, start, end in Wire(view).fields(0, len(view)):
        if key == _DATUM:
            datum = read_datum(view[start:end])
        elif key == _TYPE:
            typed = True
            if value != caffe_pb2.AnnotatedDatum.BBOX:
                raise UnsupportedError(f"annotations of type {value}: only boxes, type 0, are read")
        elif key == _GROUP:
            try:
                groups.append(caffe_pb2.AnnotationGroup.FromString(bytes(view[start:end])))
            except DecodeError as error:
                raise FormatError("a group of annotations is broken") from error
    if datum is None:
        raise FormatError(
            "expected an AnnotatedDatum, got a record without one, perhaps a Datum",
            hint="records without boxes are read by a Data layer",
        )
    return Annotated(datum, typed, read_annotations(groups))


@dataclass(frozen=True)
class Canvas:
    """Where a picture lies on the canvas that it is expanded to.

    Attributes:
        height: of the canvas.
        width: of the canvas.
        top: the picture's first row.
        left: the picture's first column.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0

    def frame(self, height: int, width: int) -> Floats:
        """The canvas in coordinates of the picture, which has this size."""
        corners = (-self.left, -self.top, self.width - self.left, self.height - self.top)
        return np.divide(corners, (width, height, width, height), dtype=np.float32)


class Plan(NamedTuple):
    """What becomes of a picture, decided before a pixel of it is touched.

    Attributes:
        size: (height, width) of the picture.
        top: the first row of what is cut out, above the picture if negative.
        left: its first column.
        height: its rows.
        width: its columns.
        sampled: it is what a sampler found, which is encoded as JPEG and decoded.
        rows: (N, 7) the boxes that are left, as they lie in what is cut out.
        random: where the changes of colours come from.
    """

    size: Size
    top: int
    left: int
    height: int
    width: int
    sampled: bool
    rows: Floats
    random: np.random.Generator


class Augmenter:
    """What one AnnotatedData layer does to a picture before it is transformed.

    Args:
        param: the layer's `transform_param`.
        samplers: its batch samplers.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, samplers: Sequence[caffe_pb2.BatchSampler]) -> None:
        self._sample = Samplers(samplers)
        self._distort = param.distort_param if param.HasField("distort_param") else None
        self._expand = param.expand_param if param.HasField("expand_param") else None
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self._fill = np.clip(np.rint(np.array(param.mean_value or [0], np.float32)), 0, 255).astype(np.uint8)

    def __call__(self, image: Image, rows: Floats, random: np.random.Generator) -> tuple[Image, Floats]:
        """A part of the picture, perhaps with a margin, in changed colours; and the boxes in it.

        Args:
            image: uint8 (height, width) or (height, width, channels).
            rows: (N, 7) its boxes.
            random: where the numbers come from.
        """
        plan = self.plan(image.shape[0], image.shape[1], rows, random)
        return self.cut(image, plan), plan.rows

    def plan(self, height: int, width: int, rows: Floats, random: np.random.Generator) -> Plan:
        """What is to become of a picture of this size with these boxes (N, 7).

        Raises:
            ShapeError: it would be expanded to an absurd size.
        """
        canvas = self._canvas(height, width, random)
        if canvas != Canvas(height, width):
            rows = project(rows, canvas.frame(height, width), self._emit)
        frame = self._sample(rows[:, BOX], random)
        sampled = frame is not None
        frame = WHOLE if frame is None else np.minimum(np.maximum(frame, WHOLE[0]), WHOLE[2])
        if sampled:
            rows = project(rows, frame, self._emit)
        corners = frame * np.array([canvas.width, canvas.height, canvas.width, canvas.height], np.float32)
        left, top = int(corners[0]), int(corners[1])
        # The original stops where a frame is narrower than a pixel.
        wide, high = max(int(corners[2] - corners[0]), 1), max(int(corners[3] - corners[1]), 1)
        return Plan((height, width), top - canvas.top, left - canvas.left, high, wide, sampled, rows, random)

    def cut(self, image: Image, plan: Plan) -> Image:
        """What the plan for it makes of a picture."""
        rows, above, below = _overlap(plan.top, plan.height, image.shape[0])
        columns, before, behind = _overlap(plan.left, plan.width, image.shape[1])
        part, margins = image[rows, columns], Margins(above, below, before, behind)
        channels = image.shape[2] if image.ndim == 3 else 1
        colour = self._fill if len(self._fill) == channels else self._fill[:1]
        if not part.size:
            # Nothing but canvas: a pixel of it, and the rest as margins.
            part = np.empty((1, 1, *image.shape[2:]), np.uint8)
            part[...] = colour
            margins = Margins(0, plan.height - 1, 0, plan.width - 1)
        elif self._distort is not None:
            part = distort(part, self._distort, plan.random)
        return as_jpeg(part, margins, colour) if plan.sampled else with_margins(part, margins, colour)

    def _canvas(self, height: int, width: int, random: np.random.Generator) -> Canvas:
        """The canvas of an expansion; the picture's own size if it is not expanded."""
        param = self._expand
        if param is None or random.random() > param.prob or abs(param.max_expand_ratio - 1) < _LEAST_RATIO:
            return Canvas(height, width)
        ratio = random.uniform(1, param.max_expand_ratio)
        rows, columns = int(height * ratio), int(width * ratio)
        if rows * columns > MAX_PIXELS or max(rows, columns) > MAX_SIDE:
            raise ShapeError(
                f"a picture of {height}x{width} would be expanded to {rows}x{columns}",
                hint=f"lower max_expand_ratio, {param.max_expand_ratio:g}",
            )
        top, left = random.uniform(0, rows - height), random.uniform(0, columns - width)
        return Canvas(rows, columns, int(top), int(left))


def _overlap(start: int, length: int, size: int) -> tuple[slice, int, int]:
    """What of 0 to `size` a stretch covers, and how much of it lies before and behind that."""
    first, last = max(start, 0), max(min(start + length, size), 0)
    return slice(first, last), first - start, start + length - last


def with_margins(part: Image, margins: Margins, colour: Image) -> Image:
    """A picture with margins of a colour (channels,) around it."""
    if not any(margins):
        return part
    values = [float(value) for value in colour] * (4 if len(colour) == 1 else 1)
    return np.asarray(cv2.copyMakeBorder(part, *margins, cv2.BORDER_CONSTANT, value=values), np.uint8)


def as_jpeg(part: Image, margins: Margins = NO_MARGINS, colour: Image = _BLACK) -> Image:
    """A picture as it is after it was given margins, encoded as JPEG, as OpenCV does by default, and decoded.

    JPEG works on blocks, and only where colours are brought back to full size does a block depend on its neighbours. So
    of large margins no more is encoded than the block beside the picture's: beyond, they all come out as one does.
    """
    height = margins.top + part.shape[0] + margins.bottom
    width = margins.left + part.shape[1] + margins.right
    top, bottom = _spared(margins.top, part.shape[0], height)
    left, right = _spared(margins.left, part.shape[1], width)
    near = Margins(margins.top - top, margins.bottom - bottom, margins.left - left, margins.right - right)
    cut = _through_jpeg(with_margins(part, near, colour))
    if not (top or bottom or left or right):
        return cut
    return with_margins(cut, Margins(top, bottom, left, right), _colour_through_jpeg(colour.tobytes(), part.shape[2:]))


def _spared(before: int, size: int, whole: int) -> tuple[int, int]:
    """How much of the margins need not be encoded: whole blocks, all but the one next to the picture's."""
    start = max(before // _BLOCK - 1, 0) * _BLOCK
    stop = (-(-(before + size) // _BLOCK) + 1) * _BLOCK
    return start, max(whole - stop, 0)


@lru_cache(64)
def _colour_through_jpeg(colour: bytes, channels: tuple[int, ...]) -> Image:
    """What a colour (channels,) becomes in blocks of nothing else."""
    block = np.empty((_BLOCK, _BLOCK, *channels), np.uint8)
    block[...] = np.frombuffer(colour, np.uint8)
    return np.atleast_1d(_through_jpeg(block)[0, 0])


def _through_jpeg(image: Image) -> Image:
    try:
        _, encoded = cv2.imencode(".jpg", image)
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
    except cv2.error as error:
        size = f"{image.shape[0]}x{image.shape[1]}"
        raise FormatError(f"a picture of {size} pixels cannot be encoded as JPEG: {error.err}") from error
