"""What a drawing is made of: boxes, texts, lines and pictures in groups, for one writer of SVG and one of pixels.

Places and sizes are in pixels of a drawing at its own size; y goes down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from caffecompat.cli.draw.families import FAMILIES
from caffecompat.data.images import Image

Point = tuple[float, float]
# How wide letters are in heights of a bold font, those of DejaVu Sans, the widest of the usual ones; of a plain one
# they are less by a tenth.
_WIDE, _CAPITAL, _NARROW, _OTHER, _PLAIN = 1.12, 0.86, 0.5, 0.72, 0.9


@dataclass(frozen=True)
class Paint:
    """How boxes and lines of a kind look: colours as #RRGGBB or "none", the line's width in pixels."""

    fill: str
    stroke: str
    width: float = 1.0


@dataclass(frozen=True)
class Font:
    """How texts of a kind look."""

    size: float
    colour: str
    bold: bool = False


# The colours of prior boxes, one after the other.
PRIOR_COLOURS = ("#2364c4", "#c8441b", "#12a150", "#7a3fb5", "#b07a00", "#c02a6d", "#0f8a8a", "#5d6b7d")
PAINTS = {
    **{key: Paint(family.fill, family.stroke) for key, family in FAMILIES.items()},
    **{f"prior{index}": Paint("none", colour, 2.0) for index, colour in enumerate(PRIOR_COLOURS)},
    "paper": Paint("#ffffff", "none"),
    "wire": Paint("none", "#7b8694", 1.2),
    "arrow": Paint("#7b8694", "none"),
    "frame": Paint("#eef0f3", "#9aa3af"),
    "outside": Paint("#fafbfc", "#d9dee6"),
    "edge": Paint("none", "#39414d", 1.5),
    "grid": Paint("none", "#b8c0cb", 0.6),
    "cell": Paint("#ffd23d", "#8a6a00"),
}
FONTS = {
    "title": Font(17, "#1d2129", True),
    "fact": Font(12, "#5b6472"),
    "name": Font(12, "#1d2129", True),
    "note": Font(10.5, "#333a45"),
    "label": Font(9.5, "#5b6472"),
}


@dataclass(frozen=True)
class Box:
    """A rectangle of a kind of `PAINTS`."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    round: bool = False


@dataclass(frozen=True)
class Text:
    """A text of a kind of `FONTS`, on one line, which begins at x (or ends there, or has its middle there).

    Attributes:
        y: of the line that the letters stand on.
        anchor: "start", "middle" or "end".
        width: it is not wider than this; None if there is room.
    """

    x: float
    y: float
    text: str
    kind: str
    anchor: str = "start"
    width: float | None = None


@dataclass(frozen=True)
class Line:
    """A line through points, of a kind of `PAINTS`."""

    points: tuple[Point, ...]
    kind: str


@dataclass(frozen=True)
class Arrow:
    """The head of an arrow that points down to (x, y)."""

    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """A picture, uint8 (height, width, 3) B, G, R, stretched over a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pixels: Image


Item = Box | Text | Line | Arrow | Picture


@dataclass(frozen=True)
class Group:
    """Items that belong together.

    Attributes:
        items: from the back to the front.
        title: what is said to whoever points there, or "".
        kind: "layer", "wire" or "".
        layers: the indices of the layers that it is, or that it joins.
    """

    items: tuple[Item, ...]
    title: str = ""
    kind: str = ""
    layers: tuple[int, ...] = ()


@dataclass
class Drawing:
    """A drawing: its size, its groups from the back to the front, and what it shows, in a sentence."""

    width: float
    height: float
    groups: list[Group] = field(default_factory=list)
    title: str = ""


def shortened(text: str, kind: str, width: float) -> str:
    """A text cut, with dots at its end, to what surely fits a width; a letter remains at least."""
    # No letter is narrower than this: what lies beyond need not be looked at.
    begin = text[: int(width / (_NARROW * _PLAIN * FONTS[kind].size)) + 2]
    if text_width(begin, kind) <= width + 1e-6:
        return begin
    end = len(begin)
    while end > 1 and text_width(begin[:end] + "…", kind) > width:
        end -= 1
    return begin[:end] + "…"


def text_width(text: str, kind: str) -> float:
    """How wide a text is at most."""
    font = FONTS[kind]
    return sum(map(_letter, text)) * font.size * (1.0 if font.bold else _PLAIN)


def _letter(letter: str) -> float:
    if letter in "MWmw@%…" or not letter.isascii():
        return _WIDE
    if letter.isupper():
        return _CAPITAL
    return _NARROW if letter in "ijlrtf.,:;|'!()[]/\\-_ " else _OTHER
