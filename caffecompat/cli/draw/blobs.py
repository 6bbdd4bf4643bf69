"""What blobs hold, as small pictures: the planes of feature maps, the values of vectors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from caffecompat.cli.draw.svg import data_url
from caffecompat.data.images import Image
from caffecompat.graph.spec import BlobKey, Shape

# So many planes of a feature map are shown, in rows of COLUMNS, none larger than SIDE pixels each way.
PLANES, COLUMNS, SIDE = 16, 4, 72
# A vector is drawn in so many columns, each as high as the greatest of its values.
BARS, BAR_HEIGHT = 288, 72
# All pictures of a page together, in letters of their addresses.
MOST_LETTERS = 24_000_000
_GAP = 2
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BlobPicture:
    """What a blob holds.

    Attributes:
        shape: its shape in this pass.
        told: its least, greatest and mean value, and what else is to be said of the values.
        picture: its picture as an address, or "".
        caption: what the picture shows.
        size: the width and height of the picture.
    """

    shape: Shape
    told: str
    picture: str = ""
    caption: str = ""
    size: tuple[int, int] = (0, 0)


class Gallery:
    """Takes pictures of blobs, as many as a page can hold.

    Attributes:
        blobs: what was seen.
    """

    def __init__(self) -> None:
        self.blobs: dict[BlobKey, BlobPicture] = {}
        self._letters = 0

    def add(self, key: BlobKey, blob: Tensor) -> None:
        """Take a picture of a blob's first item."""
        values = blob.detach().cpu().float().numpy()
        told = _told(values)
        pixels, caption = _pixels(values)
        address = "" if pixels is None else data_url(pixels)
        if pixels is None or self._letters + len(address) > MOST_LETTERS:
            self.blobs[key] = BlobPicture(values.shape, told)
            return
        self._letters += len(address)
        self.blobs[key] = BlobPicture(values.shape, told, address, caption, (pixels.shape[1], pixels.shape[0]))


def _told(values: npt.NDArray[np.float32]) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "no values" if not values.size else "no finite values"
    told = f"from {finite.min():.4g} to {finite.max():.4g}, mean {finite.mean(dtype=np.float64):.4g}"
    zeros = int((finite == 0).sum())
    if zeros:
        told += f", {zeros / values.size:.0%} zeros"
    wrong = values.size - finite.size
    return told + (f", {wrong:,} not finite" if wrong else "")


def _pixels(values: npt.NDArray[np.float32]) -> tuple[Image | None, str]:
    """The picture of a blob's first item, and what it shows; None if there is nothing to see."""
    if values.ndim < 2 or not values.size:
        return None, ""
    item = np.nan_to_num(values[0].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if item.ndim == 3 and item.shape[1] * item.shape[2] > 1:
        shown = min(len(item), PLANES)
        which = "all channels" if shown == len(item) else f"channels 0 to {shown - 1} of {len(item)}"
        return _planes(item[:shown]), f"{which}, from black to white"
    vector = item.reshape(-1)
    if item.ndim > 3 or vector.size < 2 or values.ndim == 3:
        return None, ""
    return _bars(vector), f"{vector.size:,} values from left to right"


def _planes(planes: Values) -> Image:
    """Planes side by side, grey, all on one scale."""
    low, high = (float(edge) for edge in np.percentile(planes, (0.5, 99.5)))
    if high <= low:
        low, high = float(planes.min()), float(planes.max())
    grey = np.clip((planes - low) * (255 / (high - low) if high > low else 0.0), 0, 255).astype(np.uint8)
    height, width = grey.shape[1:]
    scale = SIDE / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    columns = min(len(grey), COLUMNS)
    rows = -(-len(grey) // columns)
    sheet = np.full((rows * (size[1] + _GAP) - _GAP, columns * (size[0] + _GAP) - _GAP), 255, np.uint8)
    for index, plane in enumerate(grey):
        top, left = index // columns * (size[1] + _GAP), index % columns * (size[0] + _GAP)
        sheet[top : top + size[1], left : left + size[0]] = cv2.resize(plane, size, interpolation=method)
    return sheet


def _bars(vector: Values) -> Image:
    """Values as bars from their zero."""
    count = min(vector.size, BARS)
    edges = np.arange(count) * vector.size // count
    tops, feet = np.maximum.reduceat(vector, edges), np.minimum.reduceat(vector, edges)
    high, low = max(float(tops.max()), 0.0), min(float(feet.min()), 0.0)
    step = (BAR_HEIGHT - 1) / (high - low) if high > low else 0.0
    sheet = np.full((BAR_HEIGHT, count), 255, np.uint8)
    rows = np.arange(BAR_HEIGHT)[:, None]
    upper = np.round((high - np.maximum(tops, 0.0)) * step)
    lower = np.round((high - np.minimum(feet, 0.0)) * step)
    sheet[(rows >= upper) & (rows <= lower)] = 90
    wide = max(BARS // count, 1)
    return np.ascontiguousarray(np.repeat(sheet, wide, axis=1))
