"""Drawn glyphs: classes of random strokes, whose instances are warped and drawn anew; as databases for episodes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from tests.data.records import raw, write_lmdb

SIDE, SCALE = 28, 4


def strokes(random: np.random.Generator) -> list[np.ndarray]:
    """A class: two to four curves, each by four control points within -1 to 1."""
    return [random.uniform(-0.9, 0.9, (4, 2)) for _ in range(random.integers(2, 5))]


def drawn(glyph: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """An instance: uint8 (1, 28, 28), black on white, its points moved and all turned, sheared, scaled and shifted."""
    angle, shear = random.uniform(-0.5, 0.5), random.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(random.uniform(0.7, 1.1, 2))
    shift = random.uniform(-0.15, 0.15, 2)
    t = np.linspace(0, 1, 20)[:, None]
    image = np.full((SIDE * SCALE, SIDE * SCALE), 255, np.uint8)
    width = int(random.integers(6, 11))
    for points in glyph:
        a, b, c, d = points + random.normal(0, 0.1, (4, 2))
        curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        places = ((curve @ affine.T + shift) * 0.45 + 0.5) * SIDE * SCALE
        cv2.polylines(image, [places.round().astype(np.int32)], False, 0, width, cv2.LINE_AA)
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)[None]


def write_glyphs(folder: Path, classes: Iterable[int], instances: int) -> Path:
    """An LMDB of classes by their numbers, which are their seeds and in order their labels; shuffled."""
    records = []
    for label, number in enumerate(classes):
        random = np.random.default_rng(number)
        glyph = strokes(random)
        records += [raw(drawn(glyph, random), label) for _ in range(instances)]
    order = np.random.default_rng(0).permutation(len(records))
    return write_lmdb(folder, [(b"%08d" % place, records[item]) for place, item in enumerate(order)])
