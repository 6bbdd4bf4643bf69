"""Classification: which output holds the scores, ten crops, the best classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from caffecompat.cli.predict._session import Arrays, Session
from caffecompat.data.images import Image
from caffecompat.data.preprocessing import Floats, Preprocessing
from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted

CROPS = 10


def scores_blob(session: Session, asked: str | None) -> str:
    """The output that holds the scores: the one asked for, else the last that a Softmax makes, else the only one.

    Raises:
        UsageError: it is not clear which one, or it holds boxes.
    """
    blob = _output(session, asked)
    key = session.net.graph.last[blob]
    if any(spec.type == "DetectionOutput" and key in spec.tops for spec in session.net.graph.layers):
        raise UsageError(
            f"output {quoted(blob)} is of a DetectionOutput layer: it holds boxes, no scores of classes",
            hint="caffecompat detect",
        )
    return blob


def _output(session: Session, asked: str | None) -> str:
    outputs = session.net.outputs
    if asked is not None:
        if asked not in outputs:
            known = ", ".join(outputs)
            raise UsageError(
                f"the net has no output {quoted(asked)}; it has: {known}", hint=did_you_mean(asked, outputs)
            )
        return asked
    softmax = [key.name for spec in session.net.graph.layers if spec.type == "Softmax" for key in spec.tops]
    found = [name for name in softmax if name in outputs] or outputs
    if len(found) > 1 and not softmax:
        raise UsageError(f"the net has {len(outputs)} outputs: {', '.join(outputs)}", hint="choose one with --blob")
    return found[-1]


def ten_crops(preprocessing: Preprocessing, image: Image) -> Floats:
    """The four corners and the middle of the resized picture, and their mirror images: (10, C, H, W).

    The order is pycaffe's `oversample`: top left, top right, bottom left, bottom right, middle, then mirrored.
    """
    pixels = preprocessing.resized(image)
    rows, columns = preprocessing.crop or pixels.shape[:2]
    bottom, right = pixels.shape[0] - rows, pixels.shape[1] - columns
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = np.stack([preprocessing.cut(pixels, top, left) for top, left in places])
    return np.concatenate([crops, crops[:, :, :, ::-1]])


def class_scores(outputs: Arrays, blob: str) -> Floats:
    """Scores, (N, classes): of a fully convolutional net the mean over all places.

    Raises:
        ShapeError: the output has no axis of classes.
    """
    scores = outputs[blob]
    if scores.ndim < 2:
        raise ShapeError(f'output "{blob}" has shape {scores.shape}; expected (N, classes)', hint="see `run`")
    return np.asarray(scores.reshape(*scores.shape[:2], -1).mean(axis=2), dtype=np.float32)


def classify(session: Session, images: Sequence[Image], blob: str, oversample: bool) -> Floats:
    """Scores of pictures, (N, classes); with `oversample` the mean over ten crops of each."""
    if not oversample:
        return class_scores(session.pictures(session.preprocessing.apply(images)), blob)
    crops = np.concatenate([ten_crops(session.preprocessing, image) for image in images])
    scores = class_scores(session.pictures(crops), blob)
    return np.asarray(scores.reshape(len(images), CROPS, -1).mean(axis=1), dtype=np.float32)


def best(scores: Floats, top: int, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The `top` classes of one picture's scores, best first; of equal ones the lower index first."""
    for rank, index in enumerate(np.argsort(-scores, kind="stable")[:top], start=1):
        name = labels[index] if index < len(labels) else ""
        yield {"rank": rank, "class": int(index), "name": name, "score": float(scores[index])}
