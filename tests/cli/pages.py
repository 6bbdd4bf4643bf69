"""What a page of HTML holds."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import cv2
import numpy as np

from tests.cli.records import call


class Page(HTMLParser):
    """The elements of a page: tags with their attributes, tables as rows of texts, figures.

    `figures` are (texts of the caption, data URLs of the pictures, texts on the pictures).
    """

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.tags, self.texts, self.tables, self.figures, self.tiles = [], [], [], [], {}
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in ("meta", "br", "img"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "figure":
            self.figures.append(([], [], []))
        elif tag == "image" and self.figures:
            self.figures[-1][1].append(attributes["href"])
        elif tag == "div" and attributes.get("class") == "tile":
            self._tile = []

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "div" and getattr(self, "_tile", None):
            name, value, *_ = self._tile
            self.tiles[name] = (value, *self._tile[2:])
            self._tile = None

    def handle_data(self, data):
        if not data.strip() or "style" in self._open:
            return
        self.texts.append(data)
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        if "figcaption" in self._open:
            self.figures[-1][0].append(data)
        elif "figure" in self._open:
            self.figures[-1][2].append(data)
        if getattr(self, "_tile", None) is not None:
            self._tile.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def table(self, first, *more):
        """The rows of the table whose titles begin so."""
        for rows in self.tables:
            if rows and rows[0][: 1 + len(more)] == [first, *more]:
                return rows[1:]
        raise AssertionError(f"no table {first, *more} among {[rows[:1] for rows in self.tables]}")

    def facts(self):
        return {row[0]: row[1] for row in self.tables[0]}


def picture(url):
    """The pixels of a data URL."""
    _, _, data = url.partition(";base64,")
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def check_self_contained(page):
    """Nothing is loaded, and nothing runs."""
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "nav", "a", "p", "em", "b", "i"}
    allowed |= {"div", "span", "section", "footer", "table", "thead", "tbody", "tr", "th", "td", "br"}
    allowed |= {"figure", "figcaption", "svg", "path", "line", "rect", "circle", "text", "image"}
    assert {tag for tag, _ in page.tags} <= allowed
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,"))
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def report(target, *arguments):
    call("report", *arguments, "-o", target)
    page = Page(target.read_text())
    check_self_contained(page)
    return page


def hand_made(tmp_path, weights, text, *more):
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    return report(tmp_path / "page.html", "--model", net, "--weights", weights, "--root", tmp_path, *more)
