"""Elements of a page. Every text is escaped but that which is markup already, so that no name can become a tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from caffecompat.errors import printable

# These have no end tag in HTML.
_EMPTY = frozenset({"meta", "img", "br", "input"})


class Markup(str):
    """A piece of HTML or SVG, finished."""

    __slots__ = ()


Content = str | int | float | None


def element(tag: str, /, *children: Content, **attributes: Content) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: what is in it: markup as it is, other texts and numbers escaped; None is left out.
        attributes: by name, `_` standing for `-`, and one at the end (`class_`) left out; None is left out.
    """
    stated = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{stated}>")
    return Markup(f"<{tag}{stated}>{join(children)}</{tag}>")


def text(value: Content) -> Markup:
    """A text or a number as markup: escaped, and printable."""
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else escape(printable(str(value))))


def join(parts: Iterable[Content]) -> Markup:
    """Parts one after the other."""
    return Markup("".join(text(part) for part in parts))


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, and whether its values are numbers, which stand to the right."""

    title: str
    number: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[Content]]) -> Markup:
    """A table; where it is wider than the page it scrolls."""
    kinds = ["number" if column.number else None for column in columns]
    head = (element("th", column.title, class_=kind) for column, kind in zip(columns, kinds, strict=True))
    body = (
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    whole = element("table", element("thead", element("tr", *head)), element("tbody", *body))
    return element("div", whole, class_="wide")


def bar(share: float, colour: int = 0) -> Markup:
    """A bar as long as a share between 0 and 1, and the share as a number."""
    width = 100 * min(max(share, 0.0), 1.0) if share == share else 0.0
    filled = element("i", class_=f"fill{colour}", style=f"width:{width:.1f}%")
    return join((element("span", filled, class_="bar"), element("span", decimals(share), class_="value")))


def decimals(value: float) -> str:
    """A share or a score: three digits after the point."""
    return f"{value:.3f}"


def number(value: float) -> str:
    """A number as a reader wants it: four digits that count, and thousands apart where it is whole."""
    whole = abs(value) < 1e15 and value == int(value)
    return f"{int(value):,}" if whole else f"{value:.4g}"
