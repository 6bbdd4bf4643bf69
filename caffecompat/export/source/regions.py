"""Proposal, in C++ and in Python, ROIPooling and PSROIPooling."""

from __future__ import annotations

from caffecompat.detection.anchors import RATIOS, SCALES, ProposalOptions
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.proposal import Proposal, PythonProposal
from caffecompat.layers.roi import PSROIPooling, ROIPooling


@writes(Proposal, PythonProposal)
def proposal(layer: Proposal | PythonProposal, at: Site) -> None:
    options, usual = layer._options(), ProposalOptions()
    base_size, ratios, scales = layer.anchor_sizes
    given = {
        "stride": (options.stride, usual.stride),
        "base_size": (base_size, 16),
        "ratios": (ratios, RATIOS),
        "scales": (scales, SCALES),
        "before_nms": (options.before, usual.before),
        "after_nms": (options.after, usual.after),
        "nms_threshold": (options.threshold, usual.threshold),
        "min_size": (options.min_size, usual.min_size),
        "drop_small": (options.drop_small, usual.drop_small),
    }
    texts = [f"{name}={literal(value)}" for name, (value, default) in given.items() if value != default]
    # Of regions whose small ones are dropped the scores are a column.
    column = options.drop_small and len(at.tops) > 1
    outputs = [at.tops[0], at.between("scores") if column or len(at.tops) == 1 else at.tops[1]]
    at.function(
        "proposal", f"propose({', '.join(['{0}', '{1}', '{2}', *texts])})", outputs=outputs, operators=["propose"]
    )
    if column:
        at.function("scores", "{0}[:, None]", outputs[1:], at.tops[1:])


@writes(ROIPooling)
def roi_pooling(layer: ROIPooling, at: Site) -> None:
    param = layer.spec.message.roi_pooling_param
    texts = [f"({param.pooled_h}, {param.pooled_w})", f"scale={literal(param.spatial_scale)}"]
    if param.pad_ratio:
        texts.append(f"pad_ratio={literal(param.pad_ratio)}")
    at.function("roi_pool", f"roi_pool({{0}}, {{1}}, {', '.join(texts)})", operators=["roi_pool"])


@writes(PSROIPooling)
def psroi_pooling(layer: PSROIPooling, at: Site) -> None:
    param = layer.spec.message.psroi_pooling_param
    texts = f"outputs={param.output_dim}, group={param.group_size}, scale={literal(param.spatial_scale)}"
    at.function("roi_pool", f"psroi_pool({{0}}, {{1}}, {texts})", operators=["psroi_pool"])
