"""The pictures that a pass was made from: back from the data layer's batch, as small images within the page."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from caffecompat.cli.report.markup import Content, Markup, element
from caffecompat.data.images import Image
from caffecompat.data.source import Floats
from caffecompat.data.undoing import Untransformer
from caffecompat.errors import CaffeCompatError, shown
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net

# Pictures are shown within such a square, and are kept a little finer than that.
SIDE = 230
KEPT_SIDE = 320
# Smaller pictures are shown pixel by pixel.
SMALL = 64


class Pictures:
    """The pictures of a net's batches.

    Args:
        net: the net, whose data layers read.
        blob: the pictures wanted are those that it is computed from.
        labels: it is no picture either.
        root: the folder that a relative `mean_file` starts from.

    Attributes:
        fault: why there are no pictures, or "".
    """

    def __init__(self, net: Net, blob: BlobKey, labels: BlobKey, root: Path | None) -> None:
        self.fault = ""
        self._layer: DataLayer | None = None
        self._undo: Untransformer | None = None
        for layer, top in _sources(net, blob, labels):
            self._layer, self._top = layer, top
            break
        if self._layer is None:
            self.fault = "No pictures are shown, for the net gets none from a data layer."
        elif self._layer.spec.type != "HDF5Data":
            try:
                self._undo = Untransformer(_without_resizing(self._layer.spec), root)
            except CaffeCompatError as error:
                self._layer, self.fault = None, f"The pictures cannot be shown: {error.message}."

    @property
    def keys(self) -> tuple[str, ...]:
        """What the items of the batch are called."""
        reader = self._layer.reader if self._layer is not None else None
        return reader.batch.keys if reader is not None and reader.batch is not None else ()

    def __getitem__(self, item: int) -> Image | None:
        """An item's picture, uint8 (height, width, 3) B, G, R; None if there is none."""
        reader = self._layer.reader if self._layer is not None else None
        if reader is None or reader.batch is None or not 0 <= item < len(reader.batch.tops[self._top]):
            return None
        values = reader.batch.tops[self._top][item]
        if self._undo is None:
            return _stretched(values)
        try:
            return self._undo(values)
        except CaffeCompatError as error:
            self._layer, self.fault = None, f"The pictures cannot be shown: {error.message}."
            return None

    def key(self, item: int) -> str:
        """What an item is called, or ""."""
        keys = self.keys
        return keys[item] if 0 <= item < len(keys) else ""


def _sources(net: Net, blob: BlobKey, labels: BlobKey) -> Iterator[tuple[DataLayer, int]]:
    """The layers that read pictures, and which top these are, among those that a blob is computed from."""
    above = _ancestors(net.graph, blob)
    for layer in net.layers:
        if layer.spec.index in above and isinstance(layer, DataLayer) and layer.reader is not None:
            for top, key in enumerate(layer.spec.tops):
                shape = net.blob_shapes[key]
                if len(shape) == 4 and shape[1] in (1, 3) and key not in (blob, labels):
                    yield layer, top


def _ancestors(graph: Graph, blob: BlobKey) -> set[int]:
    """The places of the layers that a blob is computed from."""
    wanted, found = {blob}, set()
    for spec in reversed(graph.layers):
        if wanted.intersection(spec.tops):
            found.add(spec.index)
            wanted.update(spec.bottoms)
    return found


def _without_resizing(spec: LayerSpec) -> LayerSpec:
    """The layer with a transform_param that resizes nothing: a picture is shown as large as the net sees it."""
    message = type(spec.message).FromString(spec.message.SerializePartialToString())
    message.transform_param.ClearField("resize_param")
    return replace(spec, message=message)


def _stretched(values: Floats) -> Image:
    """Values of any range from black to white."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    planes = np.round((finite - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(planes.transpose(1, 2, 0), (*planes.shape[1:], 3)))


@dataclass(frozen=True)
class Mark:
    """A box on a picture.

    Attributes:
        box: xmin, ymin, xmax, ymax, in fractions of the picture.
        text: what stands at it, or "".
        colour: the number of its colour, if it is no truth.
        truth: it is a box to find: green.
        thin: it is not what the picture is about.
    """

    box: Sequence[float]
    text: str = ""
    colour: int = 0
    truth: bool = False
    thin: bool = False


class Thumbnail:
    """A picture as it is kept for the page: scaled down and encoded.

    Args:
        image: uint8 (height, width, 3) B, G, R.
        exact: its colours mean something: no loss.
    """

    def __init__(self, image: Image, *, exact: bool = False) -> None:
        height, width = image.shape[:2]
        self._pixels = max(height, width) <= SMALL
        largest = max(height, width)
        if largest > KEPT_SIDE:
            size = (max(round(width * KEPT_SIDE / largest), 1), max(round(height * KEPT_SIDE / largest), 1))
            method = cv2.INTER_NEAREST if exact else cv2.INTER_AREA
            image = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
        lossless = exact or self._pixels
        _, data = cv2.imencode(".png" if lossless else ".jpg", image)
        self._data = f"data:image/{'png' if lossless else 'jpeg'};base64,{base64.b64encode(data.tobytes()).decode()}"
        self._size = (max(round(SIDE * width / largest), 1), max(round(SIDE * height / largest), 1))

    def svg(self, label: str, marks: Iterable[Mark] = ()) -> Markup:
        """The picture with boxes on it; `label` says what it shows to those who do not see it."""
        width, height = self._size
        image = element(
            "image",
            class_="pixels" if self._pixels else None,
            href=self._data,
            width=width,
            height=height,
            preserveAspectRatio="none",
        )
        drawn = [part for mark in marks for part in self._drawn(mark)]
        return element(
            "svg",
            image,
            *drawn,
            class_="picture",
            viewBox=f"0 0 {width} {height}",
            width=width,
            role="img",
            aria_label=label,
        )

    def _drawn(self, mark: Mark) -> Iterator[Markup]:
        width, height = self._size
        corners = np.clip(np.nan_to_num(np.asarray(mark.box, np.float64)), -0.02, 1.02) * np.array([width, height] * 2)
        left, top, right, bottom = corners.tolist()
        place = {"x": f"{left:.1f}", "y": f"{top:.1f}", "width": f"{max(right - left, 0):.1f}"}
        place["height"] = f"{max(bottom - top, 0):.1f}"
        kind = ("truth" if mark.truth else f"line{mark.colour}") + " thin" * mark.thin
        if not mark.thin:
            yield element("rect", class_="under", **place)
        yield element("rect", class_=kind, **place)
        if mark.text:
            yield self._text(mark, left, top, bottom)

    def _text(self, mark: Mark, left: float, top: float, bottom: float) -> Markup:
        """A text above its box, or within where there is no room; of a truth below."""
        width, height = self._size
        left = max(min(left, width - 7.0 * len(mark.text)), 2)
        below, above = bottom + 13, top - 5
        outside, inside = (below, bottom - 5) if mark.truth else (above, top + 14)
        base = min(max(outside if 11 <= outside <= height - 3 else inside, 11.0), height - 3.0)
        kind = "truth" if mark.truth else None
        return element("text", mark.text, class_=kind, x=f"{left:.1f}", y=f"{base:.1f}")


def figure(pictures: Sequence[Markup], title: str, *lines: Content) -> Markup:
    """Pictures with what is said of them."""
    said = [part for line in lines if line for part in (line, element("br"))][:-1]
    return element(
        "figure",
        *pictures,
        element("figcaption", element("b", title), *said),
        class_="pair" if len(pictures) > 1 else None,
    )


def called(key: str) -> Content:
    """What an item is called: of a path the file, and all of it to whoever points there."""
    name = re.split(r"[/\\]", key)[-1]
    return element("span", shown(name), title=shown(key)) if name not in ("", key) else shown(key)


def gallery(figures: Iterable[Markup]) -> Markup:
    """Figures side by side."""
    return element("div", *figures, class_="gallery")
