"""Which forks of Caffe define the fields that our schema, of BVLC, SSD and dilation, does not know.

Gathered from the forks' own schema files; they add far more than this, these are the ones that are met.
"""

from __future__ import annotations

from functools import cache

from caffecompat.errors import did_you_mean
from caffecompat.formats.parsed import Path
from caffecompat.schema import caffe_pb2

# Fields of LayerParameter by fork: each holds the parameters of one of its layers.
_LAYER_FIELDS = {
    "Fast R-CNN and R-FCN": "box_annotator_ohem_param",
    "PSPNet": "seg_accuracy_param mat_read_param mat_write_param dense_crf_param domain_transform_param "
    "adaptive_bias_channel_param bias_channel_param unique_label_param",
    "deeplab-v2": "seg_accuracy_param mat_read_param mat_write_param dense_crf_param domain_transform_param "
    "adaptive_bias_channel_param bias_channel_param unique_label_param",
    "segnet": "dense_image_data_param",
    "yjxiong/caffe": "seg_data_param batch_reduction_param",
    "FlowNet2": "downsample_param augmentation_param coeff_schedule_param l1_loss_param lpq_loss_param accum_param "
    "black_augmentation_param mean_param reader_param writer_param",
    "ncnn": "roi_align_param yolo_detection_output_param yolov3_detection_output_param",
    "MobileNet-YOLO": "yolo_detection_output_param yolov3_detection_output_param yolov3_param yolo_seg_param "
    "segmentation_evaluate_param",
    "cascade-rcnn": "bbox_reg_param decode_bbox_param detection_data_param eval_data_param hard_mining_param "
    "scale_route_param detection_group_loss_param detection_group_accuracy_param box_group_output_param "
    "proposal_target_param frcnn_output_param",
    "CTPN": "lstm_param ctc_param transpose_param reverse_param",
    "caffe-lstm": "lstm_param",
    "crnn.caffe": "ctc_loss_param continuation_indicator_param labelsequence_accuracy_param",
    "happynear/caffe-windows": "channel_scale_param focal_loss_param flip_param local_param insanity_param "
    "triplet_loss_param general_triplet_loss_param inner_distance_param margin_inner_product_param "
    "largemargin_inner_product_param label_specific_add_param smoothl1_param pairwise_param noise_param",
    "NVIDIA/caffe": "trt_param detectnet_groundtruth_param detectnet_augmentation_param",
    "microsoft/caffe": "box_annotator_ohem_param mil_param mil_data_param",
    "intel/caffe": "box_annotator_ohem_param split_param spatial_dropout_param mn_activation_param "
    "mn_grad_compress_param quantization_param eval_detection_param",
    "synopsys-caffe": "roi_align_param resize_bilinear_param resize_nearest_neighbor_param depth_to_space_param "
    "space_to_depth_param pad_param gather_param squeeze_param reduce_mean_param layer_norm_param "
    "hard_sigmoid_param selu_param",
    "CPM (convolutional pose machines)": "cpm_transform_param",
}

_HALF = "NVIDIA/caffe and OpenCV: half-precision weights"

# Fields that forks add to messages which we share with them.
_SHARED_FIELDS = {
    ("PoolingParameter", "avg_include_pad"): "intel/caffe",
    ("LossParameter", "weight_by_label_freqs"): "segnet",
    ("DropoutParameter", "scale_train"): "several forks",
    ("BlobProto", "raw_data"): _HALF,
    ("BlobProto", "raw_data_type"): _HALF,
    ("BlobProto", "raw_diff"): _HALF,
    ("BlobProto", "raw_diff_type"): _HALF,
}

# Layer types by fork, of those whose layers have no parameters of their own or are known by their type.
_LAYER_TYPES = {
    "BoxAnnotatorOHEM": "R-FCN and its descendants",
    "Correlation1D": "FlowNet2",
    "DenseCRF": "deeplab-v2 and PSPNet",
    "DenseImageData": "segnet",
    "ImageSegData": "deeplab-v2 and PSPNet",
    "L1Loss": "FlowNet2 and NVIDIA/caffe",
    "Lstm": "caffe-lstm and CTPN",
    "ROIAlign": "cascade-rcnn and synopsys-caffe",
    "RegionLoss": "MobileNet-YOLO and intel/caffe",
    "SegAccuracy": "deeplab-v2 and PSPNet",
    "SmoothL1LossOHEM": "microsoft/caffe and intel/caffe",
    "SoftmaxWithLossOHEM": "microsoft/caffe and intel/caffe",
    "Yolov3DetectionOutput": "MobileNet-YOLO",
    "YoloDetectionOutput": "MobileNet-YOLO",
}


@cache
def _forks_of_fields() -> dict[tuple[str, str], str]:
    forks: dict[tuple[str, str], list[str]] = {}
    for fork, names in _LAYER_FIELDS.items():
        for name in names.split():
            forks.setdefault(("LayerParameter", name), []).append(fork)
    return {field: ", ".join(found) for field, found in forks.items()} | _SHARED_FIELDS


def unknown_field_hint(name: str, message_name: str = "LayerParameter") -> str | None:
    """What an unknown field may be: a field of some forks, or a field that we know, misspelt.

    Args:
        name: the field.
        message_name: the type of the message it stands in, such as "ConvolutionParameter".
    """
    forks = _forks_of_fields().get((message_name, name))
    if forks is not None:
        return f"it is a field of {forks}"
    message = caffe_pb2.DESCRIPTOR.message_types_by_name.get(message_name)
    return did_you_mean(name, message.fields_by_name) if message is not None else None


def message_name(path: Path, root: str = "NetParameter") -> str:
    """The type of the message at a path, such as the one an `UnknownField` stands in.

    Args:
        path: the way from the root; its names are fields of the schema.
        root: the type of the whole.
    """
    message = caffe_pb2.DESCRIPTOR.message_types_by_name[root]
    for name in path[::2]:
        inner = message.fields_by_name[str(name)].message_type
        assert inner is not None, "a path leads through messages"
        message = inner
    return message.name


def unknown_layer_hint(name: str) -> str | None:
    """Which forks have a layer of this type, or None."""
    forks = _LAYER_TYPES.get(name)
    return f"it is a layer of {forks}" if forks is not None else None
