"""A page of thumbnails of a database: one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from caffecompat.cli.data.inspect import label_text
from caffecompat.data.annotations import BOX, DIFFICULT, LABEL
from caffecompat.data.databases import key_text
from caffecompat.data.datum import Values
from caffecompat.data.images import Image
from caffecompat.data.source import Floats
from caffecompat.data.survey import Looked
from caffecompat.errors import shown
from caffecompat.formats import atomic_write

SIDE = 192
# Smaller pictures are shown larger, pixel by pixel.
SMALL = 64
MAX_BOXES = 200
_STYLE = """
body { font: 14px/1.4 sans-serif; margin: 1.5em; color: #222; background: #fff }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto }
.all { display: flex; flex-wrap: wrap; gap: 12px }
figure { margin: 0; width: 192px }
figcaption { font-size: 12px; overflow-wrap: anywhere }
.picture { position: relative; display: inline-block; line-height: 0 }
.small { image-rendering: pixelated; width: 192px }
.picture i { position: absolute; border: 2px solid; box-sizing: border-box }
.picture b { position: absolute; left: 0; top: 0; font: 11px/1.2 sans-serif; color: #fff; padding: 0 2px }
.difficult { border-style: dashed !important }
.fault { color: #b00 }
"""
# Nothing but what stands in the file itself, whatever a database may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page:
    """Collects the thumbnails, and writes the page.

    Args:
        title: what is shown.
        names: the names of the classes, or none.
        count: how many records there are.
        thumbnails: how many of them are shown, evenly taken; 0 for none.
    """

    def __init__(self, title: str, names: tuple[str, ...], count: int, thumbnails: int) -> None:
        self._title = title
        self._names = names
        shown_records = min(count, thumbnails)
        self._places = {place * count // shown_records for place in range(shown_records)}
        self._figures: list[str] = []

    def add(self, place: int, looked: Looked) -> None:
        """Take a record, if the page is to show it."""
        if place in self._places:
            self._figures.append(self._figure(looked))

    def write(self, path: Path, lines: Sequence[str]) -> None:
        """Write the page, with these lines above the thumbnails.

        Raises:
            CaffeCompatError: the file cannot be written.
        """
        title = escape(shown(self._title))
        parts = [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            f"<pre>{escape(chr(10).join(lines))}</pre>",
            '<div class="all">',
            *self._figures,
            "</div></body></html>\n",
        ]
        with atomic_write(path) as file:
            file.write("\n".join(parts).encode("utf-8", "backslashreplace"))

    def _figure(self, looked: Looked) -> str:
        key = escape(shown(key_text(looked.key)))
        if looked.stored is None:
            return f'<figure><figcaption class="fault">{key}<br>{escape(looked.fault)}</figcaption></figure>'
        values = looked.stored.values()
        picture, small = thumbnail(values)
        boxes = looked.stored.boxes
        label = label_text(looked.stored.datum.label, self._names) if boxes is None else f"{len(boxes)} boxes"
        size = "x".join(map(str, values.shape))
        kind = ' class="small"' if small else ""
        drawn = "" if boxes is None else "".join(self._box(row) for row in boxes[:MAX_BOXES])
        return (
            f'<figure><div class="picture"><img{kind} alt="" src="{picture}">{drawn}</div>'
            f"<figcaption><strong>{escape(label)}</strong><br>{key}<br>{size}, {escape(looked.kind)}</figcaption>"
            "</figure>"
        )

    def _box(self, row: Floats) -> str:
        left, top, right, bottom = (100 * float(corner) for corner in np.clip(row[BOX], 0, 1))
        label = int(row[LABEL])
        colour = f"hsl({label * 67 % 360} 85% 38%)"
        dashed = ' class="difficult"' if row[DIFFICULT] else ""
        place = f"left:{left:.2f}%;top:{top:.2f}%;width:{max(right - left, 0):.2f}%;height:{max(bottom - top, 0):.2f}%"
        name = escape(label_text(label, self._names))
        return f'<i{dashed} style="{place};color:{colour}"><b style="background:{colour}">{name}</b></i>'


def thumbnail(values: Values) -> tuple[str, bool]:
    """A picture of values (channels, height, width) as a data URL, and whether it is small and to be shown larger.

    Three channels are taken as B, G, R, of others the first is shown; floats are stretched from black to white.
    """
    image = _pixels(values)
    height, width = image.shape[:2]
    small = max(height, width) <= SMALL
    if not small and max(height, width) > SIDE:
        scale = SIDE / max(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    suffix, kind = (".png", "png") if small else (".jpg", "jpeg")
    _, data = cv2.imencode(suffix, image)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}", small


def _pixels(values: Values) -> Image:
    planes = values[:3] if values.shape[0] in (3, 4) else values[:1]
    if planes.dtype != np.uint8:
        finite = np.nan_to_num(planes.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        planes = np.round((finite - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))
