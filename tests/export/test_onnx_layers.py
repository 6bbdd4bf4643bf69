"""Every layer type as ONNX, by itself: what ONNX Runtime computes is what the layer does."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import pytest
import torch

from caffecompat.errors import ShapeError, UnsupportedError, UsageError
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from caffecompat.export.onnx.registry import emits, emitters
from caffecompat.layers import registered
from caffecompat.layers.base import meanings_of
from caffecompat.layers.neurons import ReLU
from caffecompat.schema import LAYER_TYPES
from caffecompat.schema.plugins import BUILT_IN
from tests.export.onnx_cases import assert_same, inputs_of, net_of, run_model, run_net
from tests.layers.type_cases import CASES, Case, fixed, of

# Losses and evaluation drop out of a net before; an average over bins, a file and plug-ins have none.
WITHOUT = {
    "Accuracy", "CenterLoss", "ContrastiveLoss", "DetectionEvaluate", "EuclideanLoss", "HDF5Output", "HingeLoss",
    "InfogainLoss", "MultiBoxLoss", "MultinomialLogisticLoss", "PSROIPooling", "SigmoidCrossEntropyLoss",
    "SmoothL1Loss", "SoftmaxWithLoss", *BUILT_IN,
}  # fmt: skip
IMAGE = of(2, 3, 5, 4)
DETECTION = (of(1, 18, 4, 5), of(1, 36, 4, 5), fixed((1, 3), 64, 80, 1.5))
MORE = [
    Case("ArgMax", "argmax_param { top_k: 3 out_max_val: true axis: -1 }", (IMAGE,)),
    Case("ArgMax", "argmax_param { axis: 1 }", (IMAGE,)),
    Case("BatchNorm", "batch_norm_param { use_global_stats: false }", (IMAGE,)),
    Case("Convolution", "convolution_param { num_output: 4 kernel_size: 2 axis: 2 }", (of(2, 3, 4, 5, 6),)),
    Case("Convolution", "convolution_param { num_output: 4 kernel_size: 2 axis: 0 }", (of(3, 5, 6),)),
    Case("Correlation", "correlation_param { kernel_size: 3 max_displacement: 2 stride_1: 2 pad: 3 }", (IMAGE, IMAGE)),
    Case("Correlation", "correlation_param { kernel_size: 1 max_displacement: 2 stride_2: 2 pad: 2 "
         "correlation_type: SUBTRACT }", (IMAGE, IMAGE)),
    Case("Crop", "crop_param { axis: 1 offset: [0, 1, 2] }", (IMAGE, of(2, 2, 3, 2))),
    Case("Deconvolution", "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }",
         (of(2, 4, 3, 5),)),
    Case("Eltwise", "eltwise_param { coeff: 0.5 coeff: -2 coeff: 1 }", (IMAGE, IMAGE, IMAGE)),
    Case("FlowWarp", "flow_warp_param { fill_value: NOT_A_NUMBER }", (IMAGE, of(2, 2, 5, 4))),
    Case("InnerProduct", "inner_product_param { num_output: 4 axis: -1 bias_term: false }", (IMAGE,)),
    Case("Interp", "interp_param { shrink_factor: 2 pad_beg: -1 pad_end: -1 }", (of(2, 3, 9, 8),)),
    Case("LSTM", "recurrent_param { num_output: 3 expose_hidden: true }",
         (of(3, 2, 4), fixed((3, 2), 0, 1, 1, 1, 0, 1), of(1, 2, 3), of(1, 2, 3)), tops=3),
    Case("MVN", "", (of(2, 3, 4),)),
    Case("Normalize", 'normalize_param { normalize_type: "L1" }', (IMAGE,), cls="NormalizeWithoutScale"),
    Case("Power", "power_param { power: 2 scale: 0.5 shift: 3 }", (IMAGE,)),
    Case("Pooling", "pooling_param { global_pooling: true pool: AVE }", (IMAGE,)),
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }", (IMAGE,), tops=2),
    Case("PriorBox", "prior_box_param { min_size: 4 max_size: 9 aspect_ratio: 2 aspect_ratio: 3 clip: true "
         "variance: [0.1, 0.2, 0.3, 0.4] step: 7 offset: 0.3 }", (of(1, 3, 2, 3), of(1, 3, 20, 30))),
    Case("Proposal", "proposal_param { ratio: [0.5, 1, 2] scale: [2, 4, 8] base_size: 4 min_size: 9 post_nms_topn: 20 "
         "pre_nms_topn: 50 nms_thresh: 0.5 }", DETECTION, tops=2),
    Case("ReLU6", "relu6_param { negative_slope: 0.1 }", (IMAGE,)),
    Case("Reorg", "reorg_param { stride: 2 reverse: true }", (of(1, 8, 3, 2),)),
    Case("Resample", "resample_param { height: 2 width: 9 type: NEAREST }", (IMAGE,)),
    Case("Reshape", "reshape_param { axis: 1 num_axes: 2 shape { dim: -1 dim: 1 } }", (IMAGE,)),
    Case("SPP", "spp_param { pyramid_height: 3 pool: AVE }", (of(2, 3, 9, 7),)),
    Case("Scale", "scale_param { axis: 1 num_axes: 2 bias_term: true }", (IMAGE,)),
    Case("Slice", "slice_param { axis: 0 }", (IMAGE,), tops=2),
]  # fmt: skip
TESTED = [
    case for case in (*CASES, *MORE) if case.phase == "TEST" and case.type not in WITHOUT and case.type != "Silence"
]


@pytest.mark.parametrize("case", TESTED, ids=str)
def test_layer(case, tmp_path):
    """In the conversion for several numbers of images, and once from outside."""
    net = net_of(case)
    export_onnx(net, tmp_path / "l.onnx", OnnxOptions(), {})
    inputs = inputs_of(case)
    assert_same(run_model(tmp_path / "l.onnx", inputs), run_net(net, inputs), 2e-5)


@pytest.mark.parametrize("case", TESTED, ids=str)
def test_height_and_width_may_vary(case, tmp_path):
    """The conversion tries twice the height and three times the width; here they are one larger."""
    net = net_of(case)
    inputs = inputs_of(case)
    images = [name for name, value in inputs.items() if value.ndim == 4]
    try:
        export_onnx(net, tmp_path / "l.onnx", OnnxOptions(dynamic_size=True), {})
        shapes = {name: value.shape for name, value in inputs.items()}
        shapes |= {name: (*shapes[name][:2], shapes[name][2] + 1, shapes[name][3] + 1) for name in images}
        random = np.random.default_rng(0)
        inputs |= {name: np.abs(random.standard_normal(shapes[name], np.float32)) for name in images}
        wanted = run_net(net, inputs)
    except (ShapeError, UnsupportedError, UsageError):
        return
    assert_same(run_model(tmp_path / "l.onnx", inputs), wanted, 2e-5)


@pytest.mark.parametrize("case", TESTED, ids=str)
def test_half(case, tmp_path):
    """Inputs and outputs stay float32; values that are chosen may be others."""
    net = net_of(case)
    export_onnx(net, tmp_path / "l.onnx", OnnxOptions(half=True), {})
    model = onnx.load(tmp_path / "l.onnx").graph
    types = {value.type.tensor_type.elem_type for value in (*model.input, *model.output)}
    assert types == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("opset", [18, 21, 23])
@pytest.mark.parametrize(
    "type_", ["ArgMax", "BatchNorm", "DetectionOutput", "Interp", "MVN", "Normalize", "Pooling", "Reduction", "Slice"]
)
def test_newer_operators(type_, opset, tmp_path):
    for case in (case for case in TESTED if case.type == type_):
        export_onnx(net_of(case), tmp_path / "l.onnx", OnnxOptions(opset=opset), {})
        assert onnx.load(tmp_path / "l.onnx").opset_import[0].version == opset


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("round_mode", ["CEIL", "FLOOR"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_last_window_of_a_pooling(pool, round_mode, dynamic, tmp_path):
    """Every way in which the last window can lie, among them those beyond the image."""
    for kernel, stride, pad in product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2)):
        if pad >= kernel:
            continue
        window = f"kernel_size: {kernel} stride: {stride} pad: {pad} pool: {pool} round_mode: {round_mode}"
        sizes = [(7, 10), (8, 5), (9, 6)]
        for size in sizes[: 1 if dynamic else 3]:
            net = net_of(Case("Pooling", f"pooling_param {{ {window} }}", (of(1, 2, *size),)))
            export_onnx(net, tmp_path / "l.onnx", OnnxOptions(dynamic_size=dynamic, verify=False), {})
            for other in sizes if dynamic else [size]:
                inputs = {"x0": np.random.default_rng(0).standard_normal((1, 2, *other), np.float32)}
                assert_same(run_model(tmp_path / "l.onnx", inputs), run_net(net, inputs), 1e-6)


def test_what_has_no_form_says_so(tmp_path):
    net = net_of(next(case for case in CASES if case.type == "PSROIPooling"))
    with pytest.raises(UnsupportedError, match="layer type PSROIPooling has no form in ONNX") as caught:
        export_onnx(net, tmp_path / "l.onnx", OnnxOptions(), {})
    assert (caught.value.layer, caught.value.line) == ("l", 3)
    assert not list(tmp_path.iterdir())


def test_every_type_is_written_or_known_not_to_be():
    known = emitters()
    for type_ in registered():
        written = [meaning in known for meaning in meanings_of(type_)]
        assert all(written) == (type_ not in WITHOUT) or LAYER_TYPES[type_].data, type_
        assert all(written) or not any(written), type_


def test_two_emitters_for_a_layer():
    emitters()
    with pytest.raises(ValueError, match="ReLU has two emitters: relu, again"):

        @emits(ReLU)
        def again(layer, at):
            return at.bottoms[0]


def test_the_net_does_not_change(tmp_path):
    net = net_of(next(case for case in CASES if case.type == "LSTM"))
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    export_onnx(net, tmp_path / "l.onnx", OnnxOptions(), {})
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
