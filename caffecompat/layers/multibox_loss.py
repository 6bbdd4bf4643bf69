"""MultiBoxLoss: what SSD trains with. The whole batch at once: no loop over priors, images or classes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.detection.boxes import decode_boxes, encode_boxes
from caffecompat.detection.evaluate import pad_by_image, read_ground_truth
from caffecompat.detection.matching import UNMATCHED, match_boxes
from caffecompat.detection.mining import hardest, hardest_apart
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.detection import CODE_TYPES, check_predictions
from caffecompat.layers.labels import Mode, normalization, normalizer, with_gradient_of
from caffecompat.schema import caffe_pb2

Param = caffe_pb2.MultiBoxLossParameter
# Minus the logarithm of FLT_MIN.
GREATEST_LOSS = -math.log(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class _Batch:
    """The bottoms, taken apart.

    Attributes:
        loc: (N, P, L, 4) location predictions, L being 1 or the number of classes.
        conf: (N, P, C) confidences.
        priors: (P, 4).
        variances: (P, 4).
        truth: (N, G, 4) ground truth, padded.
        labels: (N, G) its labels.
        valid: (N, G) which of it there is.
    """

    loc: Tensor
    conf: Tensor
    priors: Tensor
    variances: Tensor
    truth: Tensor
    labels: Tensor
    valid: Tensor


@dataclass(frozen=True)
class _Matches:
    """Matched predictions, M in all: image, prior, class of the location prediction, truth's index and label."""

    image: Tensor
    prior: Tensor
    loc_class: Tensor
    truth: Tensor
    label: Tensor


@layer("MultiBoxLoss")
class MultiBoxLoss(Layer):
    """Location loss of the priors matched to ground truth, and confidence loss of those and of hard negatives.

    Bottoms: location predictions, confidences, priors, and ground truth rows (item, label, instance, xmin, ymin,
    xmax, ymax, difficult). Source: multibox_loss_layer.cpp and bbox_util.cpp of the SSD branch.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = self.param = spec.message.multibox_loss_param
        self.classes = param.num_classes
        self.loc_classes = 1 if param.share_location else self.classes
        self.background = param.background_label_id
        self.mining = param.mining_type != Param.NONE
        self.softmax = param.conf_loss_type == Param.SOFTMAX
        self.code_type = CODE_TYPES[param.code_type]
        self.mode = normalization(spec, Mode.VALID)
        self.parts = list(spec.message.propagate_down) or [True, True]
        self._check()
        check_predictions(spec, bottoms, self.classes, self.loc_classes)

    def _check(self) -> None:
        param = self.param
        if self.classes < 1:
            raise self.error("num_classes is missing or 0", kind=SchemaError)
        if self.background >= self.classes and (self.softmax or self.mining):
            raise self.error(
                f"background_label_id must be below num_classes, {self.classes}, got {self.background}",
                kind=SchemaError,
            )
        if self.mining and not param.share_location:
            raise self.error(
                "mining needs share_location: true", hint="set mining_type: NONE, as Caffe demands", kind=SchemaError
            )
        if param.mining_type == Param.HARD_EXAMPLE and param.sample_size < 1:
            raise self.error(f"sample_size must be at least 1, got {param.sample_size}", kind=SchemaError)
        if param.map_object_to_agnostic and self.classes != 2:
            raise self.error(f"map_object_to_agnostic needs num_classes: 2, got {self.classes}", kind=SchemaError)
        if param.HasField("do_neg_mining"):
            if param.do_neg_mining != self.mining:
                raise self.error("do_neg_mining contradicts mining_type", hint="leave it out", kind=SchemaError)
            warnings.warn(
                str(self.error("do_neg_mining is deprecated: mining_type says it")), CaffeCompatWarning, stacklevel=2
            )

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """A scalar."""
        check_predictions(self.spec, bottoms, self.classes, self.loc_classes)
        if not bottoms[3] or bottoms[3][-1] != 8:
            raise self.error(f"expected ground truth of shape (1, 1, boxes, 8), got {bottoms[3]}")
        return ((),)

    def forward(self, loc: Tensor, conf: Tensor, priors: Tensor, truth: Tensor) -> Tensor:
        batch = self._batch(loc, conf, priors.detach(), truth.detach())
        with torch.no_grad():
            index, overlap = self._match(batch)
            index, negatives = self._mine(batch, index, overlap)
            matches = _matches(batch, index)
        divisor = normalizer(self.mode, len(batch.loc), len(batch.priors), len(matches.image))
        total = loc.new_zeros(())
        if self.parts[0]:
            total = total + self.param.loc_weight * self._loc_losses(batch, matches).sum() / divisor
        if self.parts[1]:
            total = total + self._conf_loss(batch, matches, negatives) / divisor
        return total

    def _batch(self, loc: Tensor, conf: Tensor, priors: Tensor, truth: Tensor) -> _Batch:
        rows = read_ground_truth(truth)
        if not self.param.use_difficult_gt:
            rows = rows[~rows.difficult]
        bad = (rows.label == self.background) | (rows.label < 0)
        if not self.param.map_object_to_agnostic:
            bad |= rows.label >= self.classes
        if bad.any():
            raise self.error(
                f"a ground truth box has label {int(rows.label[bad][0])}; expected 0..{self.classes - 1} without the "
                f"background's, {self.background}",
                kind=CaffeCompatError,
            )
        count = priors.shape[2] // 4
        boxes, variances = priors.reshape(2, count, 4).unbind(0)
        loc, conf = loc.reshape(-1, count, self.loc_classes, 4), conf.reshape(-1, count, self.classes)
        return _Batch(loc, conf, boxes, variances, *pad_by_image(rows, len(loc)))

    def _decoded(self, batch: _Batch) -> Tensor:
        """(N, P, L, 4) the predicted boxes."""
        return decode_boxes(
            batch.loc.detach(),
            batch.priors[:, None],
            batch.variances[:, None],
            self.code_type,
            variance_encoded_in_target=self.param.encode_variance_in_target,
        )

    def _match(self, batch: _Batch) -> tuple[Tensor, Tensor]:
        """(N, L, P) the truth of each prediction, or none, and (N, L, P) its overlap."""
        by_prior = self.param.use_prior_for_matching
        boxes, truth, valid = batch.priors[None], batch.truth, batch.valid
        classes = torch.arange(self.loc_classes, device=truth.device)[:, None]
        wanted = (batch.labels[:, None] == classes) & (classes != self.background)
        if not by_prior:
            boxes = self._decoded(batch).transpose(1, 2).flatten(0, 1)
            truth = truth.repeat_interleave(self.loc_classes, 0)
            valid = valid.repeat_interleave(self.loc_classes, 0)
            if self.loc_classes > 1:
                valid = valid & wanted.flatten(0, 1)
        index, overlap = match_boxes(
            boxes,
            truth,
            valid,
            "BIPARTITE" if self.param.match_type == Param.BIPARTITE else "PER_PREDICTION",
            self.param.overlap_threshold,
            ignore_cross_boundary=self.param.ignore_cross_boundary_bbox,
        )
        if by_prior and self.loc_classes > 1:
            # A prior's match counts for the location predictions of its truth's class only.
            own = wanted.gather(2, index.clamp(min=0)[:, None].expand(-1, self.loc_classes, -1))
            index = torch.where(own & (index >= 0)[:, None], index[:, None], UNMATCHED)
            return index, overlap[:, None].expand_as(index)
        shape = (len(batch.loc), self.loc_classes, -1)
        return index.reshape(shape), overlap.reshape(shape)

    def _mine(self, batch: _Batch, index: Tensor, overlap: Tensor) -> tuple[Tensor, Tensor | None]:
        """The matches that count, and (N, P) the negatives that do; None for all others."""
        if not self.mining:
            return index, None
        flat = index[:, 0]
        losses = self._conf_losses(batch.conf, self._targets(batch, _matches(batch, index)))
        has_truth = batch.valid.any(1, keepdim=True)
        hard = self.param.mining_type == Param.HARD_EXAMPLE
        if hard:
            matches = _matches(batch, index)
            each = self._loc_losses(batch, matches).sum(1)
            losses = losses.index_put((matches.image, matches.prior), each, accumulate=True)
            eligible = has_truth.expand_as(flat)
            count = eligible.sum(1).clamp(max=self.param.sample_size)
        else:
            eligible = (flat == UNMATCHED) & (overlap[:, 0] < self.param.neg_overlap) & has_truth
            positives = (flat > UNMATCHED).sum(1).to(torch.float32)
            count = torch.minimum((positives * self.param.neg_pos_ratio).long(), eligible.sum(1))
        nms = self.param.nms_param
        if self.param.HasField("nms_param") and nms.nms_threshold > 0:
            boxes = batch.priors[None] if self.param.use_prior_for_nms else self._decoded(batch)[:, :, 0]
            chosen = hardest_apart(losses, eligible, count, boxes, nms.nms_threshold, nms.top_k)
        else:
            chosen = hardest(losses, eligible, count)
        negatives = chosen & (flat == UNMATCHED)
        if hard:
            index = torch.where((index > UNMATCHED) & ~chosen[:, None], UNMATCHED, index)
        return index, negatives

    def _targets(self, batch: _Batch, matches: _Matches) -> Tensor:
        """(N, P) int64 the class of each prior: its match's, or the background."""
        shape = batch.conf.shape[:2]
        label = self._label(matches)
        best = label.new_full((shape.numel(),), -1)
        best = best.scatter_reduce(0, matches.image * shape[1] + matches.prior, label, "amax")
        return torch.where(best >= 0, best, self.background).reshape(shape)

    def _label(self, matches: _Matches) -> Tensor:
        if self.param.map_object_to_agnostic:
            return torch.full_like(matches.label, self.background + 1)
        return matches.label

    def _conf_losses(self, conf: Tensor, target: Tensor) -> Tensor:
        """The confidence loss of each row, for scores (..., C) and classes (...)."""
        if self.softmax:
            losses = -functional.log_softmax(conf, -1).gather(-1, target[..., None])[..., 0]
            # Caffe takes the logarithm of at least FLT_MIN, and its backward does not know.
            return with_gradient_of(losses, losses.detach().clamp(max=GREATEST_LOSS))
        one_hot = functional.one_hot(target, self.classes).to(conf.dtype)
        return functional.binary_cross_entropy_with_logits(conf, one_hot, reduction="none").sum(-1)

    def _conf_loss(self, batch: _Batch, matches: _Matches, negatives: Tensor | None) -> Tensor:
        """The confidence loss of the batch, before it is divided."""
        if negatives is None:
            if self.softmax:
                return self._conf_losses(batch.conf, self._targets(batch, matches)).sum()
            return self._logistic(batch.conf.flatten(0, 1), self._places_without_mining(batch, matches))
        label = self._label(matches)
        image, prior = negatives.nonzero().unbind(1)
        rows = torch.cat([batch.conf[matches.image, matches.prior], batch.conf[image, prior]])
        target = torch.cat([label, torch.full_like(image, self.background)])
        if self.softmax:
            return self._conf_losses(rows, target).sum()
        return self._logistic(rows, torch.arange(len(rows), device=rows.device) * self.classes + target)

    def _logistic(self, rows: Tensor, ones: Tensor) -> Tensor:
        """The logistic loss of scores (R, C). Caffe fills the targets with the background's number, then sets ones."""
        target = torch.full_like(rows, self.background).flatten()
        target = target.index_fill(0, ones, 1).reshape(rows.shape)
        return functional.binary_cross_entropy_with_logits(rows, target, reduction="sum")

    def _places_without_mining(self, batch: _Batch, matches: _Matches) -> Tensor:
        """Where Caffe sets the ones without mining: it steps from image to image by P, not by P * C."""
        return matches.image * len(batch.priors) + matches.prior * self.classes + self._label(matches)

    def _loc_losses(self, batch: _Batch, matches: _Matches) -> Tensor:
        """(M, 4) the location losses of the matches."""
        priors, variances = batch.priors[matches.prior], batch.variances[matches.prior]
        in_target = self.param.encode_variance_in_target
        predicted = batch.loc[matches.image, matches.prior, matches.loc_class]
        wanted = encode_boxes(
            batch.truth[matches.image, matches.truth],
            priors,
            variances,
            self.code_type,
            variance_encoded_in_target=in_target,
        )
        if self.param.bp_inside:
            boxes = priors
            if not self.param.use_prior_for_matching:
                boxes = self._decoded(batch)[matches.image, matches.prior, matches.loc_class]
            predicted = torch.where((boxes < 0) | (boxes > 1), wanted, predicted)
        if in_target:
            # Caffe's backward leaves this division out.
            predicted = with_gradient_of(predicted, predicted / variances)
            wanted = wanted / variances
        if self.param.loc_loss_type == Param.L2:
            return (predicted - wanted).square() / 2
        return functional.smooth_l1_loss(predicted, wanted, reduction="none")


def _matches(batch: _Batch, index: Tensor) -> _Matches:
    """The matches that `index` (N, L, P) tells, by image, class and prior."""
    image, loc_class, prior = (index > UNMATCHED).nonzero().unbind(1)
    truth = index[image, loc_class, prior]
    return _Matches(image, prior, loc_class, truth, batch.labels[image, truth])
