"""How a net looks at a picture to be scored: one crop, ten, a grid of them, or all of it at once.

Sources of the rules: Caffe's oversample (pycaffe); Simonyan, Zisserman: Very Deep Convolutional Networks, sections 3.2
and 4.2 to 4.3 (several scales; 5x5 crops with their mirror images; dense evaluation, spatially averaged).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from caffecompat.cli.predict._classify import class_scores, ten_crops
from caffecompat.cli.predict._session import Session
from caffecompat.data.images import Image
from caffecompat.data.preprocessing import Floats, Preprocessing
from caffecompat.errors import ShapeError, context
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe


@dataclass(frozen=True)
class Asked:
    """What views are wanted.

    Attributes:
        kinds: "single", "ten", "grid", "dense".
        scales: the lengths that the shorter side of a picture is resized to; () resizes as the net's record says.
        grid: how many crops stand beside and above each other.
        flip: mirror images as well; None: of grid and dense.
    """

    kinds: tuple[str, ...]
    scales: tuple[int, ...]
    grid: int
    flip: bool | None


class View(ABC):
    """One way to look at pictures.

    Args:
        kind: its name.
        scale: the length of the shorter side, or None.
        session: the net.
        preprocessing: how its crops are made.
        blob: the output of scores.

    Attributes:
        kind: its name.
        scale: the length of the shorter side, or None.
        count: how many crops are averaged; 0 of a dense one, where the picture's size decides.
    """

    count: int

    def __init__(self, kind: str, scale: int | None, session: Session, preprocessing: Preprocessing, blob: str) -> None:
        self.kind = kind
        self.scale = scale
        self._session = session
        self._preprocessing = preprocessing
        self._blob = blob

    @abstractmethod
    def scores(self, images: Sequence[Image]) -> Floats:
        """The scores of pictures, (N, classes)."""


class _Crops(View):
    """Crops as large as the net's input, passed so many at once, and averaged."""

    def __init__(
        self,
        kind: str,
        scale: int | None,
        session: Session,
        preprocessing: Preprocessing,
        blob: str,
        *,
        grid: int,
        flip: bool,
        batch: int,
    ) -> None:
        super().__init__(kind, scale, session, preprocessing, blob)
        self._grid = grid
        self._flip = flip
        self._batch = batch
        self.count = 10 if kind == "ten" else grid * grid * (1 + flip)

    def scores(self, images: Sequence[Image]) -> Floats:
        crops = np.concatenate([self._crops(image) for image in images])
        parts = [crops[start : start + self._batch] for start in range(0, len(crops), self._batch)]
        found = np.concatenate([class_scores(self._session.pictures(part), self._blob) for part in parts])
        return np.asarray(found.reshape(len(images), self.count, -1).mean(axis=1), np.float32)

    def _crops(self, image: Image) -> Floats:
        if self.kind == "ten":
            return ten_crops(self._preprocessing, image)
        pixels = self._preprocessing.resized(image)
        rows, columns = self._preprocessing.crop or pixels.shape[:2]
        tops, lefts = self._places(pixels.shape[0] - rows), self._places(pixels.shape[1] - columns)
        crops = np.stack([self._preprocessing.cut(pixels, top, left) for top in tops for left in lefts])
        return np.concatenate([crops, crops[:, :, :, ::-1]]) if self._flip else crops

    def _places(self, room: int) -> list[int]:
        """Where crops begin: evenly from edge to edge, or in the middle if there is one."""
        if self._grid == 1:
            return [room // 2]
        return [room * index // (self._grid - 1) for index in range(self._grid)]


class _Dense(View):
    """The whole picture through the net made fully convolutional; its scores are averaged over all places."""

    count = 0

    def __init__(
        self, scale: int | None, session: Session, preprocessing: Preprocessing, blob: str, *, flip: bool
    ) -> None:
        super().__init__("dense", scale, session, preprocessing, blob)
        self._flip = flip

    def scores(self, images: Sequence[Image]) -> Floats:
        return np.concatenate([self._whole(image) for image in images])

    def _whole(self, image: Image) -> Floats:
        values = self._preprocessing.apply([image])
        if self._flip:
            values = np.concatenate([values, values[:, :, :, ::-1]])
        found = class_scores(self._session.pictures(values), self._blob)
        return np.asarray(found.mean(axis=0, keepdims=True), np.float32)


def views(session: Session, blob: str, asked: Asked, batch: int) -> list[View]:
    """The views that are wanted, each kind at each scale.

    Args:
        session: the net.
        blob: its output of scores.
        asked: what is wanted.
        batch: how many crops pass at once.

    Raises:
        UnsupportedError: the net cannot be made fully convolutional.
        ShapeError: a scale is smaller than the net's input.
    """
    last = session.net.graph.last
    taken = session.net.blob_shapes[last[session.preprocessing.input]]
    if len(taken) != 4:
        raise ShapeError(f'input "{session.preprocessing.input}" has shape {taken}; expected (N, C, height, width)')
    size = (taken[2], taken[3])
    for wanted in asked.scales:
        if "dense" not in asked.kinds and wanted < max(size):
            hint = f"give scales of {max(size)} or more, or see --input-shape"
            raise ShapeError(f"--scales {wanted}: crops of {size[0]}x{size[1]} do not fit", hint=hint)
    made: list[View] = []
    scales: Sequence[int | None] = asked.scales or (None,)
    dense = _convolutional(session) if "dense" in asked.kinds else session
    for kind in asked.kinds:
        for scale in scales:
            record = session.preprocessing
            if scale is not None:
                record = replace(record, size=(scale, scale), resize="fit_small", crop=size)
            if kind == "dense":
                flip = asked.flip is not False
                made.append(_Dense(scale, dense, replace(record, crop=None), blob, flip=flip))
                continue
            grid = asked.grid if kind == "grid" else 1
            flip = bool(asked.flip) if kind == "single" else asked.flip is not False
            made.append(_Crops(kind, scale, session, record, blob, grid=grid, flip=flip, batch=batch))
    return made


def _convolutional(session: Session) -> Session:
    """The net with its fully-connected layers as convolutions (the recipe fc_to_conv)."""
    if not any(spec.type == "InnerProduct" for spec in session.net.graph.layers):
        return session
    with context(hint="a dense evaluation needs a net that can be made fully convolutional"):
        net, _ = apply_recipe(session.net, find_recipe("fc_to_conv"), {}, session.preprocessing)
    return replace(session, net=net.eval().to(session.device))
