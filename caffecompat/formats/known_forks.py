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
    "Fast R-CNN and R-FCN": "roi_pooling_param smooth_l1_loss_param psroi_pooling_param box_annotator_ohem_param",
    "PSPNet": "interp_param bn_param seg_accuracy_param mat_read_param mat_write_param dense_crf_param "
    "domain_transform_param adaptive_bias_channel_param bias_channel_param unique_label_param",
    "deeplab-v2": "interp_param seg_accuracy_param mat_read_param mat_write_param dense_crf_param "
    "domain_transform_param adaptive_bias_channel_param bias_channel_param unique_label_param",
    "segnet": "bn_param upsample_param dense_image_data_param",
    "yjxiong/caffe": "bn_param seg_data_param roi_pooling_param batch_reduction_param",
    "FlowNet2": "correlation_param flow_warp_param resample_param downsample_param augmentation_param "
    "coeff_schedule_param l1_loss_param lpq_loss_param accum_param black_augmentation_param mean_param reader_param "
    "writer_param",
    "ncnn": "bn_param shuffle_channel_param reorg_param roi_align_param psroi_pooling_param interp_param "
    "yolo_detection_output_param yolov3_detection_output_param roi_pooling_param smooth_l1_loss_param",
    "MobileNet-YOLO": "reorg_param upsample_param relu6_param region_loss_param yolo_detection_output_param "
    "yolov3_detection_output_param yolov3_param yolo_seg_param segmentation_evaluate_param",
    "chuanqi305/ssd": "relu6_param",
    "ShuffleNet ports": "shuffle_channel_param",
    "cascade-rcnn": "roi_pooling_param psroi_pooling_param smooth_l1_loss_param bbox_reg_param decode_bbox_param "
    "detection_data_param eval_data_param hard_mining_param scale_route_param detection_group_loss_param "
    "detection_group_accuracy_param box_group_output_param proposal_target_param frcnn_output_param",
    "CTPN": "lstm_param ctc_param transpose_param reverse_param bn_param roi_pooling_param smooth_l1_loss_param",
    "caffe-lstm": "lstm_param",
    "crnn.caffe": "ctc_loss_param continuation_indicator_param labelsequence_accuracy_param",
    "caffe-face": "center_loss_param",
    "happynear/caffe-windows": "normalize_param bn_param center_loss_param channel_scale_param focal_loss_param "
    "flip_param local_param insanity_param triplet_loss_param general_triplet_loss_param inner_distance_param "
    "margin_inner_product_param largemargin_inner_product_param label_specific_add_param smoothl1_param "
    "roi_pooling_param psroi_pooling_param proposal_param resize_param pairwise_param noise_param",
    "NVIDIA/caffe": "trt_param detectnet_groundtruth_param detectnet_augmentation_param",
    "microsoft/caffe": "roi_pooling_param psroi_pooling_param smooth_l1_loss_param box_annotator_ohem_param "
    "mil_param mil_data_param",
    "intel/caffe": "smooth_l1_loss_param psroi_pooling_param roi_pooling_param box_annotator_ohem_param reorg_param "
    "region_loss_param split_param spatial_dropout_param mn_activation_param mn_grad_compress_param "
    "quantization_param eval_detection_param",
    "synopsys-caffe": "interp_param bn_param upsample_param shuffle_channel_param reorg_param correlation_param "
    "flow_warp_param resample_param proposal_param roi_align_param roi_pooling_param smooth_l1_loss_param "
    "resize_bilinear_param resize_nearest_neighbor_param depth_to_space_param space_to_depth_param pad_param "
    "gather_param squeeze_param reduce_mean_param layer_norm_param hard_sigmoid_param selu_param",
    "CPM (convolutional pose machines)": "cpm_transform_param",
}

_HALF = "NVIDIA/caffe and OpenCV: half-precision weights"
_FIVE_BLOBS = "NVIDIA/caffe: a BatchNorm of five blobs"

# Fields that forks add to messages which we share with them.
_SHARED_FIELDS = {
    ("ConvolutionParameter", "hole"): "deeplab-v1 and yjxiong/caffe; BVLC calls it dilation",
    ("PoolingParameter", "ceil_mode"): "cascade-rcnn; BVLC calls it round_mode",
    ("PoolingParameter", "avg_include_pad"): "intel/caffe",
    ("LossParameter", "weight_by_label_freqs"): "segnet",
    ("DropoutParameter", "scale_train"): "several forks",
    ("BatchNormParameter", "scale_filler"): _FIVE_BLOBS,
    ("BatchNormParameter", "bias_filler"): _FIVE_BLOBS,
    ("BatchNormParameter", "scale_bias"): _FIVE_BLOBS,
    ("BlobProto", "raw_data"): _HALF,
    ("BlobProto", "raw_data_type"): _HALF,
    ("BlobProto", "raw_diff"): _HALF,
    ("BlobProto", "raw_diff_type"): _HALF,
}

# Layer types by fork, for those whose layers have no parameters of their own or are known by their type.
_LAYER_TYPES = {
    "Interp": "PSPNet, deeplab-v2, synopsys-caffe, ncnn",
    "Upsample": "segnet, MobileNet-YOLO and other YOLO forks",
    "BN": "PSPNet, segnet, yjxiong/caffe",
    "ROIPooling": "Fast R-CNN and its descendants, cascade-rcnn",
    "PSROIPooling": "R-FCN and its descendants",
    "Proposal": "Faster R-CNN forks in C++",
    "Axpy": "SENet",
    "DepthwiseConvolution": "yonghenglh6/DepthwiseConvolution and several forks",
    "ConvolutionDepthwise": "synopsys-caffe and several forks",
    "ShuffleChannel": "ports of ShuffleNet",
    "ReLU6": "ports of MobileNet",
    "Correlation": "FlowNet2",
    "FlowWarp": "FlowNet2",
    "Resample": "FlowNet2",
    "Reorg": "ports of YOLO",
    "CenterLoss": "caffe-face",
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
