"""SSD300 and SSD512 on VGG-16, and SSD on ZFNet and ResNet-101, for VOC, COCO and ILSVRC.

Source: Liu et al.: SSD: Single Shot MultiBox Detector, ECCV 2016; the settings are those of the authors' scripts
(ssd_pascal.py, ssd_coco.py, ssd_ilsvrc.py, ssd_pascal_zf.py, ssd_pascal_resnet.py) and published nets.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from caffecompat.netspec import NetSpec, Top
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.data import CreateAnnotatedDataLayer
from caffecompat.zoo.classifying import widened
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.ssd_bodies import BODIES, body_and_head
from caffecompat.zoo.ssd_settings import DATASETS, Setting

_MEAN = [104, 117, 123]
_DISTORTION = {
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
}
_PATCH = {"min_scale": 0.3, "max_scale": 1.0, "min_aspect_ratio": 0.5, "max_aspect_ratio": 2.0}
_CONSTRAINTS = (
    *({"min_jaccard_overlap": overlap} for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)),
    {"max_jaccard_overlap": 1.0},
)
# Section 2.2, data augmentation: the whole image, or a patch that overlaps an object so much.
_SAMPLERS = [
    {"sampler": {}, "max_trials": 1, "max_sample": 1},
    *(
        {"sampler": _PATCH, "sample_constraint": constraint, "max_trials": 50, "max_sample": 1}
        for constraint in _CONSTRAINTS
    ),
]
_RESIZINGS = [P.Resize.LINEAR, P.Resize.AREA, P.Resize.NEAREST, P.Resize.CUBIC, P.Resize.LANCZOS4]


def _transform(setting: Setting, interpolations: list[int]) -> dict[str, Any]:
    transform: dict[str, Any] = {
        "mean_value": _MEAN,
        "resize_param": {
            "prob": 1,
            "resize_mode": P.Resize.WARP,
            "height": setting.size,
            "width": setting.size,
            "interp_mode": interpolations,
        },
    }
    if setting.dataset.force_color:
        transform["force_color"] = True
    return transform


def _label_map(setting: Setting, asked: Asked, own: str | None) -> str:
    """The names of the labels; who brings data of their own has their own, or none."""
    if asked.label_map is not None:
        return asked.label_map
    return setting.dataset.label_map if own is None else ""


def _train(setting: Setting, asked: Asked) -> caffe_pb2.NetParameter:
    net = NetSpec()
    transform = {
        **_transform(setting, _RESIZINGS),
        "mirror": True,
        "emit_constraint": {"emit_type": caffe_pb2.EmitConstraint.CENTER},
    }
    if setting.distorts:
        transform["distort_param"] = _DISTORTION
        transform["expand_param"] = {"prob": 0.5, "max_expand_ratio": 4.0}
    net.data, net.label = CreateAnnotatedDataLayer(
        asked.data or setting.dataset.train,
        batch_size=8,
        train=True,
        label_map_file=_label_map(setting, asked, asked.data),
        transform_param=transform,
        batch_sampler=_SAMPLERS,
    )
    tops = [*body_and_head(net, setting, asked.classes), net.label]
    loss = {
        "loc_loss_type": P.MultiBoxLoss.SMOOTH_L1,
        "conf_loss_type": P.MultiBoxLoss.SOFTMAX,
        "loc_weight": 1.0,
        "num_classes": asked.classes,
        "share_location": True,
        "match_type": P.MultiBoxLoss.PER_PREDICTION,
        "overlap_threshold": 0.5,
        "use_prior_for_matching": True,
        "background_label_id": 0,
        "use_difficult_gt": setting.dataset.difficult,
        "mining_type": P.MultiBoxLoss.MAX_NEGATIVE,
        "neg_pos_ratio": 3.0,
        "neg_overlap": 0.5,
        "code_type": P.PriorBox.CENTER_SIZE,
        "ignore_cross_boundary_bbox": False,
    }
    net.mbox_loss = L.MultiBoxLoss(
        *tops,
        multibox_loss_param=loss,
        loss_param={"normalization": P.Loss.VALID},
        include={"phase": caffe_pb2.TRAIN},
        propagate_down=[True, True, False, False],
    )
    message = net.to_proto()
    message.name = f"{setting.name}_train"
    return message


def _test(setting: Setting, asked: Asked) -> caffe_pb2.NetParameter:
    net = NetSpec()
    net.data, net.label = CreateAnnotatedDataLayer(
        asked.test_data or setting.dataset.test,
        batch_size=setting.test_batch,
        train=False,
        label_map_file=_label_map(setting, asked, asked.test_data),
        transform_param=_transform(setting, [P.Resize.LINEAR]),
    )
    tops = body_and_head(net, setting, asked.classes)
    tops[1] = _probabilities(net, asked.classes)
    phase = {"phase": caffe_pb2.TEST}
    detection: dict[str, Any] = {
        "num_classes": asked.classes,
        "share_location": True,
        "background_label_id": 0,
        "nms_param": {"nms_threshold": 0.45, "top_k": 400},
        "keep_top_k": 200,
        "confidence_threshold": 0.01,
        "code_type": P.PriorBox.CENTER_SIZE,
    }
    evaluation: dict[str, Any] = {
        "num_classes": asked.classes,
        "background_label_id": 0,
        "overlap_threshold": 0.5,
        "evaluate_difficult_gt": False,
    }
    if asked.test_data is None:
        detection["save_output_param"] = _saved(setting, asked)
    if asked.name_sizes is not None or asked.test_data is None:
        evaluation["name_size_file"] = asked.name_sizes or setting.dataset.name_sizes
    net.detection_out = L.DetectionOutput(*tops, detection_output_param=detection, include=phase)
    net.detection_eval = L.DetectionEvaluate(
        net.detection_out, net.label, detection_evaluate_param=evaluation, include=phase
    )
    message = net.to_proto()
    message.name = f"{setting.name}_test"
    return message


def _probabilities(net: NetSpec, classes: int) -> Top:
    net.mbox_conf_reshape = L.Reshape(net.mbox_conf, shape={"dim": [0, -1, classes]})
    net.mbox_conf_softmax = L.Softmax(net.mbox_conf_reshape, axis=2)
    net.mbox_conf_flatten = L.Flatten(net.mbox_conf_softmax, axis=1)
    top: Top = net["mbox_conf_flatten"]
    return top


def _saved(setting: Setting, asked: Asked) -> dict[str, Any]:
    """Where tests save what was found."""
    dataset = setting.dataset
    return {
        "output_directory": dataset.results.format(size=setting.size),
        "output_name_prefix": dataset.result_prefix.format(size=setting.size),
        "output_format": dataset.result_format,
        "label_map_file": asked.label_map or dataset.label_map,
        "name_size_file": asked.name_sizes or dataset.name_sizes,
        "num_test_image": dataset.test_images,
    }


def _deploy(setting: Setting, test: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net of tests, between its data and its evaluation."""
    shape = caffe_pb2.BlobShape(dim=[1, 3, setting.size, setting.size])
    return caffe_pb2.NetParameter(
        name=f"{setting.name}_deploy", input=["data"], input_shape=[shape], layer=list(test.layer)[1:-1]
    )


def _solver(setting: Setting) -> caffe_pb2.SolverParameter:
    solver = caffe_pb2.SolverParameter(
        test_iter=[-(-setting.dataset.test_images // setting.test_batch)],
        test_interval=10_000,
        base_lr=0.001,
        display=10,
        gamma=0.1,
        momentum=0.9,
        weight_decay=0.0005,
        solver_mode=caffe_pb2.SolverParameter.GPU,
        device_id=0,
        debug_info=False,
        snapshot_after_train=True,
        test_initialization=False,
        average_loss=10,
        iter_size=1,
        type="SGD",
        eval_type="detection",
        ap_version=setting.dataset.ap_version,
    )
    if setting.base == "resnet-101":
        solver.MergeFrom(caffe_pb2.SolverParameter(lr_policy="step", stepsize=40_000, max_iter=60_000, snapshot=40_000))
    else:
        solver.lr_policy = "multistep"
        solver.stepvalue.extend(setting.dataset.steps)
        solver.max_iter = setting.dataset.steps[-1]
        solver.snapshot = setting.dataset.snapshot
    return solver


def _notes(asked: Asked, solver: caffe_pb2.SolverParameter) -> tuple[str, ...]:
    """What is to be known of the solver."""
    batches = "the paper's batches are of 32: 8 on each of four GPUs, --gpu 0,1,2,3; on one device write iter_size: 4"
    if asked.data is None:
        return (batches,)
    steps = "stepvalue" if solver.stepvalue else "stepsize"
    shortened = f"max_iter and {steps}" if asked.test_data is None else f"max_iter, {steps} and test_interval"
    return (
        batches,
        f"the solver is for {solver.max_iter:,} iterations: for a small set of pictures make {shortened} "
        "smaller, as docs/ssd.md does",
    )


def _build(size: int, asked: Asked) -> Nets:
    setting = Setting(DATASETS[asked.dataset], asked.variant, size)
    test = narrowed(_test(setting, asked), asked.width)
    nets = {"train": narrowed(_train(setting, asked), asked.width), "test": test, "deploy": _deploy(setting, test)}
    solver = _solver(setting)
    notes = _notes(asked, solver)
    if asked.width != 1:
        note = "a net of another width has no weights to start from: all layers start from their fillers"
        return Nets(nets, solver, setting.name, None, (note, *notes))
    body = BODIES[asked.variant]
    return Nets(nets, solver, setting.name, body.weights, (body.note, *notes))


def narrowed(net: caffe_pb2.NetParameter, width: float) -> caffe_pb2.NetParameter:
    """The net, which is changed, with so many times the channels, but for those of the predictions.

    No weights are published for another width than 1: such a net's layers are filled so that values keep their size
    through many of them.
    """
    for layer in net.layer if width != 1 else ():
        if layer.type == "Convolution" and "_mbox_" not in layer.name:
            param = layer.convolution_param
            param.num_output = widened(param.num_output, width)
            param.weight_filler.CopyFrom(caffe_pb2.FillerParameter(type="msra"))
    return net


_CLASSES = {name: dataset.classes for name, dataset in DATASETS.items()}
_SUMMARIES = {300: ("SSD for images of 300x300", tuple(BODIES)), 512: ("SSD for images of 512x512", ("vgg", "zf"))}
MODELS = tuple(
    Model(
        f"ssd{size}",
        summary,
        "Liu et al. 2016",
        partial(_build, size),
        _CLASSES,
        max_classes=10_000,
        min_classes=2,
        variants=variants,
        files=("label_map", "name_sizes"),
        scales=("width",),
    )
    for size, (summary, variants) in _SUMMARIES.items()
)
