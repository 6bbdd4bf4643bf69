"""Random data sets with detections, for the tests of evaluations."""

from __future__ import annotations

import numpy as np

from caffecompat.detection.ground_truth import Found, Truth


def random_truth(rng, images=12, classes=3, boxes=60, crowds=True):
    """Truth of integer boxes, some of them difficult, and areas that are less than their boxes'."""
    names = tuple(f"class{index}" for index in range(classes))
    files = tuple(f"image{index}" for index in range(images))
    corner, sides = rng.integers(0, 200, (boxes, 2)), rng.integers(1, 140, (boxes, 2))
    return Truth(
        names,
        files,
        {name: index for index, name in enumerate(names)},
        {name: index for index, name in enumerate(files)},
        rng.integers(0, images, boxes),
        rng.integers(0, classes, boxes),
        np.concatenate([corner, sides], 1).astype(float),
        rng.random(boxes) < (0.2 if crowds else 0),
        sides.prod(1) * rng.uniform(0.3, 1, boxes),
    )


def random_found(rng, truth, near=150, far=80):
    """Detections: some beside boxes of the truth, so that many compete for one, and some anywhere; scores repeat."""
    chosen = rng.integers(0, len(truth.image), near)
    boxes = np.concatenate(
        [
            truth.boxes[chosen] + rng.integers(-12, 13, (near, 4)),
            np.concatenate([rng.integers(0, 200, (far, 2)), rng.integers(1, 140, (far, 2))], 1),
        ]
    )
    boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
    image = np.concatenate([truth.image[chosen], rng.integers(0, len(truth.images), far)])
    label = np.concatenate([truth.label[chosen], rng.integers(0, len(truth.classes), far)])
    order = rng.permutation(near + far)
    scores = rng.integers(1, 60, near + far) / 60
    return Found(truth.classes, truth.images, image[order], label[order], scores, boxes[order].astype(float))
