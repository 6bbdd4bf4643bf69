"""The prior boxes of an SSD: those of one cell of each PriorBox layer, counted and in pixels of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from caffecompat.cli.draw.subject import Subject
from caffecompat.data.images import Image
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import GraphError, ShapeError, UsageError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.prior_box import PriorBox

Doubles = npt.NDArray[np.float64]
# More layers are no SSD's, and no drawing.
MOST_LAYERS = 64


@dataclass(frozen=True)
class CellPriors:
    """The prior boxes of one cell of a layer.

    Attributes:
        spec: the PriorBox layer.
        rows: of the feature map.
        columns: of the feature map.
        cell: the row and the column of the cell, from 0.
        sizes: (boxes, 2) widths and heights in pixels of the net's input, as the layer has them.
        drawn: (boxes, 2) the same in pixels of the picture; boxes that are clipped to it are smaller.
        boxes: (boxes, 4) xmin, ymin, xmax, ymax in pixels of the picture.
        middle: x and y of the middle of the cell in the picture, before any clipping of boxes.
        step: how far cells lie apart in the picture, along x and y.
        variances: the four of the layer.
    """

    spec: LayerSpec
    rows: int
    columns: int
    cell: tuple[int, int]
    sizes: Doubles
    drawn: Doubles
    boxes: Doubles
    middle: tuple[float, float]
    step: tuple[float, float]
    variances: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many boxes the whole layer has."""
        return self.rows * self.columns * len(self.sizes)


@dataclass(frozen=True)
class Priors:
    """The prior boxes of a net.

    Attributes:
        name: the net's.
        picture: uint8 (height, width, 3) B, G, R, or None.
        width: of the picture, or of the net's input, in pixels.
        height: of the same.
        layers: those of each PriorBox layer.
    """

    name: str
    picture: Image | None
    width: int
    height: int
    layers: tuple[CellPriors, ...]

    @property
    def count(self) -> int:
        """How many boxes the net has."""
        return sum(layer.count for layer in self.layers)


def find_priors(
    subject: Subject, picture: Image | None, preprocessing: Preprocessing | None, at: tuple[float, float] | None
) -> Priors:
    """The prior boxes of the cells at a pixel.

    Args:
        subject: the net.
        picture: what they are drawn on; without it pixels are those of the net's input.
        preprocessing: how the picture comes to lie in the input.
        at: x and y of the pixel; None is the middle.

    Raises:
        GraphError: the net has no PriorBox layer.
        ShapeError: its shapes are not known, or its PriorBox layers are given pictures of different sizes.
        UsageError: the pixel is not in the picture.
    """
    net = subject.net
    specs = [spec for spec in subject.graph.layers if spec.type == "PriorBox"]
    if not specs:
        raise GraphError("the net has no PriorBox layer", file=subject.graph.file, hint="--priors is for SSD")
    if net is None:
        raise ShapeError("the shapes of the net are not known, and so no prior boxes", file=subject.graph.file)
    if len(specs) > MOST_LAYERS:
        raise ShapeError(f"the net has {len(specs)} PriorBox layers; at most {MOST_LAYERS} are drawn")
    sides = {tuple(subject.shapes[spec.bottoms[1]][2:]) for spec in specs}
    if len(sides) > 1:
        raise ShapeError(f"the PriorBox layers are given pictures of different sizes: {sorted(sides)}")
    (rows, columns), *_ = sides
    height, width = picture.shape[:2] if picture is not None else (rows, columns)
    x, y = at if at is not None else (width / 2, height / 2)
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f"--at {x:g},{y:g} is not in the picture, which has {width}x{height} pixels")
    place = _Place((rows, columns), (height, width), preprocessing)
    layers = []
    for spec in specs:
        layer = net.layers[spec.index]
        assert isinstance(layer, PriorBox)
        layers.append(_cell(layer, subject.shapes[spec.bottoms[0]], (rows, columns), place, (x, y)))
    return Priors(subject.graph.name, picture, width, height, tuple(layers))


class _Place:
    """From parts of the input's sides to pixels of the picture.

    Attributes:
        scale: how many pixels of the input a pixel of the picture is, along x and y.
    """

    def __init__(self, net: tuple[int, int], picture: tuple[int, int], preprocessing: Preprocessing | None) -> None:
        self._sides = np.array(net[::-1], np.float64)
        self._offset = np.zeros(2)
        self.scale = np.ones(2)
        if preprocessing is not None:
            placed = preprocessing.geometry(*picture)
            self._offset = np.array([placed.offset_x, placed.offset_y])
            self.scale = np.array([placed.scale_x, placed.scale_y])

    def __call__(self, parts: Doubles) -> Doubles:
        """Places (..., 2), x and y, in pixels."""
        return np.asarray((parts * self._sides - self._offset) / self.scale, np.float64)


def _cell(
    layer: PriorBox, feature: Sequence[int], image: tuple[int, int], place: _Place, at: tuple[float, float]
) -> CellPriors:
    """Those of the cell whose middle is next to a pixel."""
    rows, columns = feature[2:]
    count = len(layer.box_sizes)
    # A value stands for all: only the sizes of the bottoms count.
    bottoms = [torch.zeros(()).expand(1, 1, *sides) for sides in ((rows, columns), image)]
    values = layer(*bottoms).numpy()[0].reshape(2, rows, columns, count, 4)
    # From the first cell's middle to the one beyond the last, a step apart.
    sides, steps = layer.image or image, layer.step
    if steps is None:
        steps = sides[0] / rows, sides[1] / columns
    first = place(np.array([float(layer.offset) * steps[axis] / sides[axis] for axis in (1, 0)]))
    step = np.array([steps[axis] / sides[axis] * image[axis] for axis in (1, 0)]) / place.scale
    column, row = np.clip(np.rint((np.array(at) - first) / step), 0, [columns - 1, rows - 1]).astype(int).tolist()
    middle = first + step * [column, row]
    return CellPriors(
        layer.spec,
        rows,
        columns,
        (row, column),
        layer.box_sizes.astype(np.float64),
        layer.box_sizes / np.array(sides[::-1]) * np.array(image[::-1]) / place.scale,
        place(values[0, row, column].astype(np.float64).reshape(count, 2, 2)).reshape(count, 4),
        (float(middle[0]), float(middle[1])),
        (float(step[0]), float(step[1])),
        tuple(float(value) for value in layer.variance),
    )
