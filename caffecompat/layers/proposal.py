"""Proposal, as the prototxts of Faster R-CNN and of its C++ ports ask for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from caffecompat.detection.anchors import RATIOS, SCALES, ProposalOptions, generate_anchors, propose
from caffecompat.errors import SchemaError, quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import precise
from caffecompat.schema import caffe_pb2

# py-faster-rcnn's defaults (fast_rcnn/config.py) in each phase.
TEST = ProposalOptions(before=6000, after=300)
TRAIN = ProposalOptions(before=12000, after=2000)
MAX_PARAM_STR = 1000


class _Proposal(Layer):
    """Regions from a region proposal network.

    bottoms: scores (N, 2 * A, H, W), of the background for each of A anchors, then of objects; corrections
    (N, 4 * A, H, W); (1, 3) the input's height, width and scale, or (1, 4) with a scale for each. Tops: regions
    (R, 5): image, x1, y1, x2, y2; their scores. There is no gradient.
    """

    anchors: Tensor
    # Base size, ratios and scales of the anchors.
    anchor_sizes: tuple[float, tuple[float, ...], tuple[float, ...]]

    def _set_anchors(self, base_size: float, ratios: Sequence[float], scales: Sequence[float]) -> None:
        values = (base_size, *ratios, *scales)
        if not ratios or not scales or not all(0 < value < 1e6 for value in values):
            raise self.error(
                f"expected a base size, ratios and scales above 0, got {base_size}, {list(ratios)} and {list(scales)}",
                kind=SchemaError,
            )
        self.anchor_sizes = (base_size, tuple(ratios), tuple(scales))
        self.register_buffer("anchors", generate_anchors(base_size, ratios, scales), persistent=False)

    def _check_options(self, options: ProposalOptions) -> None:
        if not (0 < options.stride < 1e6 and options.threshold >= 0 and 0 <= options.min_size < 1e6):
            raise self.error(
                f"expected feat_stride above 0, an NMS threshold and a least size of at least 0, got {options.stride}, "
                f"{options.threshold} and {options.min_size}",
                kind=SchemaError,
            )

    def _options(self) -> ProposalOptions:
        raise NotImplementedError

    def _check(self, scores: Shape, deltas: Shape, picture: Shape) -> None:
        count = len(self.anchors)
        if len(scores) != 4 or scores[1] != 2 * count:
            raise self.error(f"expected scores (N, {2 * count}, H, W) for {count} anchors, got {scores}")
        if deltas != (scores[0], 4 * count, *scores[2:]):
            raise self.error(f"expected corrections (N, {4 * count}, H, W) for scores {scores}, got {deltas}")
        if not picture or picture[0] < 1 or prod(picture[1:]) < 3:
            raise self.error(f"expected the input's height, width and scale, (1, 3), got shape {picture}")

    def _tops(self, regions: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        return (regions, scores[:, None])[: len(self.spec.tops)]

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(1, 5) and (1, 1): how many regions there are is known only after a pass, and 1 as in the original."""
        self._check(*bottoms)
        return ((1, 5), (1, 1))[: len(self.spec.tops)]

    @torch.no_grad()
    def forward(self, scores: Tensor, deltas: Tensor, picture: Tensor) -> tuple[Tensor, ...]:
        self._check(tuple(scores.shape), tuple(deltas.shape), tuple(picture.shape))
        row = precise(picture).reshape(picture.shape[0], -1)[0]
        row = torch.cat([row[:3], row[3:4] if len(row) > 3 else row[2:3]])
        scores, deltas = precise(scores), precise(deltas)
        anchors = self.anchors.to(device=scores.device, dtype=scores.dtype)
        return self._tops(*propose(scores, deltas, anchors, row.to(scores), self._options()))


@layer("Proposal")
class Proposal(_Proposal):
    """Proposal in C++. The fields given tell whose it is.

    With `ratio` and `scale` (PVANet, OpenVINO): boxes that are too small keep a place, with score 0, and all images
    of a batch are as large as the first. With `anchor_scale` and the like (Synopsys), or with neither: as in
    Python, with the numbers of the TEST phase.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.proposal_param
        given = {field.name for field, _ in param.ListFields()}
        synopsys = given & {
            "anchor_base_size", "anchor_scale", "anchor_ratio", "max_rois", "rpn_min_size", "rpn_nms_thresh"
        }  # fmt: skip
        others = given & {"base_size", "min_size", "ratio", "scale", "post_nms_topn", "nms_thresh"}
        if synopsys and others:
            raise self.error(
                f"proposal_param mixes fields of two forks: {', '.join(sorted(others))}; {', '.join(sorted(synopsys))}",
                hint="use base_size, min_size, ratio, scale, post_nms_topn and nms_thresh alone",
                kind=SchemaError,
            )
        if bool(param.ratio) != bool(param.scale):
            raise self.error("proposal_param has one of ratio and scale", hint="give both or neither", kind=SchemaError)
        self._chosen = _synopsys_options(param) if synopsys else _options(param)
        self._check_options(self._chosen)
        if synopsys:
            # Synopsys: 3 stands for the three that Faster R-CNN has, any other number for one.
            ratios = RATIOS if param.anchor_ratio == 3 else (1.0,)
            scales = SCALES if param.anchor_scale == 3 else (32.0,)
            self._set_anchors(param.anchor_base_size, ratios, scales)
        else:
            self._set_anchors(param.base_size, list(param.ratio) or RATIOS, list(param.scale) or SCALES)

    def _options(self) -> ProposalOptions:
        return self._chosen

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """With `ratio` and `scale` at most (N * post_nms_topn, 5) and (N * post_nms_topn,), as in the original."""
        tops = super().shapes(*bottoms)
        if self._chosen.drop_small:
            return tops
        most = bottoms[0][0] * self._chosen.after
        return ((most, 5), (most,))[: len(tops)]

    def _tops(self, regions: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        if self._chosen.drop_small:
            return super()._tops(regions, scores)
        return (regions, scores)[: len(self.spec.tops)]


def _options(param: caffe_pb2.ProposalParameter) -> ProposalOptions:
    return ProposalOptions(
        stride=param.feat_stride,
        before=param.pre_nms_topn,
        after=param.post_nms_topn,
        threshold=param.nms_thresh,
        min_size=param.min_size,
        drop_small=not param.ratio,
    )


def _synopsys_options(param: caffe_pb2.ProposalParameter) -> ProposalOptions:
    return ProposalOptions(
        stride=param.feat_stride,
        before=param.pre_nms_topn,
        after=max(param.max_rois, 0),
        threshold=param.rpn_nms_thresh,
        min_size=param.rpn_min_size,
    )


class PythonProposal(_Proposal):
    """ProposalLayer of py-faster-rcnn: `param_str` has feat_stride and may have scales (and, of forks, ratios).

    How many proposals there are follows the phase: 6000 before and 300 after suppression in TEST, 12000 and 2000
    in TRAIN. One image at a time.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        if len(bottoms) != 3 or len(spec.tops) not in (1, 2):
            raise self.error(
                f"ProposalLayer has 3 bottoms and 1 or 2 tops, got {len(bottoms)} and {len(spec.tops)}",
                kind=SchemaError,
            )
        fields = self._read(spec.message.python_param.param_str)
        stride = fields.get("feat_stride", ())
        if len(stride) != 1:
            raise self.error("param_str needs a feat_stride", hint="as in \"'feat_stride': 16\"", kind=SchemaError)
        self._stride = stride[0]
        self._check_options(self._options())
        self._set_anchors(16, fields.get("ratios", RATIOS), fields.get("scales", SCALES))

    def _read(self, text: str) -> dict[str, tuple[float, ...]]:
        """The numbers of a `param_str`, which is YAML: names with a number or a list of them."""
        if len(text) > MAX_PARAM_STR:
            raise self.error(
                f"param_str has {len(text)} characters; at most {MAX_PARAM_STR} are read", kind=SchemaError
            )
        fields = {}
        rest = text.strip().removeprefix("{").removesuffix("}")
        while rest := rest.lstrip(" \t\r\n,"):
            match = _FIELD.match(rest)
            if match is None or match["name"] not in ("feat_stride", "scales", "ratios"):
                raise self.error(
                    f"cannot read param_str at {quoted(rest)}",
                    hint="expected feat_stride, scales and ratios with numbers, as in \"'feat_stride': 16\"",
                    kind=SchemaError,
                )
            fields[match["name"]] = tuple(float(text) for text in _NUMBER.findall(match["list"] or match["number"]))
            rest = rest[match.end() :]
        return fields

    def _options(self) -> ProposalOptions:
        return replace(TRAIN if self.training else TEST, stride=self._stride)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        tops = super().shapes(*bottoms)
        if bottoms[0][0] != 1:
            raise self.error(f"ProposalLayer takes one image at a time, got scores of shape {bottoms[0]}")
        return tops


_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_LIST = rf"[\[(]\s*(?P<list>{_NUMBER.pattern}(?:\s*,\s*{_NUMBER.pattern})*)\s*,?\s*[\])]"
_FIELD = re.compile(
    rf"""(?P<quote>['"]?)(?P<name>\w+)(?P=quote)\s*:\s*(?:!!python/tuple\s*)?(?:{_LIST}|(?P<number>{_NUMBER.pattern}))"""
)
