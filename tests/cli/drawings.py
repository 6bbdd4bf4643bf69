"""What is in a drawing: its boxes, texts and lines, read from the SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.cli.records import call

SVG = "{http://www.w3.org/2000/svg}"


class Drawn:
    """The elements of an SVG file.

    `layers` has of each layer by its index its box (x, y, width, height), kind and texts; `wires` of each blob its
    title, the layers that it joins and the points of its lines; `tips` are the ends of arrows.
    """

    def __init__(self, text):
        self.root = ElementTree.fromstring(text)
        assert self.root.tag == f"{SVG}svg"
        self.width, self.height = float(self.root.get("width")), float(self.root.get("height"))
        self.layers, self.wires, self.tips = {}, [], []
        for group in self.root.iter(f"{SVG}g"):
            if group.get("class") == "layer":
                (box,) = group.iter(f"{SVG}rect")
                place = tuple(float(box.get(name)) for name in ("x", "y", "width", "height"))
                self.layers[int(group.get("data-layers"))] = (place, box.get("class"), texts(group))
            elif group.get("class") == "wire":
                lines = [line for line in group.iter(f"{SVG}path") if line.get("class") == "wire"]
                heads = [line for line in group.iter(f"{SVG}path") if line.get("class") == "arrow"]
                self.tips += [points(head.get("d").partition("l")[0])[0] for head in heads]
                joined = [int(index) for index in group.get("data-layers").split()]
                title = group.find(f"{SVG}title").text
                self.wires.append((title, joined, [points(line.get("d")) for line in lines]))
        self.texts = texts(self.root)

    def by_name(self):
        """The box, kind and texts of each layer by its first text."""
        return {found[2][0]: found for found in self.layers.values()}


def texts(element):
    return ["".join(text.itertext()) for text in element.iter(f"{SVG}text")]


def points(path):
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path)[1:]]


def draw(net, target, *options):
    """The drawing of a net."""
    call("draw", net, "-o", target, *options)
    return Drawn(target.read_text())
