"""A drawing as SVG, by itself or within a page."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import cv2
import numpy as np

from caffecompat.cli.draw.canvas import FONTS, PAINTS, Arrow, Box, Drawing, Group, Item, Line, Picture, Text
from caffecompat.cli.report.markup import Markup, element
from caffecompat.data.images import Image

# A picture is kept so much finer than the drawing.
_FINER = 1.5
_FACE = 'font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif'


def style(scope: str = "") -> str:
    """How the kinds of boxes, lines and texts look, as rules of CSS within a selector."""
    rules = [f"{scope}text {{ {_FACE} }}"]
    for kind, paint in PAINTS.items():
        rules.append(f"{scope}.{kind} {{ fill: {paint.fill}; stroke: {paint.stroke}; stroke-width: {paint.width:g} }}")
    for kind, font in FONTS.items():
        weight = "; font-weight: 600" if font.bold else ""
        rules.append(f"{scope}.{kind} {{ fill: {font.colour}; font-size: {font.size:g}px{weight} }}")
    return "\n".join(rules)


def document(drawing: Drawing) -> bytes:
    """A drawing as an SVG file, with its style."""
    paper = element("rect", class_="paper", width="100%", height="100%")
    title = element("title", drawing.title)
    whole = _svg(drawing, title, element("style", Markup(f"\n{style()}\n")), paper, xmlns="http://www.w3.org/2000/svg")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}\n'.encode()


def inline(drawing: Drawing) -> Markup:
    """A drawing for a page that has the style; its layers can be chosen there."""
    return _svg(drawing, choosable=True)


def _svg(drawing: Drawing, *before: Markup, xmlns: str | None = None, choosable: bool = False) -> Markup:
    width, height = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    groups = (_group(group, choosable) for group in drawing.groups)
    return element(
        "svg",
        *before,
        *groups,
        xmlns=xmlns,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img" if not choosable else "group",
        aria_label=drawing.title,
    )


def _group(group: Group, choosable: bool) -> Markup:
    items = [part for item in group.items for part in _item(item)]
    if not group.kind:
        return element("g", *items)
    title = element("title", group.title) if group.title else None
    layers = " ".join(map(str, group.layers))
    if not choosable or group.kind != "layer":
        return element("g", title, *items, class_=group.kind, data_layers=layers)
    return element(
        "g", title, *items, class_=group.kind, data_layer=layers, tabindex=0, role="button", aria_label=group.title
    )


def _item(item: Item) -> Iterator[Markup]:
    if isinstance(item, Box):
        place = {"x": _at(item.x), "y": _at(item.y), "width": _at(item.width), "height": _at(item.height)}
        yield element("rect", class_=item.kind, rx=4 if item.round else None, **place)
    elif isinstance(item, Text):
        anchor = None if item.anchor == "start" else item.anchor
        yield element("text", item.text, class_=item.kind, x=_at(item.x), y=_at(item.y), text_anchor=anchor)
    elif isinstance(item, Line):
        yield element("path", class_=item.kind, d="M" + "L".join(f"{_at(x)} {_at(y)}" for x, y in item.points))
    elif isinstance(item, Arrow):
        yield element("path", class_="arrow", d=f"M{_at(item.x)} {_at(item.y)}l-3.5 -7h7z")
    else:
        yield _picture(item)


def _picture(item: Picture) -> Markup:
    place = {"x": _at(item.x), "y": _at(item.y), "width": _at(item.width), "height": _at(item.height)}
    size = max(round(item.width * _FINER), 1), max(round(item.height * _FINER), 1)
    pixels = item.pixels
    if size[0] < pixels.shape[1]:
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return element("image", href=data_url(pixels, photo=True), preserveAspectRatio="none", **place)


def data_url(pixels: Image, *, photo: bool = False) -> str:
    """A picture as an address that holds it: PNG, or JPEG for a photograph."""
    suffix, kind = (".jpg", "jpeg") if photo else (".png", "png")
    _, data = cv2.imencode(suffix, pixels)
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


def _at(place: float) -> str:
    """A place or a size, to a tenth of a pixel."""
    return f"{place:.1f}".removesuffix(".0")
