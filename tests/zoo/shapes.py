"""Draws a set for detection in VOC's layout: circles, squares and triangles on soft ground.

python -m tests.zoo.shapes FOLDER [--train 400] [--test 100] [--seed 1]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("circle", "square", "triangle")
SIDE = 300
SHAPES = 4
Box = tuple[int, int, int, int]
OBJECT = """<object><name>{}</name><difficult>0</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>
"""


def picture(random: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, Box]]]:
    """A picture, uint8 (300, 300, 3), with one to four shapes apart from each other, and their classes and boxes."""
    ground = random.integers(60, 200, (6, 6, 3), np.uint8)
    image = cv2.resize(ground, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    found: list[tuple[str, Box]] = []
    for _ in range(random.integers(1, SHAPES + 1)):
        side = int(random.integers(40, 140))
        left, top = (int(place) for place in random.integers(0, SIDE - side, 2))
        box = (left, top, left + side, top + side)
        if any(_meet(box, other) for _, other in found):
            continue
        kind = CLASSES[random.integers(len(CLASSES))]
        shade = np.roll([220, 45, 45], CLASSES.index(kind)) + random.integers(-35, 36, 3)
        paint(image, kind, box, tuple(int(value) for value in shade))
        found.append((kind, box))
    return image, found


def _meet(one: Box, other: Box) -> bool:
    return all(one[axis] < other[axis + 2] and other[axis] < one[axis + 2] for axis in (0, 1))


def paint(image: np.ndarray, kind: str, box: Box, colour: tuple[int, ...]) -> None:
    """Fill a shape that its box encloses."""
    left, top, right, bottom = box
    middle, half = (left + right) // 2, (right - left) // 2
    if kind == "circle":
        cv2.circle(image, (middle, (top + bottom) // 2), half, colour, -1, cv2.LINE_AA)
    elif kind == "square":
        cv2.rectangle(image, (left, top), (right, bottom), colour, -1)
    else:
        cv2.fillPoly(image, [np.array([(middle, top), (left, bottom), (right, bottom)])], colour, cv2.LINE_AA)


def write_shapes(folder: Path, train: int, test: int, seed: int = 1) -> None:
    """Write JPEGImages, Annotations and ImageSets/Main with its lists trainval and test."""
    random = np.random.default_rng(seed)
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True)
    for split, count in (("trainval", train), ("test", test)):
        names = [f"{split}_{index:04d}" for index in range(count)]
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            image, shapes = picture(random)
            cv2.imwrite(str(folder / "JPEGImages" / f"{name}.jpg"), image)
            # VOC counts pixels from 1.
            objects = "".join(OBJECT.format(kind, *(corner + 1 for corner in box)) for kind, box in shapes)
            size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
            (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}\n{objects}</annotation>\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    write_shapes(asked.folder, asked.train, asked.test, asked.seed)


if __name__ == "__main__":
    main()
