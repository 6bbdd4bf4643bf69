"""Segmentation: tiles with a margin as the dilation authors' predict.py lays them, zoom, overlays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from caffecompat.cli.predict._pixel_scores import Labels, PixelScores
from caffecompat.cli.predict._session import Session
from caffecompat.data.images import Image
from caffecompat.data.png import Colour, voc_palette
from caffecompat.data.preprocessing import Floats, Segmentation
from caffecompat.data.segmentation.crf import Crf
from caffecompat.errors import ShapeError, UsageError, quoted
from caffecompat.graph.analysis import analyse
from caffecompat.net import Net


class Segmenter:
    """Labels the pixels of pictures with a net whose output has a place for each `zoom` x `zoom` input pixels.

    Args:
        session: the net.
        blob: the output that holds the classes' scores, (N, classes, height, width), or another blob that is kept.
        zoom: how many input pixels an output pixel stands for; None: as the record or the shapes say.
        margin: how many input pixels on each side the output lacks; None: as the record or the shapes say.
        batch: how many tiles pass at once.
        crf: the dense CRF that refines what the net says, or None.

    Attributes:
        settings: the zoom, the margin and the palette.

    Raises:
        UsageError: the output has no height and width.
        ShapeError: the output's size does not follow from the input's.
    """

    def __init__(
        self,
        session: Session,
        blob: str,
        zoom: int | None,
        margin: int | None,
        batch: int,
        crf: Crf | None = None,
    ) -> None:
        self._session = session
        self._blob = blob
        self._batch = batch
        self._crf = crf
        shapes = session.net.blob_shapes
        last = session.net.graph.last
        taken, given = shapes[last[session.preprocessing.input]], shapes[last[blob]]
        if len(taken) != 4 or len(given) != 4:
            raise UsageError(
                f"output {quoted(blob)} has shape {given}; expected (N, classes, height, width)",
                hint="caffecompat classify" if len(given) == 2 else "see `run` and `features`",
            )
        self._input = (taken[2], taken[3])
        stride = _stride(session.net, blob)
        self.settings = _settings(session.preprocessing.segmentation, self._input, given[2:], stride, zoom, margin)
        made_by = next(spec for spec in session.net.graph.layers if last[blob] in spec.tops)
        self._probabilities = made_by.type == "Softmax"

    def label(self, image: Image) -> Labels:
        """The class of each pixel, int32 (height, width)."""
        if self._crf is not None:
            return self.scores(image).refined(image, self._crf)
        if self.settings.label_margin and self.settings.zoom == 1:
            # All classes' scores of all pixels are more than is held of a large picture.
            best = (scores.argmax(axis=0)[np.newaxis] for scores in self._scores(self._tiles(image)))
            height, width = image.shape[:2]
            return np.asarray(self._joined(best, image)[0, :height, :width], dtype=np.int32)
        return self.scores(image).labels()

    def scores(self, image: Image) -> PixelScores:
        """The scores of each pixel, as they are between the places of the net's output."""
        height, width = image.shape[:2]
        if self.settings.label_margin:
            zoom = self.settings.zoom
            joined = self._joined(self._scores(self._tiles(image)), image)
            return PixelScores(joined, np.arange(height) / zoom, np.arange(width) / zoom, self._probabilities)
        # The picture resized to the input, and the scores back to the picture's size.
        preprocessing = self._session.preprocessing
        scores = self._session.pictures(preprocessing.apply([image]))[self._blob][0]
        placed = preprocessing.geometry(height, width)
        rows = (np.arange(height) + 0.5) * placed.scale_y + placed.offset_y
        columns = (np.arange(width) + 0.5) * placed.scale_x + placed.offset_x
        net = preprocessing.net_size or self._input
        rows, columns = rows * scores.shape[1] / net[0] - 0.5, columns * scores.shape[2] / net[1] - 0.5
        return PixelScores(scores, rows, columns, self._probabilities)

    def features(self, image: Image) -> Floats:
        """The blob for the whole picture, (channels, height, width): as many places as its tiles have.

        As test.py of the same authors writes it: places beyond the picture are there too.
        """
        if self.settings.label_margin:
            return self._joined(self._scores(self._tiles(image)), image)
        return np.asarray(self._session.pictures(self._session.preprocessing.apply([image]))[self._blob][0])

    def _joined(self, outputs: Iterator[Floats], image: Image) -> Floats:
        """predict.py: mirror a margin around the picture, pass tiles that overlap by it, put the outputs together."""
        across = -(-image.shape[1] // (self._input[1] - 2 * self.settings.label_margin))
        found = list(outputs)
        lines = [np.concatenate(found[start : start + across], axis=2) for start in range(0, len(found), across)]
        return np.concatenate(lines, axis=1)

    def _tiles(self, image: Image) -> Iterator[Floats]:
        """The inputs, line by line: what lies beyond the picture and its margin is mirrored."""
        margin = self.settings.label_margin
        rows, columns = self._input
        plain = replace(self._session.preprocessing, size=None, crop=None)
        bordered = cv2.copyMakeBorder(plain.resized(image), margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
        for top in range(0, image.shape[0], rows - 2 * margin):
            for left in range(0, image.shape[1], columns - 2 * margin):
                tile = bordered[top : top + rows, left : left + columns]
                below, right = rows - tile.shape[0], columns - tile.shape[1]
                tile = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REFLECT_101)
                yield plain.cut(np.asarray(tile, dtype=np.uint8).reshape(rows, columns, -1))

    def _scores(self, tiles: Iterator[Floats]) -> Iterator[Floats]:
        waiting: list[Floats] = []
        for tile in tiles:
            waiting.append(tile)
            if len(waiting) == self._batch:
                yield from self._session.pictures(np.stack(waiting))[self._blob]
                waiting = []
        if waiting:
            yield from self._session.pictures(np.stack(waiting))[self._blob]


def _stride(net: Net, blob: str) -> tuple[float, ...]:
    """How many input pixels lie between what neighbours of the output see, down and across."""
    costs = analyse(net.graph, net.blob_shapes, [[tuple(one.shape) for one in layer.blobs] for layer in net.layers])
    found = next(cost for cost in reversed(costs) if net.graph.last[blob] in cost.spec.tops)
    return found.stride or (1.0, 1.0)


def _settings(
    record: Segmentation | None,
    net: tuple[int, int],
    places: tuple[int, ...],
    stride: tuple[float, ...],
    zoom: int | None,
    margin: int | None,
) -> Segmentation:
    """Zoom and margin as asked, else as recorded, else as the net's strides and shapes have them.

    Without a margin, and where what the shapes leave is no more than the rest of a division, the picture goes
    through the net whole.

    Raises:
        ShapeError: the output does not fill what the margin leaves of the input.
    """
    base = record or Segmentation()
    factor = zoom or (base.zoom if record is not None else max(1, round(stride[0])))
    if margin is None and record is not None:
        margin = base.label_margin
    if margin is None:
        left = (net[0] - factor * places[0], net[1] - factor * places[1])
        margin = left[0] // 2 if left[0] == left[1] and left[0] % 2 == 0 and left[0] >= 2 * factor else 0
    filled = (places[0] * factor + 2 * margin, places[1] * factor + 2 * margin)
    if margin and filled != net:
        raise ShapeError(
            f"an output of {places[0]}x{places[1]} with a zoom of {factor} and a margin of {margin} means an input "
            f"of {filled[0]}x{filled[1]}; the net's is {net[0]}x{net[1]}",
            hint="see --input-shape, --label-margin and --zoom",
        )
    return replace(base, zoom=factor, label_margin=margin)


def palette_of(settings: Segmentation, asked: tuple[Colour, ...] | None) -> tuple[Colour, ...]:
    """The palette asked for, or the record's, or VOC's."""
    return asked or settings.palette or voc_palette()


def overlay(image: Image, labels: Labels, palette: tuple[Colour, ...], opacity: float) -> Image:
    """The picture with the classes' colours over it.

    Args:
        image: B, G, R.
        labels: the class of each pixel.
        palette: colours R, G, B; classes beyond it are black.
        opacity: of the colours, 0 to 1.
    """
    colours = np.zeros((max(len(palette), int(labels.max(initial=0)) + 1), 3), dtype=np.uint8)
    colours[: len(palette)] = np.asarray(palette, dtype=np.uint8)[:, ::-1]
    return np.asarray(cv2.addWeighted(image, 1 - opacity, colours[labels], opacity, 0), dtype=np.uint8)


def shares(labels: Labels, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """How much of a picture each class has, the largest first."""
    classes, counts = np.unique(labels, return_counts=True)
    return [
        {
            "class": int(classes[index]),
            "name": names[classes[index]] if classes[index] < len(names) else "",
            "pixels": int(counts[index]),
            "share": float(counts[index] / labels.size),
        }
        for index in np.argsort(-counts, kind="stable")
    ]
