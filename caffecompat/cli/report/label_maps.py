"""What a net that labels pixels comes to: how often a class was taken for another, and the worst pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.cli.report.markup import Column, Content, Markup, bar, decimals, element, join, number, table
from caffecompat.cli.report.matrix import confusion
from caffecompat.cli.report.names import Names
from caffecompat.cli.report.page import Section, Tile
from caffecompat.cli.report.pictures import Pictures, Thumbnail, called, figure, gallery
from caffecompat.cli.report.ranking import Best
from caffecompat.cli.report.scores import Scored
from caffecompat.data.images import Image
from caffecompat.data.png import voc_palette
from caffecompat.errors import shown

# Label maps of more classes are not looked at: VOC's palette has so many colours.
MAX_CLASSES = 256
GREY = 128


@dataclass(frozen=True)
class MapExample:
    """A picture, its label map, and what the net made of it.

    Attributes:
        pictures: the picture if there is one, the true map and the answer.
        key: what it is called.
        share: how much of its pixels is right.
    """

    pictures: tuple[Thumbnail, ...]
    key: str
    share: float


class LabelMaps:
    """Gathers label maps, pass by pass.

    Args:
        scored: the scores.
        pictures: those that were labelled.
        names: what the classes are called.
        examples: how many pictures are kept.

    Attributes:
        blobs: the blobs that `add` wants.
        counts: (classes, classes) how many pixels of a class (first) got a label (second).
        images: how many label maps there were.
        worst: those with the most pixels wrong.
    """

    def __init__(self, scored: Scored, pictures: Pictures, names: Names, examples: int) -> None:
        self.scored = scored
        self.pictures = pictures
        self.names = names
        self.blobs = scored.blobs
        classes = scored.shape[1]
        self.counts: npt.NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self.images = 0
        self.worst: Best[MapExample] = Best(examples)

    def add(self, blobs: Mapping[str, Tensor], items: int | None = None) -> None:
        """Take the blobs of a pass, of so many items if not of all."""
        scores, labels, counted = (blob[:items] for blob in self.scored.take(blobs))
        classes = scores.shape[1]
        answers = scores.argmax(1)
        pairs = labels[counted] * classes + answers[counted]
        self.counts += torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).numpy()
        for place in range(len(scores)):
            total = int(counted[place].sum())
            self.images += 1
            if total:
                share = int((answers[place] == labels[place])[counted[place]].sum()) / total
                truth = torch.where(counted[place], labels[place], -1)
                self.worst.offer(-share, partial(self._example, place, share, truth, answers[place]))

    def _example(self, place: int, share: float, truth: Tensor, answer: Tensor) -> MapExample:
        picture = self.pictures[place]
        maps = [Thumbnail(coloured(labels.numpy()), exact=True) for labels in (truth, answer)]
        return MapExample((*([] if picture is None else [Thumbnail(picture)]), *maps), self.pictures.key(place), share)

    def overlaps(self) -> dict[int, float]:
        """Of each class that is there or was answered, its intersection over union."""
        right = self.counts.diagonal()
        union = self.counts.sum(0) + self.counts.sum(1) - right
        return {label: float(right[label] / union[label]) for label in np.flatnonzero(union).tolist()}


def coloured(labels: npt.NDArray[np.int64]) -> Image:
    """A label map in VOC's colours (B, G, R); what does not count is grey."""
    palette = np.array([*voc_palette(MAX_CLASSES), (GREY, GREY, GREY)], np.uint8)[:, ::-1]
    return np.ascontiguousarray(palette[np.where(labels < 0, MAX_CLASSES, labels)])


def label_map_section(found: LabelMaps) -> Section:
    """What was gathered, as a part of the page."""
    title = f"Label maps ({shown(found.scored.scores.name)})"
    overlaps = found.overlaps()
    if not overlaps:
        return Section(title, [element("p", "No pixel has a label that is one of the classes.", class_="note")])
    total, right = int(found.counts.sum()), int(found.counts.diagonal().sum())
    mean = sum(overlaps.values()) / len(overlaps)
    tiles = [
        Tile(decimals(mean), "mean intersection over union", f"{len(overlaps)} classes, {number(found.images)} images"),
        Tile(decimals(right / total), "pixels right", f"of {number(total)}"),
    ]
    columns = [
        Column("class"),
        Column("intersection over union"),
        Column("pixels", True),
        Column("of them right", True),
    ]
    rows = []
    for label, value in sorted(overlaps.items(), key=lambda item: -item[1]):
        pixels = int(found.counts[label].sum())
        share = decimals(int(found.counts[label, label]) / pixels) if pixels else ""
        rows.append((_named(found.names, label), bar(value), number(pixels), share))
    counts = {
        (true, answer): int(found.counts[true, answer])
        for true, answer in zip(*(places.tolist() for places in found.counts.nonzero()), strict=True)
    }
    parts: list[Content] = [
        element("h3", "Each class"),
        table(columns, rows),
        element("h3", "Confusion, in pixels"),
        *confusion(counts, found.names),
        element("h3", "Pictures with the most pixels wrong"),
        element("p", "The picture as the net sees it, its label map, and the net's; grey does not count."),
        gallery(_figure(one) for one in found.worst),
    ]
    return Section(title, parts, tiles)


def _named(names: Names, label: int) -> Markup:
    red, green, blue = voc_palette(label + 1)[label]
    swatch = element("span", class_="swatch", style=f"background: rgb({red}, {green}, {blue})")
    return join((swatch, names(label)))


def _figure(one: MapExample) -> Markup:
    labels = ("picture", "label map", "answer")[-len(one.pictures) :]
    pictures = [
        picture.svg(f"{label} of {shown(one.key)}") for picture, label in zip(one.pictures, labels, strict=True)
    ]
    return figure(pictures, f"{one.share:.1%} right", called(one.key))
