"""Where blobs come from, and which layers learn or compare."""

from __future__ import annotations

from caffecompat.graph.spec import BlobKey, Graph, LayerSpec

# Types whose blobs a solver changes.
LEARNED = frozenset(
    (
        "BN",
        "Bias",
        "CenterLoss",
        "Convolution",
        "ConvolutionDepthwise",
        "Deconvolution",
        "DepthwiseConvolution",
        "Embed",
        "InnerProduct",
        "LSTM",
        "Normalize",
        "PReLU",
        "Parameter",
        "RNN",
        "Scale",
    )
)
# Types whose second bottom is labels.
COMPARING = frozenset(
    ("Accuracy", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "SoftmaxWithLoss")
)


def makers(graph: Graph) -> dict[BlobKey, LayerSpec]:
    """The layer that makes each blob."""
    return {key: spec for spec in graph.layers for key in spec.tops}


def on_labels(spec: LayerSpec) -> bool:
    """Whether the layer compares its first bottom with labels in its second."""
    return spec.type in COMPARING and len(spec.bottoms) > 1
