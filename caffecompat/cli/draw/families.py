"""Families of layer types, by which a drawing is coloured."""

from __future__ import annotations

from dataclasses import dataclass

from caffecompat.graph.spec import LayerSpec


@dataclass(frozen=True)
class Family:
    """A family of layer types.

    Attributes:
        title: what it is called in a legend.
        fill: the colour of its boxes, #RRGGBB.
        stroke: the colour of their edges.
        dark: the colour of its boxes on a dark page.
        types: the types that belong to it.
    """

    title: str
    fill: str
    stroke: str
    dark: str
    types: str = ""


FAMILIES = {
    "data": Family("data", "#e8eaee", "#6b7480", "#3a414c"),
    "convolution": Family(
        "convolution",
        "#cfe2ff",
        "#2364c4",
        "#1d3a66",
        "Convolution Deconvolution ConvolutionDepthwise DepthwiseConvolution Im2col Correlation",
    ),
    "inner": Family(
        "inner product, recurrent", "#e5d6fa", "#7a3fb5", "#43285f", "InnerProduct Embed RNN LSTM LSTMUnit"
    ),
    "pooling": Family(
        "pooling, resampling",
        "#ffe3bf",
        "#b86a00",
        "#573708",
        "Pooling SPP ROIPooling PSROIPooling MaxUnpool Upsample Interp Resample Resize FlowWarp",
    ),
    "norm": Family(
        "normalization", "#cdeeee", "#0f8080", "#124747", "BatchNorm Scale Bias LRN MVN Normalize BN NormalizeBBox"
    ),
    "neuron": Family(
        "neurons",
        "#d6f0d2",
        "#2f8a2a",
        "#1f4a20",
        "AbsVal BNLL Clip Dropout ELU Exp HardSwish Log Mish PReLU Power ReLU ReLU6 Sigmoid Sign Softmax Swish TanH "
        "Threshold",
    ),
    "join": Family(
        "joining, reshaping",
        "#f4efc4",
        "#8a7a00",
        "#4a4412",
        "ArgMax Axpy BatchReindex Concat Crop Eltwise Filter Flatten Padding Permute Reduction Reorg Reshape "
        "ShuffleChannel Silence Slice Split Tile",
    ),
    "detection": Family("detection", "#fbd3e4", "#c02a6d", "#5f1e3c", "PriorBox DetectionOutput Proposal Region"),
    "loss": Family("loss, evaluation", "#ffd2c7", "#c8441b", "#662a17", "Accuracy DetectionEvaluate HDF5Output"),
    "other": Family("other", "#f5f5f5", "#8a8f98", "#2c3138"),
}
_OF_TYPE = {name: key for key, family in FAMILIES.items() for name in family.types.split()}


def family_of(spec: LayerSpec) -> str:
    """The key in `FAMILIES` of a layer."""
    if spec.row.data:
        return "data"
    if spec.row.loss:
        return "loss"
    return _OF_TYPE.get(spec.type, "other")
