"""The page: one HTML file that needs no other, no network and no script; light or dark, and fit to be printed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import caffecompat
from caffecompat.cli.report.markup import Content, Markup, element, join
from caffecompat.cli.report.style import STYLE
from caffecompat.formats import atomic_write

# Nothing but what stands in the file itself, whatever its names may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Tile:
    """A number that stands out: its value, what it is, and perhaps a word more."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page under a title."""

    title: str
    parts: Sequence[Content]
    tiles: Sequence[Tile] = ()


def render(title: str, facts: Sequence[tuple[str, Content]], sections: Sequence[Section]) -> bytes:
    """The page.

    Args:
        title: what it is about.
        facts: what it was made from, as names and values.
        sections: its parts; their tiles stand at the top of the page, too.
    """
    tiles = [tile for section in sections for tile in section.tiles]
    rows = (element("tr", element("td", name), element("td", value)) for name, value in facts)
    body = [
        element("h1", title),
        element("nav", *(element("a", part.title, href=f"#part{n}") for n, part in enumerate(sections))),
        _tiles(tiles),
        element("div", element("table", element("tbody", *rows), class_="facts"), class_="wide"),
        *(element("section", element("h2", part.title, id=f"part{n}"), *part.parts) for n, part in enumerate(sections)),
        element("footer", f"caffecompat {caffecompat.__version__}"),
    ]
    return whole(title, join(body))


def whole(title: str, body: Markup, *, style: str = "", script: str = "") -> bytes:
    """An HTML file of its own.

    Args:
        title: what it is about.
        body: what it holds.
        style: rules of CSS after the common ones.
        script: the only script that may run in it; none may if it is "".
    """
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"{_POLICY}; script-src 'sha256-{allowed}'" if script else _POLICY
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(STYLE + style)),
    ]
    last = element("script", Markup(script)) if script else None
    page = element("html", element("head", *head), element("body", body, last), lang="en")
    return f"<!DOCTYPE html>\n{page}\n".encode("utf-8", "backslashreplace")


def write(path: Path, page: bytes) -> None:
    """Write the page.

    Raises:
        CaffeCompatError: the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(page)


def _tiles(tiles: Sequence[Tile]) -> Markup | None:
    if not tiles:
        return None
    parts = (
        element(
            "div",
            element("span", tile.name),
            element("b", tile.value),
            element("span", tile.note or None),
            class_="tile",
        )
        for tile in tiles
    )
    return element("div", *parts, class_="tiles")
