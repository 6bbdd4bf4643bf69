"""SSD's own layers on a GPU at SSD300's size give what they give on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.detection.nms import nms
from tests.support import make_net

PRIORS, CLASSES, IMAGES, BOXES = 8732, 21, 8, 5
VALUES = 4 * PRIORS
LOSS = f"""
layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "priors" top: "truth"
  input_param {{ shape {{ dim: {IMAGES} dim: {VALUES} }} shape {{ dim: {IMAGES} dim: {PRIORS * CLASSES} }}
    shape {{ dim: 1 dim: 2 dim: {VALUES} }} shape {{ dim: 1 dim: 1 dim: {IMAGES * BOXES} dim: 8 }} }} }}
layer {{ name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "priors" bottom: "truth" top: "loss"
  loss_param {{ normalization: VALID }}
  multibox_loss_param {{ loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX num_classes: {CLASSES}
    match_type: PER_PREDICTION overlap_threshold: 0.5 use_difficult_gt: true neg_pos_ratio: 3 neg_overlap: 0.5
    code_type: CENTER_SIZE mining_type: MAX_NEGATIVE }} }}
"""
DETECTION = f"""
layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "priors" input_param {{
  shape {{ dim: 3 dim: {VALUES} }} shape {{ dim: 3 dim: {PRIORS * CLASSES} }}
  shape {{ dim: 1 dim: 2 dim: {VALUES} }} }} }}
layer {{ name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"
  detection_output_param {{ num_classes: {CLASSES} nms_param {{ nms_threshold: 0.45 top_k: 400 }}
    code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01 }} }}
"""


def boxes(*shape, generator=None):
    """Boxes with corners between 0 and 1.3, their low ones below 1."""
    low = torch.rand(*shape, 2, generator=generator)
    return torch.cat([low, low + 0.05 + 0.25 * torch.rand(*shape, 2, generator=generator)], -1)


def priors():
    """(1, 2, 4 * PRIORS): boxes, and their variances."""
    variances = torch.tensor((0.1, 0.1, 0.2, 0.2)).repeat(PRIORS)
    return torch.stack([boxes(PRIORS).flatten(), variances])[None]


def truth():
    rows = torch.zeros(IMAGES * BOXES, 8)
    rows[:, 0] = torch.arange(IMAGES).repeat_interleave(BOXES)
    rows[:, 1] = torch.randint(1, CLASSES, (len(rows),))
    rows[:, 3:7] = boxes(len(rows))
    return rows[None, None]


@pytest.mark.parametrize(("threshold", "eta"), [(0.45, 1.0), (0.7, 0.9), (0.0, 1.0), (-1.0, 1.0)])
def test_suppression(threshold, eta):
    generator = torch.Generator().manual_seed(1)
    many = boxes(3000, generator=generator)
    groups = torch.randint(6, (3000,), generator=generator).sort().values
    found = nms(many.to("cuda"), groups.to("cuda"), 6, threshold, eta)
    assert found.device.type == "cuda"
    assert found.tolist() == nms(many, groups, 6, threshold, eta).tolist()


def test_no_boxes():
    assert nms(torch.zeros(0, 4, device="cuda"), torch.zeros(0, dtype=torch.int64, device="cuda"), 1, 0.5).shape == (0,)


def passes(net, device, inputs):
    given = {name: value.detach().to(device).requires_grad_(value.requires_grad) for name, value in inputs.items()}
    outputs = net.to(device)(**given)
    return given, outputs


def test_multibox_loss():
    net = make_net(LOSS, "TRAIN")
    torch.manual_seed(2)
    inputs = {
        "loc": torch.randn(IMAGES, VALUES).requires_grad_(),
        "conf": torch.randn(IMAGES, PRIORS * CLASSES).requires_grad_(),
        "priors": priors(),
        "truth": truth(),
    }
    found = {}
    for device in ("cuda", "cpu"):
        given, outputs = passes(net, device, inputs)
        loss = net.loss(outputs)
        loss.backward()
        found[device] = [value.detach().cpu() for value in (loss, given["loc"].grad, given["conf"].grad)]
    for ours, theirs in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
    assert found["cpu"][1].any()


@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_detection_output(spread):
    net = make_net(DETECTION)
    torch.manual_seed(3)
    scores = (spread * torch.randn(3, PRIORS, CLASSES)).softmax(2).flatten(1)
    inputs = {"loc": torch.randn(3, VALUES), "conf": scores, "priors": priors()}
    with torch.no_grad():
        ours, theirs = (passes(net, device, inputs)[1]["out"].cpu().numpy() for device in ("cuda", "cpu"))
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours[..., :2], theirs[..., :2])
    np.testing.assert_allclose(ours[..., 2:], theirs[..., 2:], atol=1e-5)
    assert len(theirs[0, 0]) > 100
