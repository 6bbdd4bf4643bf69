"""A small case, or some, for every layer type: what the harnesses over the whole registry run.

A type of the registry without a case fails the suite; so does a meaning of a type with several.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from caffecompat.layers import Layer, Shape
from caffecompat.schema.plugins import BUILT_IN
from tests.layers.single import single

# The registry has these when a net has one of their types: here it is to have all.
for _module in set(BUILT_IN.values()):
    import_module(_module)


@dataclass(frozen=True)
class Bottom:
    """What a case feeds: random values of a shape, positive if asked, or fixed ones, which get no gradient."""

    shape: Shape
    positive: bool = False
    fixed: tuple[float, ...] | None = None
    learns: bool = True

    def make(self) -> Tensor:
        if self.fixed is not None:
            return torch.tensor(self.fixed, dtype=torch.float64).reshape(self.shape)
        values = torch.randn(self.shape, dtype=torch.float64)
        return (values.abs() + 0.5 if self.positive else values).requires_grad_(self.learns)


@dataclass(frozen=True)
class Case:
    """A layer by itself.

    Attributes:
        type: its type.
        body: its fields in prototxt.
        bottoms: what it is fed.
        tops: how many it makes.
        cls: the name of the class that is meant, where the type has several.
        phase: "TEST" or "TRAIN".
        options: those of `make_net`.
        no_parameters: why its parameters' gradients are not the derivatives, or "".
    """

    type: str
    body: str = ""
    bottoms: tuple[Bottom, ...] = field(default=())
    tops: int = 1
    cls: str = ""
    phase: str = "TEST"
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    no_parameters: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.type, self.cls, self.phase.lower(), self.body) if part)

    def layer(self) -> Layer:
        """The layer, its parameters and statistics random, in float64."""
        torch.manual_seed(0)
        shapes = [bottom.shape for bottom in self.bottoms]
        layer = single(self.type, self.body, *shapes, tops=self.tops, phase=self.phase, **self.options).double()
        with torch.no_grad():
            for name in layer.blob_names:
                blob = getattr(layer, name)
                blob.copy_(torch.randn(blob.shape) if blob.requires_grad else torch.rand(blob.shape) + 0.5)
        return layer

    def inputs(self) -> list[Tensor]:
        torch.manual_seed(1)
        return [bottom.make() for bottom in self.bottoms]


def of(*shape: int) -> Bottom:
    return Bottom(shape)


def positive(*shape: int) -> Bottom:
    return Bottom(shape, positive=True)


def fixed(shape: Shape, *values: float) -> Bottom:
    return Bottom(shape, fixed=values)


IMAGE = of(2, 3, 5, 4)
SMALL = of(2, 4, 3, 3)
LABELS = fixed((3,), 1, 0, 3)
PRIORS = fixed(
    (1, 2, 12),
    *(0.0, 0.0, 0.4, 0.4, 0.3, 0.3, 0.8, 0.9, 0.5, 0.1, 1.0, 0.6),
    *(0.1, 0.1, 0.2, 0.2) * 3,
)
TRUTH = fixed((1, 1, 2, 8), 0, 1, 0, 0.1, 0.1, 0.5, 0.5, 0, 1, 2, 0, 0.3, 0.2, 0.9, 0.9, 0)
ROIS = fixed((3, 5), 0, 0, 0, 7, 9, 1, 2, 3, 11, 8, 1, 1, 1, 4, 4)
PICTURE = fixed((1, 3), 64, 80, 1)
PROPOSAL = (positive(1, 18, 4, 5), of(1, 36, 4, 5), PICTURE)
CONT = fixed((3, 2), 0, 0, 1, 0, 1, 1)
NUMBERS = "recurrent_param { num_output: 3 }"
PRIOR = "prior_box_param { min_size: 4 variance: 0.1 }"


def _neurons() -> list[Case]:
    bodies = {
        "AbsVal": [""],
        "BNLL": [""],
        "Clip": ["clip_param { min: -0.5 max: 0.7 }"],
        "Dropout": [""],
        "ELU": ["", "elu_param { alpha: 0.3 }"],
        "Exp": ["", "exp_param { base: 2 scale: 0.5 shift: 1 }"],
        "HardSwish": [""],
        "Mish": [""],
        "Power": ["power_param { scale: 0.5 shift: 2 }"],
        "PReLU": ["", "prelu_param { channel_shared: true }"],
        "ReLU": ["", "relu_param { negative_slope: 0.1 }"],
        "ReLU6": [""],
        "Sigmoid": [""],
        "Sign": [""],
        "Swish": ["", "swish_param { beta: 1.5 }"],
        "TanH": [""],
        "Threshold": [""],
    }
    cases = [Case(type_, body, (IMAGE,)) for type_, several in bodies.items() for body in several]
    cases += [
        Case(type_, body, (positive(2, 3, 4),))
        for type_, body in (
            ("Log", "log_param { base: 2 scale: 0.5 shift: 1 }"),
            ("Log", ""),
            ("Power", "power_param { power: 2.5 }"),
        )
    ]
    return [*cases, Case("Dropout", "", (IMAGE,), phase="TRAIN")]


def _losses() -> list[Case]:
    two, scores = (of(3, 4), of(3, 4)), of(3, 4)
    targets = fixed((3, 4), 0, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 0)
    matrix = fixed((1, 1, 4, 4), *(0.5, 0.25, 0.125, 0, 0, 1, 0, 0.5, 0.25, 0, 2, 0, 1, 0, 0, 0.75))
    center = 'center_loss_param { num_output: 4 center_filler { type: "xavier" } }'
    boxes = (of(2, 12), of(2, 9), PRIORS, TRUTH)
    sigma = "smooth_l1_loss_param { sigma: 2 }"
    return [
        Case("CenterLoss", center, (scores, LABELS), no_parameters="caffe-face's rule for centers is its own"),
        Case("ContrastiveLoss", "", (*two, fixed((3,), 1, 0, 0))),
        Case(
            "ContrastiveLoss", "contrastive_loss_param { legacy_version: true margin: 9 }", (*two, fixed((3,), 1, 0, 0))
        ),
        Case("EuclideanLoss", "", two),
        Case("HingeLoss", "", (scores, LABELS)),
        Case("HingeLoss", "hinge_loss_param { norm: L2 }", (scores, LABELS)),
        Case("InfogainLoss", "", (positive(3, 4), LABELS, matrix)),
        Case("InfogainLoss", "", (scores, LABELS, matrix), options={"dialect": "bvlc"}),
        Case("MultinomialLogisticLoss", "", (positive(3, 4), LABELS)),
        Case("MultiBoxLoss", "multibox_loss_param { num_classes: 3 }", boxes, phase="TRAIN"),
        Case(
            "MultiBoxLoss", "multibox_loss_param { num_classes: 3 conf_loss_type: LOGISTIC loc_loss_type: L2 }", boxes
        ),
        Case("SigmoidCrossEntropyLoss", "", (scores, targets)),
        Case("SmoothL1Loss", "", two, cls="SmoothL1Loss"),
        Case("SmoothL1Loss", sigma, two, cls="FastRCNNSmoothL1Loss"),
        Case("SoftmaxWithLoss", "", (scores, LABELS), tops=2),
        Case("SoftmaxWithLoss", "loss_param { ignore_label: 3 }", (scores, LABELS)),
    ]


def _windows() -> list[Case]:
    conv = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }"
    depthwise = "convolution_param { num_output: 3 kernel_size: 3 group: 3 }"
    mask = fixed((1, 1, 2, 2), 0, 3, 9, 14)
    pool = "pooling_param { kernel_size: 3 stride: 2 "
    return [
        Case("Convolution", conv, (IMAGE,)),
        Case(
            "Convolution", "convolution_param { num_output: 4 kernel_size: 2 group: 2 dilation: 2 }", (of(1, 4, 5, 4),)
        ),
        Case("ConvolutionDepthwise", depthwise, (IMAGE,)),
        Case("Deconvolution", conv, (IMAGE,)),
        Case("DepthwiseConvolution", depthwise, (IMAGE,)),
        Case("Im2col", "convolution_param { kernel_size: 2 pad: 1 }", (IMAGE,)),
        *(Case("Pooling", f"{pool} pool: {kind} pad: 1 }}", (IMAGE,)) for kind in ("MAX", "AVE")),
        *(Case("Pooling", f"{pool} pool: STOCHASTIC }}", (positive(2, 3, 5, 4),), phase=p) for p in ("TEST", "TRAIN")),
        Case("Pooling", pool + "}", (IMAGE,), tops=2),
        Case("SPP", "spp_param { pyramid_height: 2 }", (IMAGE,)),
        Case("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }", (of(2, 4, 5, 6), ROIS)),
        Case(
            "PSROIPooling",
            "psroi_pooling_param { spatial_scale: 0.5 output_dim: 1 group_size: 2 }",
            (of(2, 4, 5, 6), ROIS),
        ),
        Case("MaxUnpool", "pooling_param { kernel_size: 2 stride: 2 }", (of(1, 1, 2, 2), mask)),
        Case("Upsample", "upsample_param { scale: 2 }", (of(1, 1, 2, 2), mask), cls="UpsampleByMask"),
        Case("Upsample", "upsample_param { scale: 2 }", (IMAGE,), cls="Nearest"),
        Case("Interp", "interp_param { zoom_factor: 2 }", (IMAGE,)),
        Case("Interp", "interp_param { height: 7 width: 3 }", (IMAGE,)),
        Case("Resize", "resize_param { height: 4 width: 7 }", (IMAGE,)),
        Case("Resize", "resize_param { is_pyramid_test: true out_height_scale: 2 out_width_scale: 0.5 }", (IMAGE,)),
        Case("Resample", "resample_param { height: 7 width: 3 type: CUBIC }", (IMAGE,)),
        Case("Resample", "resample_param { type: LINEAR }", (IMAGE, Bottom((2, 1, 3, 6), learns=False))),
        Case("Correlation", "correlation_param { kernel_size: 1 max_displacement: 1 pad: 1 }", (IMAGE, of(2, 3, 5, 4))),
        Case("FlowWarp", "", (IMAGE, of(2, 2, 5, 4))),
    ]


def _normalizing() -> list[Case]:
    return [
        *(Case("BatchNorm", "", (IMAGE,), cls="BatchNorm", phase=phase) for phase in ("TEST", "TRAIN")),
        *(
            Case("BatchNorm", "batch_norm_param { scale_bias: true }", (IMAGE,), cls="BatchNormWithScale", phase=phase)
            for phase in ("TEST", "TRAIN")
        ),
        *(Case("BN", "bn_param { eps: 0.01 }", (IMAGE,), cls="BN", phase=phase) for phase in ("TEST", "TRAIN")),
        *(
            Case("BN", f"bn_param {{ bn_mode: {mode} }}", (IMAGE,), cls="BNWithoutStatistics")
            for mode in ("LEARN", "INFERENCE")
        ),
        Case("LRN", "", (of(2, 6, 3, 2),)),
        Case("LRN", "lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }", (IMAGE,)),
        Case("MVN", "", (IMAGE,)),
        Case("MVN", "mvn_param { across_channels: true normalize_variance: false }", (IMAGE,)),
        *(
            Case(type_, f"norm_param {{ across_spatial: {across} channel_shared: false }}", (IMAGE,), cls=cls)
            for type_, cls in (("Normalize", "Normalize"), ("NormalizeBBox", ""))
            for across in ("true", "false")
        ),
        Case(
            "Normalize", 'normalize_param { normalize_type: "L2" bp_norm: true }', (IMAGE,), 2, "NormalizeWithoutScale"
        ),
        Case("Normalize", "normalize_param { across_spatial: true }", (IMAGE,), cls="NormalizeImage"),
        Case("Softmax", "", (IMAGE,)),
        Case("Softmax", "softmax_param { axis: 2 }", (IMAGE,)),
    ]


def _shaping() -> list[Case]:
    pair = (IMAGE, of(2, 3, 5, 4))
    return [
        Case("Axpy", "", (of(2, 3, 1, 1), *pair)),
        Case("BatchReindex", "", (IMAGE, fixed((3,), 1, 0, 1))),
        Case("Bias", "", (IMAGE, of(3))),
        Case("Bias", "", (IMAGE,)),
        Case("Concat", "", (IMAGE, of(2, 2, 5, 4))),
        Case("Crop", "crop_param { axis: 2 offset: 1 }", (IMAGE, Bottom((2, 3, 3, 2), learns=False))),
        *(Case("Eltwise", f"eltwise_param {{ operation: {op} }}", pair) for op in ("SUM", "PROD", "MAX")),
        Case("Filter", "", (IMAGE, fixed((2,), 0, 1))),
        Case("Flatten", "", (IMAGE,)),
        Case("Padding", "padding_param { pad_l: 1 pad_b: 2 pad_value: 0.5 }", (IMAGE,)),
        Case("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", (IMAGE,)),
        *(
            Case("Reduction", f"reduction_param {{ operation: {op} axis: 1 coeff: 2 }}", (IMAGE,))
            for op in ("SUM", "ASUM", "SUMSQ", "MEAN")
        ),
        Case("Reorg", "reorg_param { stride: 2 }", (of(1, 4, 4, 2),)),
        Case("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (IMAGE,)),
        Case("Scale", "scale_param { bias_term: true }", (IMAGE,)),
        Case("Scale", "scale_param { axis: 0 }", (IMAGE, of(2, 3))),
        Case("ShuffleChannel", "shuffle_channel_param { group: 2 }", (SMALL,)),
        Case("Slice", "slice_param { axis: 1 slice_point: 1 }", (IMAGE,), tops=2),
        Case("Split", "", (IMAGE,), tops=2),
        Case("Tile", "tile_param { axis: 1 tiles: 2 }", (IMAGE,)),
        Case("Silence", "", (IMAGE,), tops=0),
    ]


def _learning() -> list[Case]:
    return [
        Case("Embed", "embed_param { num_output: 4 input_dim: 5 }", (fixed((3,), 1, 4, 1),)),
        Case("InnerProduct", "inner_product_param { num_output: 4 }", (IMAGE,)),
        Case("InnerProduct", "inner_product_param { num_output: 4 transpose: true axis: 2 }", (IMAGE,)),
        Case("LSTM", NUMBERS, (of(3, 2, 4), CONT)),
        Case("LSTM", NUMBERS, (of(3, 2, 4), CONT, of(2, 2))),
        Case("LSTMUnit", "", (of(1, 2, 3), of(1, 2, 12), fixed((1, 2), 1, 0)), tops=2),
        Case("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }"),
        Case("RNN", NUMBERS, (of(3, 2, 4), CONT, of(2, 2))),
    ]


def _boxes_and_answers() -> list[Case]:
    module = 'module: "rpn.proposal_layer" layer: "ProposalLayer"'
    param = "\"'feat_stride': 16\""
    return [
        Case("Accuracy", "", (of(3, 4), LABELS)),
        Case("ArgMax", "argmax_param { top_k: 2 }", (IMAGE,)),
        Case(
            "DetectionEvaluate",
            "detection_evaluate_param { num_classes: 3 }",
            (fixed((1, 1, 1, 7), 0, 1, 0.9, 0.1, 0.1, 0.5, 0.5), TRUTH),
        ),
        Case("DetectionOutput", "detection_output_param { num_classes: 3 }", (of(2, 12), positive(2, 9), PRIORS)),
        Case("HDF5Output", 'hdf5_output_param { file_name: "output.h5" }', (IMAGE, fixed((2,), 0, 1)), tops=0),
        Case("PriorBox", PRIOR, (of(1, 3, 2, 3), of(1, 3, 20, 30))),
        Case("Proposal", "", PROPOSAL),
        Case("Python", f"python_param {{ {module} param_str: {param} }}", PROPOSAL),
        Case("Region", "region_param { classes: 2 num: 2 }", (of(1, 14, 3, 2),)),
    ]


def _matching() -> list[Case]:
    sizes, context = "matching_param { ways: 3 episodes: 2 scale: 4 }", "full_context_param { episodes: 2 steps: 3 }"
    support, classes = of(6, 4), fixed((6,), 0, 2, 1, 1, 0, 2)
    queries, asked = of(4, 4), fixed((4,), 2, 0, 1, 1)
    return [
        Case("Matching", sizes, (queries, support, classes)),
        Case("MatchingLoss", sizes, (queries, support, classes, asked)),
        Case("MatchingLoss", sizes, (of(4, 2, 2), of(6, 2, 2), classes, asked), tops=2),
        Case("QueryContext", context, (queries, support)),
        Case("SupportContext", context, (support,)),
    ]


CASES = [
    *_neurons(),
    *_losses(),
    *_windows(),
    *_normalizing(),
    *_shaping(),
    *_learning(),
    *_boxes_and_answers(),
    *_matching(),
]
