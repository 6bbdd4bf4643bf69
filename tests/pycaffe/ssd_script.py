"""The nets that the SSD authors' training scripts build, built with our `model_libs` from what the scripts state."""

from __future__ import annotations

from dataclasses import dataclass

from caffecompat.netspec import NetSpec
from caffecompat.pycaffe.model_libs import (
    ConvBNLayer,
    CreateAnnotatedDataLayer,
    CreateMultiBoxHead,
    L,
    P,
    VGGNetBody,
    caffe_pb2,
)

# Behind fc7: channels, kernel, pad and stride of the layers conv6_1, conv6_2, conv7_1, ...
EXTRA_300 = (
    *((256, 1, 0, 1), (512, 3, 1, 2), (128, 1, 0, 1), (256, 3, 1, 2)),
    *((128, 1, 0, 1), (256, 3, 0, 1), (128, 1, 0, 1), (256, 3, 0, 1)),
)
EXTRA_512 = (
    *((256, 1, 0, 1), (512, 3, 1, 2)),
    *((128, 1, 0, 1), (256, 3, 1, 2)) * 3,
    *((128, 1, 0, 1), (256, 4, 1, 1)),
)


@dataclass(frozen=True)
class Script:
    """What differs between the scripts. The sizes of prior boxes are in percent: the first pair, then a range."""

    model: str
    size: int
    data: str
    databases: tuple[str, str]
    labels: str
    classes: int
    images: int
    results: str
    prefix: str
    format: str
    name_sizes: str
    first_sizes: tuple[int, int]
    ratios: range
    extra: tuple[tuple[int, int, int, int], ...]
    steps: tuple[int, ...]
    aspect_ratios: tuple[tuple[int, ...], ...]
    colour: tuple[tuple[str, bool], ...] = ()


VOC = {
    "data": "VOC0712",
    "databases": ("examples/VOC0712/VOC0712_trainval_lmdb", "examples/VOC0712/VOC0712_test_lmdb"),
    "labels": "data/VOC0712/labelmap_voc.prototxt",
    "classes": 21,
    "images": 4952,
    "prefix": "comp4_det_test_",
    "format": "VOC",
    "name_sizes": "data/VOC0712/test_name_size.txt",
}
COCO = {
    "data": "coco",
    "databases": ("examples/coco/coco_train_lmdb", "examples/coco/coco_minival_lmdb"),
    "labels": "data/coco/labelmap_coco.prototxt",
    "classes": 81,
    "images": 5000,
    "prefix": "detections_minival_ssd300_results",
    "format": "COCO",
    "name_sizes": "data/coco/minival2014_name_size.txt",
    "colour": (("force_color", True),),
}
AT_300 = {
    "size": 300,
    "extra": EXTRA_300,
    "steps": (8, 16, 32, 64, 100, 300),
    "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
}
AT_512 = {
    "size": 512,
    "extra": EXTRA_512,
    "steps": (8, 16, 32, 64, 128, 256, 512),
    "aspect_ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
}
SCRIPTS = {
    "SSD300_VOC0712": Script(
        model="VGG_VOC0712_SSD_300x300",
        results="data/VOCdevkit/results/VOC2007/SSD_300x300/Main",
        first_sizes=(10, 20),
        ratios=range(20, 91, 17),
        **VOC,
        **AT_300,
    ),
    "SSD300_coco": Script(
        model="VGG_coco_SSD_300x300",
        results="data/mscoco/results/SSD_300x300",
        first_sizes=(7, 15),
        ratios=range(15, 91, 18),
        **COCO,
        **AT_300,
    ),
    "SSD512_VOC0712": Script(
        model="VGG_VOC0712_SSD_512x512",
        results="data/VOCdevkit/results/VOC2007/SSD_512x512/Main",
        first_sizes=(7, 15),
        ratios=range(15, 91, 15),
        **VOC,
        **AT_512,
    ),
}


def train_net(script):
    net = NetSpec()
    overlaps = [{"min_jaccard_overlap": overlap} for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)]
    patch = {"min_scale": 0.3, "max_scale": 1.0, "min_aspect_ratio": 0.5, "max_aspect_ratio": 2.0}
    net.data, net.label = CreateAnnotatedDataLayer(
        script.databases[0],
        batch_size=8,
        train=True,
        output_label=True,
        label_map_file=script.labels,
        transform_param={
            "mirror": True,
            **transform(script, [P.Resize.LINEAR, P.Resize.AREA, P.Resize.NEAREST, P.Resize.CUBIC, P.Resize.LANCZOS4]),
            "distort_param": {
                "brightness_prob": 0.5,
                "brightness_delta": 32,
                "contrast_prob": 0.5,
                "contrast_lower": 0.5,
                "contrast_upper": 1.5,
                "hue_prob": 0.5,
                "hue_delta": 18,
                "saturation_prob": 0.5,
                "saturation_lower": 0.5,
                "saturation_upper": 1.5,
                "random_order_prob": 0.0,
            },
            "expand_param": {"prob": 0.5, "max_expand_ratio": 4.0},
            "emit_constraint": {"emit_type": caffe_pb2.EmitConstraint.CENTER},
        },
        batch_sampler=[
            {"sampler": {}, "max_trials": 1, "max_sample": 1},
            *(
                {"sampler": patch, "sample_constraint": constraint, "max_trials": 50, "max_sample": 1}
                for constraint in (*overlaps, {"max_jaccard_overlap": 1.0})
            ),
        ],
    )
    tops = [*body_and_head(net, script), net.label]
    net["mbox_loss"] = L.MultiBoxLoss(
        *tops,
        multibox_loss_param={
            "loc_loss_type": P.MultiBoxLoss.SMOOTH_L1,
            "conf_loss_type": P.MultiBoxLoss.SOFTMAX,
            "loc_weight": 1.0,
            "num_classes": script.classes,
            "share_location": True,
            "match_type": P.MultiBoxLoss.PER_PREDICTION,
            "overlap_threshold": 0.5,
            "use_prior_for_matching": True,
            "background_label_id": 0,
            "use_difficult_gt": script.format == "VOC",
            "mining_type": P.MultiBoxLoss.MAX_NEGATIVE,
            "neg_pos_ratio": 3.0,
            "neg_overlap": 0.5,
            "code_type": P.PriorBox.CENTER_SIZE,
            "ignore_cross_boundary_bbox": False,
        },
        loss_param={"normalization": P.Loss.VALID},
        include={"phase": caffe_pb2.Phase.Value("TRAIN")},
        propagate_down=[True, True, False, False],
    )
    message = net.to_proto()
    message.name = f"{script.model}_train"
    return message


def test_net(script):
    net = NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        script.databases[1],
        batch_size=8,
        train=False,
        output_label=True,
        label_map_file=script.labels,
        transform_param=transform(script, [P.Resize.LINEAR]),
    )
    tops = body_and_head(net, script)
    net.mbox_conf_reshape = L.Reshape(net.mbox_conf, shape={"dim": [0, -1, script.classes]})
    net.mbox_conf_softmax = L.Softmax(net.mbox_conf_reshape, axis=2)
    net.mbox_conf_flatten = L.Flatten(net.mbox_conf_softmax, axis=1)
    tops[1] = net.mbox_conf_flatten
    net.detection_out = L.DetectionOutput(
        *tops,
        detection_output_param={
            "num_classes": script.classes,
            "share_location": True,
            "background_label_id": 0,
            "nms_param": {"nms_threshold": 0.45, "top_k": 400},
            "save_output_param": {
                "output_directory": script.results,
                "output_name_prefix": script.prefix,
                "output_format": script.format,
                "label_map_file": script.labels,
                "name_size_file": script.name_sizes,
                "num_test_image": script.images,
            },
            "keep_top_k": 200,
            "confidence_threshold": 0.01,
            "code_type": P.PriorBox.CENTER_SIZE,
        },
        include={"phase": caffe_pb2.Phase.Value("TEST")},
    )
    net.detection_eval = L.DetectionEvaluate(
        net.detection_out,
        net.label,
        detection_evaluate_param={
            "num_classes": script.classes,
            "background_label_id": 0,
            "overlap_threshold": 0.5,
            "evaluate_difficult_gt": False,
            "name_size_file": script.name_sizes,
        },
        include={"phase": caffe_pb2.Phase.Value("TEST")},
    )
    message = net.to_proto()
    message.name = f"{script.model}_test"
    return message


def deploy_net(script):
    message = test_net(script)
    del message.layer[0], message.layer[-1]
    message.name = f"{script.model}_deploy"
    message.input.extend(["data"])
    message.input_shape.extend([caffe_pb2.BlobShape(dim=[1, 3, script.size, script.size])])
    return message


NETS = {"train": train_net, "test": test_net, "deploy": deploy_net}


def transform(script, interpolations):
    return {
        "mean_value": [104, 117, 123],
        **dict(script.colour),
        "resize_param": {
            "prob": 1,
            "resize_mode": P.Resize.WARP,
            "height": script.size,
            "width": script.size,
            "interp_mode": interpolations,
        },
    }


def body_and_head(net, script):
    VGGNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    last = net.keys()[-1]
    for index, sizes in enumerate(script.extra):
        name = f"conv{6 + index // 2}_{1 + index % 2}"
        ConvBNLayer(net, last, name, False, True, *sizes, lr_mult=1)
        last = name
    step = script.ratios.step
    sizes = [script.first_sizes, *((ratio, ratio + step) for ratio in script.ratios)]
    sources = ["conv4_3", "fc7", *(f"conv{number}_2" for number in range(6, 6 + len(script.extra) // 2))]
    return CreateMultiBoxHead(
        net,
        data_layer="data",
        from_layers=sources,
        use_batchnorm=False,
        min_sizes=[script.size * size / 100.0 for size, _ in sizes],
        max_sizes=[script.size * size / 100.0 for _, size in sizes],
        aspect_ratios=[list(ratios) for ratios in script.aspect_ratios],
        steps=list(script.steps),
        normalizations=[20, *[-1] * (len(sources) - 1)],
        num_classes=script.classes,
        share_location=True,
        flip=True,
        clip=False,
        prior_variance=[0.1, 0.1, 0.2, 0.2],
        kernel_size=3,
        pad=1,
        lr_mult=1,
    )
