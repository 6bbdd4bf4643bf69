"""PriorBox, DetectionOutput, DetectionEvaluate and MultiBoxLoss beyond the recorded cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, FormatError, SchemaError, ShapeError
from tests.layers.single import single

FEATURES, IMAGE = (2, 8, 2, 3), (2, 3, 40, 60)


def prior_box(body, features=FEATURES, image=IMAGE):
    layer = single("PriorBox", f"prior_box_param {{ {body} }}", features, image)
    return layer, layer(torch.zeros(features), torch.zeros(image))


def test_priors_by_hand():
    layer, top = prior_box("min_size: 10.9 max_size: 40 aspect_ratio: 4 clip: false variance: 0.2 step: 20")
    assert layer.shapes(FEATURES, IMAGE) == (tuple(top.shape),) == ((1, 2, 2 * 3 * 4 * 4),)
    boxes = top[0, 0].reshape(2, 3, 4, 4)
    size = torch.tensor([60.0, 40, 60, 40])
    # Sizes are cut to integers; the square, the mean's square, the ratio, and (flip's default) its inverse.
    sides = torch.tensor([[10, 10], [20, 20], [20, 5], [5, 20]]).float()
    for row, column in ((0, 0), (1, 2)):
        center = torch.tensor([(column + 0.5) * 20, (row + 0.5) * 20])
        wanted = torch.cat([center - sides / 2, center + sides / 2], 1) / size
        torch.testing.assert_close(boxes[row, column], wanted)
    assert top[0, 1].unique().tolist() == [pytest.approx(0.2)]


def test_priors_follow_the_shapes_they_are_given():
    layer, _ = prior_box("min_size: 10")
    assert layer(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 80, 80)).shape == (1, 2, 64)
    assert layer(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 40, 80))[0, 0, 0] == pytest.approx(5 / 80)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "min_size"),
        ("min_size: -1", "min_size"),
        ("min_size: nan", "min_size"),
        ("min_size: 10 max_size: 10", "greater"),
        ("min_size: 10 min_size: 20 max_size: 30", "one max_size for each"),
        ("min_size: 10 variance: 0.1 variance: 0.2", "one variance or four"),
        ("min_size: 10 variance: 0", "variance"),
        ("min_size: 10 aspect_ratio: 0", "aspect_ratio"),
        ("min_size: 10 img_size: 300 img_h: 300 img_w: 300", "either img_size or"),
        ("min_size: 10 img_h: 300", "both img_h and img_w"),
        ("min_size: 10 step: 0", "step must be greater than 0"),
        ("min_size: 10 step: inf", "step must be greater than 0"),
    ],
)
def test_prior_box_refuses(body, message):
    with pytest.raises(SchemaError, match=message):
        prior_box(body)


def test_prior_box_refuses_bottoms_without_places():
    with pytest.raises(ShapeError, match=r"shape \(N, C, H, W\)"):
        prior_box("min_size: 10", features=(2, 8))
    with pytest.raises(ShapeError, match="gives 0 values"):
        prior_box("min_size: 10", features=(2, 8, 0, 3))


SHAPES = ((2, 12), (2, 9), (1, 2, 12))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "num_classes"),
        ("num_classes: 3 nms_param { nms_threshold: -1 }", "nms_threshold"),
        ("num_classes: 3 nms_param { nms_threshold: nan }", "nms_threshold"),
        ("num_classes: 3 nms_param { eta: 0 }", "eta"),
        ("num_classes: 3 nms_param { eta: 1.5 }", "eta"),
    ],
)
def test_detection_output_refuses(body, message):
    with pytest.raises(SchemaError, match=message):
        single("DetectionOutput", f"detection_output_param {{ {body} }}", *SHAPES)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 12), (2, 8), (1, 2, 12)), r"confidence predictions of shape \(N, 9\) for 3 priors, got \(2, 8\)"),
        (((2, 16), (2, 9), (1, 2, 12)), r"location predictions of shape \(N, 12\)"),
        (((2, 12), (1, 9), (1, 2, 12)), "2 images, confidences for 1"),
        (((2, 12), (2, 9), (1, 1, 12)), "priors of shape"),
        (((2, 12), (2, 9), (1, 2, 13)), "priors of shape"),
    ],
)
@pytest.mark.parametrize("type_", ["DetectionOutput", "MultiBoxLoss"])
def test_predictions_that_do_not_fit_the_priors(shapes, message, type_):
    body = {"DetectionOutput": "detection_output_param", "MultiBoxLoss": "multibox_loss_param"}[type_]
    shapes = shapes if type_ == "DetectionOutput" else (*shapes, (1, 1, 1, 8))
    with pytest.raises(ShapeError, match=message):
        single(type_, f"{body} {{ num_classes: 3 }}", *shapes)


def test_detections_are_not_written_or_shown():
    body = 'detection_output_param { num_classes: 3 save_output_param { output_directory: "out" } }'
    with pytest.warns(CaffeCompatWarning, match="save_output_param is ignored"):
        single("DetectionOutput", body, *SHAPES)


def test_a_fourth_bottom_is_accepted():
    layer = single("DetectionOutput", "detection_output_param { num_classes: 3 }", *SHAPES, (2, 3, 8, 8))
    tops = layer(torch.zeros(2, 12), torch.full((2, 9), 0.5), torch.rand(1, 2, 12), torch.zeros(2, 3, 8, 8))
    assert tops.shape[-1] == 7


def evaluate(body, detections, truth):
    detections, truth = torch.tensor([[detections]]), torch.tensor([[truth]])
    layer = single("DetectionEvaluate", f"detection_evaluate_param {{ {body} }}", detections.shape, truth.shape)
    return [layer(detections, truth)[0, 0].tolist() for _ in range(2)]


def test_evaluation_in_pixels(tmp_path):
    """Normalized, the boxes overlap by 0.5; in the pixels of a small image, where both ends count, by more."""
    sizes = tmp_path / "sizes.txt"
    sizes.write_text("a 10 10\nb 1000 1000\n")
    detections = [[0, 1, 0.5, 0.0, 0.0, 0.5, 0.5]]
    truth = [[0, 1, 0, 0.0, 0.0, 0.5, 1.0, 0]]
    body = f'num_classes: 2 overlap_threshold: 0.53 name_size_file: "{sizes}"'
    first, second = evaluate(body, detections, truth)
    assert first == [[-1, 1, 1, -1, -1], [0, 1, 0.5, 1, 0]]
    # The next image has the next size.
    assert second == [[-1, 1, 1, -1, -1], [0, 1, 0.5, 0, 1]]
    plain, _ = evaluate("num_classes: 2 overlap_threshold: 0.53", detections, truth)
    assert plain == second


@pytest.mark.parametrize("text", ["", "a 10\n", "a ten 10\n", "a 0 10\n", None])
def test_evaluation_refuses_a_file_of_sizes(tmp_path, text):
    path = tmp_path / "sizes.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(FormatError, match="name_size_file"):
        evaluate(f'num_classes: 2 name_size_file: "{path}"', [[0, 1, 0.5, 0.0, 0.0, 0.5, 0.5]], [[-1.0] * 8])


def test_evaluation_refuses_the_background():
    with pytest.raises(CaffeCompatError, match="a detection has the background's label, 1"):
        evaluate("num_classes: 2 background_label_id: 1", [[0, 1, 0.5, 0.0, 0.0, 0.5, 0.5]], [[-1.0] * 8])
    with pytest.raises(SchemaError, match="num_classes"):
        evaluate("", [[0.0] * 7], [[-1.0] * 8])


PRIORS = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.5, 0.0, 1.0, 0.5]])
PRIOR_BLOB = torch.stack([PRIORS.flatten(), torch.tensor([0.1, 0.1, 0.2, 0.2]).repeat(3)])[None]


def multibox(body, truth, loc=None, conf=None, extra="", classes=3):
    loc = torch.zeros(2, 12) if loc is None else loc
    conf = torch.zeros(2, 3 * classes) if conf is None else conf
    truth = torch.tensor([[truth]], dtype=torch.float32)
    shapes = (loc.shape, conf.shape, PRIOR_BLOB.shape, truth.shape)
    layer = single("MultiBoxLoss", f"multibox_loss_param {{ {body} }} {extra}", *shapes, phase="TRAIN")
    return layer(loc, conf, PRIOR_BLOB, truth)


TRUTH = [[1, 2, 0, 0.5, 0.5, 1.0, 1.0, 0]]


def test_loss_by_hand():
    """One match that is exact, and of its image the two other priors as negatives; each costs log 3."""
    loss = multibox("num_classes: 3", TRUTH)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(3 * math.log(3))
    none = multibox("num_classes: 3", TRUTH, extra="loss_param { normalization: FULL }")
    assert none.item() == pytest.approx(3 * math.log(3) / 6)


def test_parts_that_are_not_propagated_are_left_out():
    loc = torch.full((2, 12), 0.5)
    both, only_loc, only_conf = (
        multibox("num_classes: 3", TRUTH, loc=loc, extra=f"propagate_down: [{a}, {b}, false, false]").item()
        for a, b in (("true", "true"), ("true", "false"), ("false", "true"))
    )
    assert only_loc == pytest.approx(4 * 0.5 * 0.25)
    assert both == pytest.approx(only_loc + only_conf)


def test_logistic_without_mining_sets_its_ones_where_caffe_does():
    """Image n's targets begin n * P further on, not n * P * C: seen in the source; no record has it."""
    conf = torch.randn(2, 9, generator=torch.Generator().manual_seed(1))
    loss = multibox("num_classes: 3 conf_loss_type: LOGISTIC mining_type: NONE", TRUTH, conf=conf)
    target = torch.zeros(18)
    target[1 * 3 + 1 * 3 + 2] = 1
    wanted = functional.binary_cross_entropy_with_logits(conf.flatten(), target, reduction="sum")
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_confidence_loss_is_bounded_and_its_gradient_is_not():
    conf = torch.zeros(2, 9)
    conf[1, 3:6] = torch.tensor([200.0, 0.0, 0.0])
    conf.requires_grad_(True)
    loss = multibox("num_classes: 3 neg_pos_ratio: 0", TRUTH, conf=conf)
    assert loss.item() == pytest.approx(-math.log(np.finfo(np.float32).tiny), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, conf)
    torch.testing.assert_close(gradient[1, 3:6], torch.tensor([1.0, 0.0, -1.0]))


@pytest.mark.parametrize("by_prior", ["true", "false"])
def test_locations_of_each_class(by_prior):
    """Only the location prediction of the truth's class is matched."""
    loc = torch.zeros(2, 3 * 3 * 4)
    body = f"num_classes: 3 share_location: false mining_type: NONE use_prior_for_matching: {by_prior}"
    clean = multibox(body, TRUTH, loc=loc)
    for class_, differs in ((0, False), (1, False), (2, True)):
        moved = loc.clone()
        moved[1, 1 * 12 + class_ * 4] = 0.25
        assert (multibox(body, TRUTH, loc=moved).item() != pytest.approx(clean.item())) is differs


def test_no_truth_at_all():
    conf = torch.randn(2, 9, requires_grad=True)
    loss = multibox("num_classes: 3", [[-1.0] * 8], conf=conf)
    assert loss.item() == 0
    assert multibox("num_classes: 3 mining_type: NONE", [[-1.0] * 8]).item() == pytest.approx(6 * math.log(3))


def test_images_beyond_the_batch_are_passed_over():
    assert multibox("num_classes: 3", [[5, 2, 0, 0.5, 0.5, 1.0, 1.0, 0]]).item() == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "num_classes"),
        ("num_classes: 3 background_label_id: 3", "background_label_id"),
        ("num_classes: 3 share_location: false", "mining needs share_location"),
        ("num_classes: 3 mining_type: HARD_EXAMPLE sample_size: 0", "sample_size"),
        ("num_classes: 3 map_object_to_agnostic: true", "map_object_to_agnostic needs num_classes: 2"),
        ("num_classes: 3 do_neg_mining: false", "contradicts"),
    ],
)
def test_multibox_loss_refuses(body, message):
    with pytest.raises(SchemaError, match=message):
        multibox(body, TRUTH)


def test_do_neg_mining_is_deprecated():
    with pytest.warns(CaffeCompatWarning, match="do_neg_mining is deprecated"):
        multibox("num_classes: 3 do_neg_mining: true", TRUTH)


@pytest.mark.parametrize("label", [0, 3, -2])
def test_multibox_loss_refuses_labels(label):
    with pytest.raises(CaffeCompatError, match=f"has label {label}"):
        multibox("num_classes: 3", [[1, label, 0, 0.5, 0.5, 1.0, 1.0, 0]])


@pytest.mark.parametrize("body", ["", "code_type: CENTER_SIZE", "conf_loss_type: LOGISTIC", "loc_loss_type: L2"])
def test_multibox_gradients(body):
    generator = torch.Generator().manual_seed(5)
    loc = torch.randn(2, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    conf = torch.randn(2, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    truth = torch.tensor([[[*TRUTH, [0, 1, 0, 0.0, 0.0, 0.6, 0.4, 0]]]], dtype=torch.float64).reshape(1, 1, 2, 8)
    layer = single(
        "MultiBoxLoss",
        f"multibox_loss_param {{ num_classes: 3 {body} }}",
        loc.shape,
        conf.shape,
        PRIOR_BLOB.shape,
        truth.shape,
        phase="TRAIN",
    )
    assert torch.autograd.gradcheck(lambda a, b: layer(a, b, PRIOR_BLOB.double(), truth), (loc, conf))
