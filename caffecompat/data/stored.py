"""What a database holds in a record: a Datum, or an AnnotatedDatum, which is a Datum and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from caffecompat.data.annotated import read_annotated
from caffecompat.data.datum import Datum, Values, read_datum
from caffecompat.data.source import Floats
from caffecompat.formats.wire import BYTES, tag

_INNER = tag(1, BYTES)


@dataclass(frozen=True)
class Stored:
    """A record.

    Attributes:
        datum: the picture and its label.
        boxes: float32 (N, 7): label, instance, xmin, ymin, xmax, ymax (fractions of the picture), difficult; None for
            a plain Datum.
        typed: an AnnotatedDatum says that it holds boxes; one that does not is a picture with the label of its Datum.
    """

    datum: Datum
    boxes: Floats | None = None
    typed: bool = False

    def values(self) -> Values:
        """The values, uint8 or float32, (channels, height, width), pictures with the channels that their files have.

        Raises:
            FormatError: the picture cannot be decoded, or the Datum states other sizes than its values have.
        """
        if not self.datum.encoded:
            return self.datum.values()
        image = self.datum.picture(cv2.IMREAD_UNCHANGED)
        return image[np.newaxis] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1))


def read_stored(record: bytes | memoryview) -> Stored:
    """The Datum or AnnotatedDatum of a record; its data stay where they are.

    An AnnotatedDatum is told by its first field, which is a message there and a number in a Datum.

    Raises:
        FormatError: it is neither.
        UnsupportedError: it is annotated with something else than boxes.
    """
    view = memoryview(record)
    # The tag of the field stands in the first byte.
    if not len(view) or view[0] != _INNER:
        return Stored(read_datum(view))
    found = read_annotated(view)
    return Stored(found.datum, found.rows, found.typed)
