"""InfogainLoss: a loss weighed by how much each mistake costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod

import torch
from torch import Tensor

from caffecompat.errors import GraphError, SchemaError, context
from caffecompat.formats.blob_proto import read_blob
from caffecompat.formats.mapped import map_file
from caffecompat.formats.wire import Wire
from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import (
    Mode,
    at_positions,
    check_items,
    check_positions,
    class_labels,
    ignore_label,
    normalizer,
    precise,
    with_gradient_of,
)
from caffecompat.layers.losses import LOG_THRESHOLD


@layer("InfogainLoss")
class InfogainLoss(Layer):
    """The mean of -sum over j of H[label, j] log(probability of j), probabilities below 1e-20 taken as 1e-20.

    bottoms: probabilities or scores; labels; H, as many values as K x K classes, which without a third
    bottom comes from the file `source` (a path from the working folder, or from the prototxt's). tops: the
    loss, a scalar; with BVLC's Caffe the softmax if a second top asks for it.

    The SSD branch takes probabilities (N, ...), all values of an item its classes, one label an item, and
    divides by N. BVLC's Caffe takes scores (..., K, ...) with K on `axis`, does the softmax itself, and
    heeds `ignore_label` and `normalization`.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param, loss = spec.message.infogain_loss_param, spec.message.loss_param
        self._scores = DIALECTS[spec.dialect].infogain_of_scores
        self._axis = param.axis if self._scores else 1
        self._mode = loss.normalization if self._scores else Mode.BATCH_SIZE
        self._ignore = ignore_label(spec) if self._scores else None
        if self._scores and loss.HasField("normalize"):
            raise self.error("normalize is not read by this layer", hint="state normalization", kind=SchemaError)
        if len(spec.tops) > 1 and not self._scores:
            raise self.error("the SSD branch's InfogainLoss has one top", hint='dialect "bvlc"', kind=GraphError)
        if len(bottoms) < 3:
            self.register_buffer("_matrix", self._read(param.source), persistent=False)

    def _read(self, source: str) -> Tensor:
        if not source:
            raise self.error("needs H: a third bottom, or infogain_loss_param { source: ... }", kind=SchemaError)
        path = self.spec.find(source, "infogain_loss_param.source")
        with context(file=path):
            data = map_file(path)
            return torch.from_numpy(read_blob(Wire(data), 0, len(data)).array.copy()).flatten()

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        scores, labels, *given = bottoms
        check_items(self, scores, labels)
        axis = self.axis(self._axis, len(scores))
        if not self._scores:
            scores, axis = (scores[0], prod(scores[1:])), 1
        check_positions(self, scores, labels, axis)
        matrix = given[0] if given else tuple(self.get_buffer("_matrix").shape)
        if prod(matrix) != scores[axis] ** 2:
            raise self.error(f"H must hold {scores[axis]} x {scores[axis]} values for these classes, got {matrix}")
        return ((), bottoms[0])[: len(self.spec.tops)]

    def forward(self, scores: Tensor, labels: Tensor, matrix: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        scores = precise(scores)
        axis = self.axis(self._axis, scores.ndim)
        if not self._scores:
            scores = scores.flatten(1)
        classes = scores.shape[axis]
        matrix = self.get_buffer("_matrix") if matrix is None else matrix.detach()
        found = class_labels(self, at_positions(scores, labels, axis), classes, self._ignore)
        weights = matrix.reshape(classes, classes)[found.index.squeeze(axis)].movedim(-1, axis)
        losses = found.mask(-(weights * self._log(scores, axis)).sum(axis, keepdim=True))
        outer, inner = prod(scores.shape[:axis]), prod(scores.shape[axis + 1 :])
        loss = losses.sum() / normalizer(self._mode, outer, inner, found.count())
        return loss if len(self.spec.tops) < 2 else (loss, torch.softmax(scores.detach(), axis))

    def _log(self, scores: Tensor, axis: int) -> Tensor:
        """The logarithms of the probabilities; the threshold does not stop the gradient."""
        if self._scores:
            logs = torch.log_softmax(scores, axis)
            return with_gradient_of(logs, logs.clamp(min=log(LOG_THRESHOLD)))
        return with_gradient_of(scores, scores.clamp(min=LOG_THRESHOLD)).log()
