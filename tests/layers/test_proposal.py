"""Proposal, in Python and in C++, against loops from the definition; other Python layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError, UnsupportedError
from tests.layers.single import single
from tests.support import make_net

HEIGHT, WIDTH, STRIDE = 8, 9, 16
# A picture that was enlarged twice.
PICTURE = (120.0, 140.0, 2.0)


def python(param_str="'feat_stride': 16", module="rpn.proposal_layer", layer="ProposalLayer"):
    return f'python_param {{ module: "{module}" layer: "{layer}" param_str: "{param_str}" }}'


def anchors(ratios=(0.5, 1, 2), scales=(8, 16, 32)):
    rows = []
    for ratio in ratios:
        w = round(math.sqrt(256 / ratio))
        h = round(w * ratio)
        for half_w, half_h in [((w * scale - 1) / 2, (h * scale - 1) / 2) for scale in scales]:
            rows += [[7.5 - half_w, 7.5 - half_h, 7.5 + half_w, 7.5 + half_h]]
    return rows


def overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def naive(scores, deltas, picture, anchors, *, before, after, threshold=0.7, min_size=16, drop=True):
    """The regions and scores of each image, one anchor after the other."""
    rows = []
    for image in range(len(scores)):
        boxes = []
        for y in range(scores.shape[2]):
            for x in range(scores.shape[3]):
                for k, anchor in enumerate(anchors):
                    x1, y1, x2, y2 = (value + shift * STRIDE for value, shift in zip(anchor, (x, y, x, y), strict=True))
                    w, h = x2 - x1 + 1, y2 - y1 + 1
                    dx, dy, dw, dh = deltas[image, 4 * k : 4 * k + 4, y, x]
                    cx, cy = x1 + w / 2 + dx * w, y1 + h / 2 + dy * h
                    w, h = w * math.exp(dw), h * math.exp(dh)
                    box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                    limits = (picture[1], picture[0], picture[1], picture[0])
                    box = [max(min(value, limit - 1), 0) for value, limit in zip(box, limits, strict=True)]
                    least = min_size * picture[2], min_size * picture[-1]
                    small = box[3] - box[1] + 1 < least[0] or box[2] - box[0] + 1 < least[1]
                    if not (small and drop):
                        boxes.append((0.0 if small else scores[image, len(anchors) + k, y, x], box))
        boxes.sort(key=lambda item: -item[0])
        kept = []
        for score, box in boxes[:before]:
            if all(overlap(box, other) <= threshold for _, other in kept):
                kept.append((score, box))
        rows += [(image, score, *box) for score, box in kept[:after]]
    rows = np.array(rows).reshape(-1, 6)
    return rows[:, [0, 2, 3, 4, 5]], rows[:, 1]


def inputs(images=1, count=9, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=(images, 2 * count, HEIGHT, WIDTH))
    deltas = rng.normal(size=(images, 4 * count, HEIGHT, WIDTH)) * np.array([0.1, 0.1, 0.5, 0.5] * count)[:, None, None]
    return scores, deltas - np.array([0, 0, 1, 1] * count)[:, None, None]


def run(layer, scores, deltas, picture=PICTURE):
    tops = layer(torch.tensor(scores), torch.tensor(deltas), torch.tensor([picture]))
    return [top.numpy() for top in tops]


def shapes(images=1, count=9):
    return (images, 2 * count, HEIGHT, WIDTH), (images, 4 * count, HEIGHT, WIDTH), (1, 3)


def test_faster_rcnn_in_both_phases():
    scores, deltas = inputs()
    few = {}
    for phase, after in (("TEST", 300), ("TRAIN", 2000)):
        layer = single("Python", python(), *shapes(), tops=2, phase=phase)
        assert layer.shapes(*shapes()) == ((1, 5), (1, 1))
        regions, top_scores = run(layer, scores, deltas)
        wanted, wanted_scores = naive(scores, deltas, PICTURE, anchors(), before=12000, after=after)
        np.testing.assert_allclose(regions, wanted, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(top_scores, wanted_scores[:, None])
        few[phase] = len(regions)
    assert few["TEST"] <= few["TRAIN"]


def test_how_many_there_are_follows_the_phase():
    """A score map so large that all limits bind: 6000 and 300, 12000 and 2000."""
    body = python("'feat_stride': 16\\n'scales': [1, 2, 4, 8, 16]\\n'ratios': [1]")
    net = make_net(
        f'input: "s" input_shape {{ dim: 1 dim: 10 dim: 60 dim: 60 }} '
        f'input: "d" input_shape {{ dim: 1 dim: 20 dim: 60 dim: 60 }} input: "p" input_shape {{ dim: 1 dim: 3 }} '
        f'layer {{ name: "l" type: "Python" bottom: "s" bottom: "d" bottom: "p" top: "r" {body} }}'
    )
    generator = torch.Generator().manual_seed(0)
    fed = {"s": torch.rand(1, 10, 60, 60, generator=generator), "d": torch.zeros(1, 20, 60, 60)}
    fed["p"] = torch.tensor([[960.0, 960.0, 1.0]])
    assert net(**fed)["r"].shape == (300, 5)
    assert net.train()(**fed)["r"].shape == (2000, 5)


@pytest.mark.parametrize(
    ("param_str", "scales"),
    [
        ("'feat_stride': 16", (8, 16, 32)),
        ("{'feat_stride': 16, 'scales': [4, 8]}", (4, 8)),
        ("feat_stride: 16\\nscales: (4, 8,)", (4, 8)),
        ("'feat_stride': 16 \\n'scales': !!python/tuple [4, 8, 16, 32]", (4, 8, 16, 32)),
        ('\\"scales\\": [8]\\n\\"feat_stride\\": 16', (8,)),
    ],
)
def test_param_str(param_str, scales):
    count = 3 * len(scales)
    scores, deltas = inputs(count=count)
    regions, _ = run(single("Python", python(param_str), *shapes(count=count), tops=2), scores, deltas)
    wanted, _ = naive(scores, deltas, PICTURE, anchors(scales=scales), before=6000, after=300)
    np.testing.assert_allclose(regions, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("param_str", "message"),
    [
        ("", "needs a feat_stride"),
        ("'feat_stride': 0", "feat_stride above 0"),
        ("'feat_stride': 1e999", "feat_stride above 0"),
        ("'feat_stride': 16\\n'scales': []", "cannot read param_str at"),
        ("'feat_stride': 16\\n'scales': [0]", "scales above 0"),
        ("'feat_stride': 16\\n'scales': [8, 1e999]", "scales above 0"),
        ("'scales': [" + "1" * 10**6, "1000011 characters; at most 1000"),
        ("'scales': [1" + " " * 900, "cannot read param_str at"),
        ("!!python/object/apply:os.system ['true']", "cannot read param_str at"),
        ("'feat_stride': 16\\n'classes': 3", "cannot read param_str at"),
    ],
)
def test_param_str_refused(param_str, message):
    with pytest.raises(SchemaError, match=message):
        single("Python", python(param_str), *shapes())


def test_other_python_layers_are_not_run():
    for module, layer in (("roi_data_layer.layer", "RoIDataLayer"), ("rpn.proposal_layer", "Other"), ("os", "system")):
        with pytest.raises(UnsupportedError, match=f"Python layers are not run: module '{module}', layer '{layer}'"):
            single("Python", python(module=module, layer=layer), *shapes())


@pytest.mark.parametrize("picture", [PICTURE, (120.0, 140.0, 3.0, 1.0)])
def test_proposal_with_ratio_and_scale(picture):
    """PVANet's and OpenVINO's: batches, and boxes that are too small stay with score 0."""
    body = (
        "proposal_param { ratio: 0.5 ratio: 2 scale: 2 scale: 4 scale: 1 base_size: 16 feat_stride: 16 min_size: 20 "
        "pre_nms_topn: 150 post_nms_topn: 60 nms_thresh: 0.6 }"
    )
    scores, deltas = inputs(2, 6, seed=1)
    bottoms = shapes(2, 6)
    layer = single("Proposal", body, *bottoms, tops=2)
    assert layer.shapes(*bottoms) == ((120, 5), (120,))
    regions, top_scores = run(layer, scores, deltas, picture)
    options = {"before": 150, "after": 60, "threshold": 0.6, "min_size": 20, "drop": False}
    wanted, wanted_scores = naive(scores, deltas, picture, anchors((0.5, 2), (2, 4, 1)), **options)
    np.testing.assert_allclose(regions, wanted, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(top_scores, wanted_scores)
    assert (top_scores > 0).any()


def test_boxes_that_are_too_small_have_score_0_or_are_left_out():
    scores, deltas = inputs(seed=2)
    fields = "pre_nms_topn: 10000 post_nms_topn: 1000 min_size: 60"
    three = " ".join(f"ratio: {ratio}" for ratio in (0.5, 1, 2)) + " scale: 8 scale: 16 scale: 32"
    with_zero = run(single("Proposal", f"proposal_param {{ {fields} {three} }}", *shapes(), tops=2), scores, deltas)
    without = run(single("Proposal", f"proposal_param {{ {fields} }}", *shapes(), tops=2), scores, deltas)
    large = with_zero[1] > 0
    assert 0 < large.sum() < len(large)
    np.testing.assert_array_equal(with_zero[0][large], without[0])
    np.testing.assert_array_equal(with_zero[1][large], without[1][:, 0])


def test_proposal_of_synopsys():
    body = "proposal_param { anchor_scale: 3 anchor_ratio: 1 max_rois: 20 rpn_min_size: 8 rpn_nms_thresh: 0.5 }"
    scores, deltas = inputs(count=3, seed=3)
    regions, top_scores = run(single("Proposal", body, *shapes(count=3), tops=2), scores, deltas)
    options = {"before": 6000, "after": 20, "threshold": 0.5, "min_size": 8}
    wanted, wanted_scores = naive(scores, deltas, PICTURE, anchors((1,)), **options)
    np.testing.assert_allclose(regions, wanted, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(top_scores[:, 0], wanted_scores)


def test_no_proposal_is_large_enough():
    scores, deltas = inputs()
    regions, top_scores = run(single("Python", python(), *shapes(), tops=2), scores, deltas, (120.0, 140.0, 100.0))
    assert regions.shape == (0, 5)
    assert top_scores.shape == (0, 1)


@pytest.mark.parametrize(
    ("type_", "body", "bottoms", "kind", "message"),
    [
        ("Proposal", "", [(1, 16, 2, 2), (1, 36, 2, 2), (1, 3)], ShapeError, r"scores \(N, 18, H, W\) for 9 anchors"),
        ("Proposal", "", [(1, 18, 2, 2), (1, 36, 2, 3), (1, 3)], ShapeError, r"corrections \(N, 36, H, W\)"),
        ("Proposal", "", [(1, 18, 2, 2), (1, 36, 2, 2), (1, 2)], ShapeError, "height, width and scale"),
        ("Proposal", "proposal_param { ratio: 1 }", shapes(), SchemaError, "one of ratio and scale"),
        ("Proposal", "proposal_param { ratio: 0 scale: 1 }", shapes(), SchemaError, "ratios and scales above 0"),
        ("Proposal", "proposal_param { feat_stride: 0 }", shapes(), SchemaError, "feat_stride above 0"),
        ("Proposal", "proposal_param { max_rois: 5 min_size: 3 }", shapes(), SchemaError, "fields of two forks"),
        ("Python", python(), shapes(2), ShapeError, "one image at a time"),
        ("Python", python(), shapes()[:2], SchemaError, "has 3 bottoms and 1 or 2 tops, got 2 and 1"),
    ],
)
def test_refuses(type_, body, bottoms, kind, message):
    with pytest.raises(kind, match=message):
        single(type_, body, *bottoms)


def test_regions_feed_a_pooling_layer():
    body = python()
    net = make_net(
        'input: "s" input_shape { dim: 1 dim: 18 dim: 8 dim: 9 } '
        'input: "d" input_shape { dim: 1 dim: 36 dim: 8 dim: 9 } '
        'input: "p" input_shape { dim: 1 dim: 3 } input: "f" input_shape { dim: 1 dim: 4 dim: 8 dim: 9 } '
        f'layer {{ name: "l" type: "Python" bottom: "s" bottom: "d" bottom: "p" top: "r" {body} }} '
        'layer { name: "pool" type: "ROIPooling" bottom: "f" bottom: "r" top: "y" '
        "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 } } "
        'layer { name: "ip" type: "InnerProduct" bottom: "y" top: "z" inner_product_param { num_output: 2 } }'
    )
    scores, deltas = inputs()
    net.keep = "all"
    fed = {"s": torch.tensor(scores).float(), "d": torch.tensor(deltas).float(), "p": torch.tensor([PICTURE])}
    top = net(**fed, f=torch.randn(1, 4, 8, 9))["z"]
    assert top.shape == (len(net.blobs["r"]), 2)
    assert len(top) > 1
