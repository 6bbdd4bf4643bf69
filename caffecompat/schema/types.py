"""The one table of layer types: names old and new, parameter messages, numbers of bottoms and tops.

Sources: the `ExactNumBottomBlobs` family of Caffe's layer headers, and `upgrade_proto.cpp` for the names
that a type had in V1 nets (an enum) and in V0 nets (a lower-case string). Behind them the layers of other forks;
a type that means different layers in different forks has the fields and numbers of all of them in its row.
"""

from __future__ import annotations

from dataclasses import dataclass

from caffecompat.errors import SchemaError, did_you_mean, quoted
from caffecompat.schema.plugins import load_entry_point

MANY = 1 << 30


@dataclass(frozen=True)
class LayerType:
    """One row.

    Attributes:
        name: the type string of today's layers.
        params: the fields of LayerParameter that hold its parameters, its own first.
        bottoms: least and greatest number of bottoms.
        tops: least and greatest number of tops; tops that a loss layer leaves out are added.
        same_number: it has as many tops as bottoms.
        loss: its first top is a loss, of weight 1 unless the net says otherwise.
        data: it reads its tops from outside the net.
        v1: its name in the enum of V1 layers, or "".
        v0: its name in V0 layers, or "".
    """

    name: str
    params: tuple[str, ...] = ()
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)
    same_number: bool = False
    loss: bool = False
    data: bool = False
    v1: str = ""
    v0: str = ""

    @property
    def param(self) -> str:
        """The field of LayerParameter that holds the type's own parameters, or ""."""
        return self.params[0] if self.params else ""


def _neuron(name: str, param: str = "", v1: str = "", v0: str = "") -> LayerType:
    return LayerType(name, (param,) if param else (), v1=v1, v0=v0)


def _source(name: str, *params: str, tops: tuple[int, int] = (1, 2), v1: str = "", v0: str = "") -> LayerType:
    return LayerType(name, params, bottoms=(0, 0), tops=tops, data=True, v1=v1, v0=v0)


def _loss(
    name: str,
    *params: str,
    bottoms: tuple[int, int] = (2, 2),
    tops: tuple[int, int] = (1, 1),
    v1: str = "",
    v0: str = "",
) -> LayerType:
    return LayerType(name, (*params, "loss_param"), bottoms=bottoms, tops=tops, loss=True, v1=v1, v0=v0)


_ROWS = (
    _neuron("AbsVal", v1="ABSVAL"),
    LayerType("Accuracy", ("accuracy_param",), (2, 2), (1, 2), v1="ACCURACY", v0="accuracy"),
    _source("AnnotatedData", "annotated_data_param", "data_param", "transform_param"),
    LayerType("ArgMax", ("argmax_param",), v1="ARGMAX"),
    _neuron("BNLL", v1="BNLL", v0="bnll"),
    LayerType("BatchNorm", ("batch_norm_param",)),
    LayerType("BatchReindex", (), (2, 2)),
    LayerType("Bias", ("bias_param",), (1, 2)),
    _source("BinLabelData", "bin_label_data_param", tops=(2, 3)),
    _neuron("Clip", "clip_param"),
    LayerType("Concat", ("concat_param",), (1, MANY), v1="CONCAT", v0="concat"),
    _loss("ContrastiveLoss", "contrastive_loss_param", bottoms=(3, 3), v1="CONTRASTIVE_LOSS"),
    LayerType("Convolution", ("convolution_param",), (1, MANY), (1, MANY), True, v1="CONVOLUTION", v0="conv"),
    LayerType("Crop", ("crop_param",), (2, 2)),
    _source("Data", "data_param", "transform_param", v1="DATA", v0="data"),
    LayerType("Deconvolution", ("convolution_param",), (1, MANY), (1, MANY), True, v1="DECONVOLUTION"),
    LayerType("DetectionEvaluate", ("detection_evaluate_param",), (2, 2)),
    LayerType("DetectionOutput", ("detection_output_param",), (3, 4)),
    _neuron("Dropout", "dropout_param", v1="DROPOUT", v0="dropout"),
    _source("DummyData", "dummy_data_param", tops=(1, MANY), v1="DUMMY_DATA"),
    _neuron("ELU", "elu_param"),
    LayerType("Eltwise", ("eltwise_param",), (2, MANY), v1="ELTWISE"),
    LayerType("Embed", ("embed_param",)),
    _loss("EuclideanLoss", v1="EUCLIDEAN_LOSS", v0="euclidean_loss"),
    _neuron("Exp", "exp_param", v1="EXP"),
    LayerType("Filter", (), (2, MANY), (1, MANY)),
    LayerType("Flatten", ("flatten_param",), v1="FLATTEN", v0="flatten"),
    _source("HDF5Data", "hdf5_data_param", tops=(1, MANY), v1="HDF5_DATA", v0="hdf5_data"),
    LayerType("HDF5Output", ("hdf5_output_param",), (2, 2), (0, 0), v1="HDF5_OUTPUT", v0="hdf5_output"),
    _loss("HingeLoss", "hinge_loss_param", v1="HINGE_LOSS"),
    LayerType("Im2col", ("convolution_param",), v1="IM2COL", v0="im2col"),
    _source("ImageData", "image_data_param", "transform_param", tops=(2, 2), v1="IMAGE_DATA", v0="images"),
    _source("ImageLabelData", "image_label_data_param", "transform_param", tops=(2, 3)),
    _loss("InfogainLoss", "infogain_loss_param", bottoms=(2, 3), tops=(1, 2), v1="INFOGAIN_LOSS", v0="infogain_loss"),
    LayerType("InnerProduct", ("inner_product_param",), v1="INNER_PRODUCT", v0="innerproduct"),
    _source("Input", "input_param", tops=(1, MANY)),
    LayerType("LRN", ("lrn_param",), v1="LRN", v0="lrn"),
    LayerType("LSTM", ("recurrent_param",), (2, 5), (1, 3)),
    LayerType("LSTMUnit", (), (3, 3), (2, 2)),
    _neuron("Log", "log_param"),
    LayerType("MVN", ("mvn_param",), v1="MVN"),
    _source("MemoryData", "memory_data_param", "transform_param", tops=(2, 2), v1="MEMORY_DATA"),
    _loss("MultiBoxLoss", "multibox_loss_param", bottoms=(4, 4)),
    _loss("MultinomialLogisticLoss", v1="MULTINOMIAL_LOGISTIC_LOSS", v0="multinomial_logistic_loss"),
    LayerType("Normalize", ("norm_param", "normalize_param"), tops=(1, 2)),
    _neuron("PReLU", "prelu_param"),
    LayerType("Parameter", ("parameter_param",), (0, 0)),
    LayerType("Permute", ("permute_param",)),
    LayerType("Pooling", ("pooling_param",), tops=(1, 2), v1="POOLING", v0="pool"),
    _neuron("Power", "power_param", v1="POWER"),
    LayerType("PriorBox", ("prior_box_param",), (2, 2)),
    LayerType("Python", ("python_param",), (0, MANY), (0, MANY)),
    LayerType("RNN", ("recurrent_param",), (2, 4), (1, 2)),
    _neuron("ReLU", "relu_param", v1="RELU", v0="relu"),
    LayerType("Reduction", ("reduction_param",)),
    LayerType("Reshape", ("reshape_param",)),
    LayerType("SPP", ("spp_param",)),
    LayerType("Scale", ("scale_param",), (1, 2)),
    _neuron("Sigmoid", "sigmoid_param", v1="SIGMOID", v0="sigmoid"),
    _loss("SigmoidCrossEntropyLoss", v1="SIGMOID_CROSS_ENTROPY_LOSS"),
    LayerType("Silence", (), (1, MANY), (0, 0), v1="SILENCE"),
    LayerType("Slice", ("slice_param",), (1, 1), (1, MANY), v1="SLICE"),
    _loss("SmoothL1Loss", "smooth_l1_loss_param", bottoms=(2, 4)),
    LayerType("Softmax", ("softmax_param",), v1="SOFTMAX", v0="softmax"),
    _loss("SoftmaxWithLoss", "softmax_param", tops=(1, 2), v1="SOFTMAX_LOSS", v0="softmax_loss"),
    LayerType("Split", (), (1, 1), (1, MANY), v1="SPLIT", v0="split"),
    _neuron("Swish", "swish_param"),
    _neuron("TanH", "tanh_param", v1="TANH", v0="tanh"),
    _neuron("Threshold", "threshold_param", v1="THRESHOLD"),
    LayerType("Tile", ("tile_param",)),
    _source("VideoData", "video_data_param", "data_param", "transform_param"),
    _source("WindowData", "window_data_param", "transform_param", tops=(2, 2), v1="WINDOW_DATA", v0="window_data"),
    # Layers of other forks.
    LayerType("Axpy", (), (3, 3)),
    LayerType("BN", ("bn_param",), tops=(1, 3)),
    _loss("CenterLoss", "center_loss_param"),
    LayerType("ConvolutionDepthwise", ("convolution_param",)),
    LayerType("Correlation", ("correlation_param",), (2, 2)),
    LayerType("DepthwiseConvolution", ("convolution_param",), (1, MANY), (1, MANY), True),
    LayerType("FlowWarp", ("flow_warp_param",), (2, 2)),
    _neuron("HardSwish"),
    LayerType("Interp", ("interp_param",)),
    LayerType("MaxUnpool", ("pooling_param",), (2, 2)),
    _neuron("Mish"),
    LayerType("NormalizeBBox", ("norm_param",)),
    LayerType("PSROIPooling", ("psroi_pooling_param",), (2, 2)),
    LayerType("Padding", ("padding_param",)),
    LayerType("Proposal", ("proposal_param",), (3, 3), (1, 2)),
    LayerType("ROIPooling", ("roi_pooling_param",), (2, 2)),
    _neuron("ReLU6", "relu6_param"),
    LayerType("Region", ("region_param", "region_loss_param")),
    LayerType("Reorg", ("reorg_param",)),
    LayerType("Resample", ("resample_param",), (1, 2)),
    LayerType("Resize", ("resize_param",)),
    LayerType("ShuffleChannel", ("shuffle_channel_param",)),
    _neuron("Sign"),
    LayerType("Upsample", ("upsample_param",), (1, 2)),
)

LAYER_TYPES: dict[str, LayerType] = {row.name: row for row in _ROWS}
V1_NAMES: dict[str, str] = {row.v1: row.name for row in _ROWS if row.v1}
V0_NAMES: dict[str, str] = {row.v0: row.name for row in _ROWS if row.v0}


def layer_type(name: str) -> LayerType:
    """The row of a type; of one that an installed package brings, after its module is imported.

    Raises:
        SchemaError: there is no such type.
        CaffeCompatError: the module that brings it cannot be imported.
    """
    row = LAYER_TYPES.get(name)
    if row is None and name and load_entry_point(name):
        row = LAYER_TYPES.get(name)
        if row is None:
            raise SchemaError(f"the package that is to bring layer type {quoted(name)} does not register it")
    if row is None:
        message = "a layer without a type" if not name else f"unknown layer type {quoted(name)}"
        raise SchemaError(message, hint=did_you_mean(name, LAYER_TYPES))
    return row
