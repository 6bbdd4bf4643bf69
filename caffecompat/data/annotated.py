"""AnnotatedDatum, a picture with boxes: read from a record, expanded, cut out and distorted as SSD trains on it.

Source of the rules: annotated_data_layer.cpp and data_transformer.cpp of the SSD branch: distort, expand, sample.
Only what is cut out is computed: the canvas that an expanded picture lies on is never filled beyond it, and colours
change only where they are kept. The original encodes the picture as JPEG after each of the three; here it stays as
it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from google.protobuf.message import DecodeError

from caffecompat.data.annotations import BOX, WHOLE, project, read_annotations
from caffecompat.data.datum import Datum, read_datum
from caffecompat.data.distortion import distort
from caffecompat.data.images import Image
from caffecompat.data.sampling import sample_frame
from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, UnsupportedError
from caffecompat.formats.wire import BYTES, VARINT, Wire, tag
from caffecompat.schema import caffe_pb2

_DATUM, _TYPE, _GROUP = tag(1, BYTES), tag(2, VARINT), tag(3, BYTES)
# An expanded picture of ratio r is its size times r rounded down; below this ratio the original leaves it as it is.
_LEAST_RATIO = 1e-2


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


class Augmenter:
    """What one AnnotatedData layer does to a picture before it is transformed.

    Args:
        param: the layer's `transform_param`.
        samplers: its batch samplers.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, samplers: Sequence[caffe_pb2.BatchSampler]) -> None:
        self._samplers = list(samplers)
        self._distort = param.distort_param if param.HasField("distort_param") else None
        self._expand = param.expand_param if param.HasField("expand_param") else None
        self._emit = param.emit_constraint if param.HasField("emit_constraint") else None
        self._fill = np.array(param.mean_value or [0], np.float32)

    def __call__(self, image: Image, rows: Floats, random: np.random.Generator) -> tuple[Image, Floats]:
        """A part of the picture, perhaps with a margin, in changed colours; and the boxes in it.

        Args:
            image: uint8 (height, width) or (height, width, channels).
            rows: (N, 7) its boxes.
            random: where the numbers come from.
        """
        height, width = image.shape[:2]
        canvas = self._canvas(height, width, random)
        if canvas != Canvas(height, width):
            rows = project(rows, canvas.frame(height, width), self._emit)
        frame = sample_frame(self._samplers, rows[:, BOX], random)
        if frame is not None:
            frame = np.clip(frame, 0, 1)
            rows = project(rows, frame, self._emit)
        cut = self._cut(image, canvas, WHOLE if frame is None else frame, random)
        return cut if frame is None else as_jpeg(cut), rows

    def _canvas(self, height: int, width: int, random: np.random.Generator) -> Canvas:
        """The canvas of an expansion; the picture's own size if it is not expanded."""
        param = self._expand
        if param is None or random.random() > param.prob or abs(param.max_expand_ratio - 1) < _LEAST_RATIO:
            return Canvas(height, width)
        ratio = random.uniform(1, param.max_expand_ratio)
        rows, columns = int(height * ratio), int(width * ratio)
        top, left = random.uniform(0, rows - height), random.uniform(0, columns - width)
        return Canvas(rows, columns, int(top), int(left))

    def _cut(self, image: Image, canvas: Canvas, frame: Floats, random: np.random.Generator) -> Image:
        """The pixels of a frame of the canvas."""
        corners = frame * np.array([canvas.width, canvas.height, canvas.width, canvas.height], np.float32)
        left, top = int(corners[0]), int(corners[1])
        # The original stops where a frame is narrower than a pixel.
        width, height = max(int(corners[2] - corners[0]), 1), max(int(corners[3] - corners[1]), 1)
        # In coordinates of the picture, and the part of it that is there.
        top, left = top - canvas.top, left - canvas.left
        first_row, last_row = max(top, 0), max(min(top + height, image.shape[0]), 0)
        first_column, last_column = max(left, 0), max(min(left + width, image.shape[1]), 0)
        part = image[first_row:last_row, first_column:last_column]
        if self._distort is not None and part.size:
            part = distort(np.ascontiguousarray(part), self._distort, random)
        if part.shape[:2] == (height, width):
            return part
        cut = np.empty((height, width, *image.shape[2:]), np.uint8)
        cut[...] = self._margin(image)
        if part.size:
            cut[first_row - top : last_row - top, first_column - left : last_column - left] = part
        return cut

    def _margin(self, image: Image) -> Image:
        """The colour of the canvas: the mean values, else black."""
        values = np.clip(np.rint(self._fill), 0, 255).astype(np.uint8)
        channels = image.shape[2] if image.ndim == 3 else 1
        return np.asarray(values if len(values) == channels else values[:1], np.uint8)


def as_jpeg(image: Image) -> Image:
    """A picture as it is after it was encoded as JPEG, as OpenCV does by default, and decoded."""
    _, encoded = cv2.imencode(".jpg", image)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)
