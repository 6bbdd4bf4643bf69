"""Segmentation: tiles with a margin as the dilation authors' predict.py lays them, zoom, argmax, overlays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.cli.predict._session import Session
from caffecompat.data.images import Image
from caffecompat.data.means import DILATION_MARGIN
from caffecompat.data.png import Colour, voc_palette
from caffecompat.data.preprocessing import Floats, Segmentation
from caffecompat.errors import ShapeError

Labels = npt.NDArray[np.int32]
# Rows that are interpolated at once, so that all classes' scores of a large picture need not be held.
STRIPE = 64


class Segmenter:
    """Labels the pixels of pictures with a net whose output has a place for each `zoom` x `zoom` input pixels.

    Args:
        session: the net.
        blob: the output that holds the classes' scores, (N, classes, height, width).
        zoom: how many input pixels an output pixel stands for; None: as the record or the shapes say.
        margin: how many input pixels on each side the output lacks; None: as the record or the shapes say.
        batch: how many tiles pass at once.

    Raises:
        ShapeError: the output's size does not follow from the input's.
    """

    def __init__(self, session: Session, blob: str, zoom: int | None, margin: int | None, batch: int) -> None:
        self._session = session
        self._blob = blob
        self._batch = batch
        shapes = session.net.blob_shapes
        last = session.net.graph.last
        self._input: tuple[int, int] = shapes[last[session.preprocessing.input]][2:4]  # type: ignore[assignment]
        shape = shapes[last[blob]]
        if len(shape) != 4 or len(self._input) != 2:
            raise ShapeError(f'output "{blob}" has shape {shape}; expected (N, classes, height, width)')
        self._places = shape[2:4]
        record = session.preprocessing.segmentation
        self.settings = _settings(record, self._input, self._places, zoom, margin)

    def label(self, image: Image) -> Labels:
        """The class of each pixel, int32 (height, width)."""
        return self._tiled(image) if self.settings.label_margin else self._whole(image)

    def _whole(self, image: Image) -> Labels:
        """The picture resized to the input, and the scores back to the picture's size (bilinear)."""
        preprocessing = self._session.preprocessing
        scores = self._session.pictures(preprocessing.apply([image]))[self._blob][0]
        height, width = image.shape[:2]
        placed = preprocessing.geometry(height, width)
        rows = (np.arange(height) + 0.5) * placed.scale_y + placed.offset_y
        columns = (np.arange(width) + 0.5) * placed.scale_x + placed.offset_x
        net = preprocessing.net_size or self._input
        return _interpolate(scores, rows * scores.shape[1] / net[0] - 0.5, columns * scores.shape[2] / net[1] - 0.5)

    def _tiled(self, image: Image) -> Labels:
        """predict.py: mirror a margin around the picture, pass tiles that overlap by it, put the outputs together."""
        zoom = self.settings.zoom
        height, width = image.shape[:2]
        across = -(-width // (self._input[1] - 2 * self.settings.label_margin))
        outputs = [
            scores if zoom > 1 else scores.argmax(axis=0)[np.newaxis] for scores in self._scores(self._tiles(image))
        ]
        lines = [np.concatenate(outputs[start : start + across], axis=2) for start in range(0, len(outputs), across)]
        joined = np.concatenate(lines, axis=1)
        if zoom == 1:
            return np.asarray(joined[0, :height, :width], dtype=np.int32)
        return _interpolate(joined, np.arange(height) / zoom, np.arange(width) / zoom)

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


def _settings(
    record: Segmentation | None, net: tuple[int, int], places: tuple[int, ...], zoom: int | None, margin: int | None
) -> Segmentation:
    """Zoom and margin: as asked, or recorded, or such that the shapes agree: no margin, or the dilation authors'."""
    base = record or Segmentation()
    stated = record is not None
    margins = [margin] if margin is not None else [base.label_margin] if stated else [0, DILATION_MARGIN]
    for candidate in margins:
        inner = (net[0] - 2 * candidate, net[1] - 2 * candidate)
        if candidate == 0 and zoom is None:
            return replace(base, zoom=max(1, round(net[0] / places[0])), label_margin=0)
        factor = zoom or (base.zoom if stated else inner[0] // places[0])
        if factor >= 1 and inner == (places[0] * factor, places[1] * factor):
            return replace(base, zoom=factor, label_margin=candidate)
    raise ShapeError(
        f"an input of {net[0]}x{net[1]} gives an output of {places[0]}x{places[1]}, which does not fit "
        f"a margin of {margins[-1]} and a zoom of {zoom or base.zoom}",
        hint="the input should be 2 * margin + zoom * output: see --input-shape, --label-margin and --zoom",
    )


def _interpolate(scores: Floats, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Labels:
    """The best class at places between the outputs, by bilinear interpolation; beyond the last output its value.

    Args:
        scores: (classes, height, width).
        rows: for each row of the result its place among those of `scores`.
        columns: likewise.
    """
    left, right, across = _neighbours(columns, scores.shape[2])
    result = np.empty((len(rows), len(columns)), dtype=np.int32)
    for start in range(0, len(rows), STRIPE):
        above, below, down = _neighbours(rows[start : start + STRIPE], scores.shape[1])
        down = down[:, np.newaxis]
        lines = (1 - down) * scores[:, above] + down * scores[:, below]
        values = (1 - across) * lines[:, :, left] + across * lines[:, :, right]
        result[start : start + STRIPE] = values.argmax(axis=0)
    return result


def _neighbours(
    places: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    clipped = np.clip(places, 0, count - 1)
    first = np.floor(clipped).astype(np.intp)
    return first, np.minimum(first + 1, count - 1), (clipped - first).astype(np.float32)


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
