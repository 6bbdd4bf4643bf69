"""DetectionOutput as ONNX: row for row what the layer gives, ties and images without detections among them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from caffecompat.errors import UnsupportedError
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from tests.export.onnx_cases import run_model, run_net
from tests.support import make_net

PRIORS, CLASSES = 60, 4
NET = """
layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: IMAGES dim: LOCATIONS } } }
layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: IMAGES dim: 240 } } }
layer { name: "prior" type: "Input" top: "prior" input_param { shape { dim: 1 dim: 2 dim: 240 } } }
layer {
  name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
  detection_output_param { num_classes: 4 FIELDS }
}
"""


def detector(fields, images=2, shared=True):
    sizes = NET.replace("IMAGES", str(images)).replace("LOCATIONS", str(PRIORS * 4 * (1 if shared else CLASSES)))
    return make_net(sizes.replace("FIELDS", f"{fields} share_location: {str(shared).lower()}"))


def predictions(net, seed=0, steps=None):
    """Overlapping boxes and scores; with `steps` so few different scores that many are equal."""
    random = np.random.default_rng(seed)
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    low = random.uniform(0, 0.7, (PRIORS, 2))
    boxes = np.concatenate([low, low + random.uniform(0.1, 0.3, (PRIORS, 2))], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], PRIORS)
    scores = random.uniform(0, 1, shapes["conf"])
    if steps:
        scores = np.floor(scores * steps) / steps
    found = {
        "loc": random.standard_normal(shapes["loc"]) * 0.5,
        "conf": scores,
        "prior": np.stack([boxes.reshape(-1), variances])[None],
    }
    return {name: value.astype(np.float32) for name, value in found.items()}


def check(net, path, inputs):
    found, wanted = run_model(path, inputs)["out"], run_net(net, inputs)["out"]
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found[..., :3], wanted[..., :3])
    np.testing.assert_allclose(found[..., 3:], wanted[..., 3:], rtol=0, atol=2e-6)
    return wanted


@pytest.mark.parametrize("code_type", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("encoded", [True, False])
def test_decoding(code_type, shared, encoded, tmp_path):
    fields = f"code_type: {code_type} variance_encoded_in_target: {str(encoded).lower()} confidence_threshold: 0.3"
    net = detector(f"{fields} nms_param {{ nms_threshold: 0.4 top_k: 20 }} keep_top_k: 25", shared=shared)
    export_onnx(net, tmp_path / "net.onnx", OnnxOptions(), {})
    assert check(net, tmp_path / "net.onnx", predictions(net)).shape == (1, 1, 50, 7)


def test_choosing(tmp_path):
    """Every combination of limits, with many equal scores."""
    seen = set()
    for top_k, keep, background, steps in product((-1, 7, 500), (-1, 0, 9), (-1, 0, 2), (None, 5)):
        top = f"top_k: {top_k}" if top_k > 0 else ""
        fields = f"background_label_id: {background} keep_top_k: {keep} confidence_threshold: 0.55 code_type: CORNER"
        net = detector(f"{fields} nms_param {{ nms_threshold: 0.3 {top} }}")
        export_onnx(net, tmp_path / "net.onnx", OnnxOptions(verify=False), {})
        seen.add(check(net, tmp_path / "net.onnx", predictions(net, top_k + keep + 2, steps)).shape[2])
    assert len(seen) > 6


def test_any_number_of_images_and_none_with_detections(tmp_path):
    fields = "confidence_threshold: 0.99 nms_param { nms_threshold: 0.45 top_k: 400 } keep_top_k: 200"
    net = detector(fields)
    export_onnx(net, tmp_path / "net.onnx", OnnxOptions(), {})
    for images in (1, 3, 5):
        other = detector(fields, images)
        inputs = predictions(other)
        check(other, tmp_path / "net.onnx", inputs)
        inputs["conf"][-1] = 0
        assert (check(other, tmp_path / "net.onnx", inputs)[..., 0] < images).all()
        inputs["conf"][:] = 0
        rows = check(other, tmp_path / "net.onnx", inputs)
        assert rows.tolist() == [[[[image, *[-1] * 6] for image in range(images)]]]


@pytest.mark.parametrize("code_type", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_boxes_whose_ends_are_exchanged(code_type, tmp_path):
    """Caffe gives such a box no area, so that it suppresses nothing; ONNX would turn it round."""
    net = detector(f"code_type: {code_type} nms_param {{ nms_threshold: 0.2 }}")
    export_onnx(net, tmp_path / "net.onnx", OnnxOptions(), {})
    inputs = predictions(net)
    if code_type == "CENTER_SIZE":
        inputs["prior"][0, 0] = inputs["prior"][0, 0, ::-1]
    else:
        inputs["loc"] *= 20
    check(net, tmp_path / "net.onnx", inputs)


def test_an_adaptive_threshold(tmp_path):
    net = detector("nms_param { nms_threshold: 0.6 eta: 0.9 }")
    with pytest.raises(UnsupportedError, match=r"nms_param.eta is 0.9: ONNX") as caught:
        export_onnx(net, tmp_path / "net.onnx", OnnxOptions(), {})
    assert (caught.value.layer, caught.value.line) == ("out", 5)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fields", ["nms_param { nms_threshold: 0.6 top_k: 0 }"])
def test_what_can_detect_nothing(fields, tmp_path):
    with pytest.raises(UnsupportedError, match="no detection"):
        export_onnx(detector(fields), tmp_path / "net.onnx", OnnxOptions(), {})
