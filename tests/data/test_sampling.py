"""Batch samplers: constraints against the original's loop, frames against their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.data.sampling import Samplers, draw_frames, satisfied
from caffecompat.errors import GraphError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2


def area(box):
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def common(first, second):
    return area(
        (max(first[0], second[0]), max(first[1], second[1]), min(first[2], second[2]), min(first[3], second[3]))
    )


def original(frame, boxes, constraint):
    """SatisfySampleConstraint, statement by statement."""
    has = {
        kind: constraint.HasField(f"min_{kind}") or constraint.HasField(f"max_{kind}")
        for kind in ("jaccard_overlap", "sample_coverage", "object_coverage")
    }
    if not any(has.values()):
        return True
    found = False
    for box in boxes:
        both = common(frame, box)
        values = {
            "jaccard_overlap": both / (area(frame) + area(box) - both) if both else 0,
            "sample_coverage": both / area(frame) if both else 0,
            "object_coverage": both / area(box) if both else 0,
        }
        failed = False
        for kind, stated in has.items():
            if not stated:
                continue
            low, high = f"min_{kind}", f"max_{kind}"
            if constraint.HasField(low) and values[kind] < getattr(constraint, low):
                failed = True
                break
            if constraint.HasField(high) and values[kind] > getattr(constraint, high):
                failed = True
                break
            found = True
        if failed:
            continue
        if found:
            return True
    return found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "min_jaccard_overlap: 0.1",
        "min_jaccard_overlap: 0.7",
        "max_jaccard_overlap: 0.3",
        "min_jaccard_overlap: 0.2 max_jaccard_overlap: 0.5",
        "min_sample_coverage: 0.3",
        "max_sample_coverage: 0.6",
        "min_object_coverage: 0.5",
        "max_object_coverage: 0.2",
        "min_jaccard_overlap: 0.1 min_object_coverage: 0.99",
        "min_sample_coverage: 0.2 max_object_coverage: 0.5",
    ],
)
def test_constraints_as_the_original(text):
    random = np.random.RandomState(4)
    constraint = text_format.Parse(text, caffe_pb2.SampleConstraint())
    low = random.rand(60, 2) * 0.6
    frames = np.concatenate([low, low + random.rand(60, 2) * (1 - low)], 1).astype(np.float32)
    for count in (0, 1, 3):
        low = random.rand(count, 2) * 0.6
        boxes = np.concatenate([low, low + random.rand(count, 2) * 0.4], 1).astype(np.float32)
        expected = [original(frame, boxes, constraint) for frame in frames.astype(float)]
        np.testing.assert_array_equal(satisfied(frames, boxes, constraint), expected)


def test_frames_lie_in_the_picture_and_keep_the_bounds():
    sampler = caffe_pb2.Sampler(min_scale=0.3, max_scale=1.0, min_aspect_ratio=0.5, max_aspect_ratio=2.0)
    frames = draw_frames(sampler, 4000, np.random.default_rng(0)).astype(float)
    sides = frames[:, 2:] - frames[:, :2]
    assert frames.min() >= -1e-6
    assert frames.max() <= 1 + 1e-6
    scale = np.sqrt(sides.prod(1))
    assert scale.min() == pytest.approx(0.3, abs=0.01)
    assert scale.max() <= 1 + 1e-6
    ratio = sides[:, 0] / sides[:, 1]
    assert ratio.min() == pytest.approx(0.5, abs=0.02)
    assert ratio.max() == pytest.approx(2.0, abs=0.05)
    assert ((ratio >= scale**2 - 1e-5) & (ratio <= 1 / scale**2 + 1e-5)).all()
    # uniform: a quarter of the scales lies in each quarter of their range
    counts, _ = np.histogram(scale, 4, (0.3, 1.0))
    assert counts.min() > 900


def test_the_default_sampler_takes_the_whole_picture():
    frame = draw_frames(caffe_pb2.Sampler(), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(frame, [[0, 0, 1, 1]] * 3)


def sampler_of(text):
    return text_format.Parse(text, caffe_pb2.BatchSampler())


def test_at_most_max_sample_frames_of_each_sampler_are_chosen_from():
    boxes = np.array([[0.4, 0.4, 0.6, 0.6]], np.float32)
    whole = sampler_of("max_sample: 1 max_trials: 1")
    small = sampler_of("sampler { min_scale: 0.1 max_scale: 0.2 } max_trials: 50")
    random, samplers = np.random.default_rng(1), Samplers([whole, small])
    found = [samplers(boxes, random) for _ in range(2000)]
    share = np.mean([(frame == [0, 0, 1, 1]).all() for frame in found])
    assert share == pytest.approx(1 / 51, abs=0.012)
    one = [Samplers([whole, sampler_of("sampler { max_scale: 0.2 min_scale: 0.1 } max_sample: 1")])(boxes, random)]
    assert one[0].shape == (4,)


def test_samplers_of_very_many_trials():
    many = sampler_of("sampler { min_scale: 0.1 max_scale: 0.2 } max_trials: 9000")
    whole, random = sampler_of("max_trials: 3000 max_sample: 3000"), np.random.default_rng(2)
    samplers = Samplers([many, whole])
    found = [samplers(np.empty((0, 4), np.float32), random) for _ in range(400)]
    assert np.mean([(frame == [0, 0, 1, 1]).all() for frame in found]) == pytest.approx(0.25, abs=0.08)


def test_each_sampler_keeps_its_own_constraint():
    boxes = np.array([[0, 0, 0.5, 1]], np.float32)
    texts = (
        "sampler { min_scale: 0.5 max_scale: 0.5 } sample_constraint { min_object_coverage: 0.9 } max_sample: 1",
        "sampler { min_scale: 0.3 max_scale: 0.3 } sample_constraint { max_jaccard_overlap: 0 } max_sample: 2",
        "sampler { min_scale: 0.2 max_scale: 0.2 } sample_constraint { min_sample_coverage: 1 } max_sample: 1",
    )
    samplers = Samplers([sampler_of(f"{text} max_trials: 200") for text in texts])
    random = np.random.default_rng(3)
    sides = {0.3: 0, 0.2: 0}
    for _ in range(300):
        frame = samplers(boxes, random)
        side = round(float(frame[2] - frame[0]), 4)
        sides[side] += 1
        assert frame[0] >= 0.5 if side == 0.3 else frame[2] <= 0.5 + 1e-6
    assert sides[0.3] / 300 == pytest.approx(2 / 3, abs=0.1)


def test_none_is_found():
    impossible = sampler_of("sampler { min_scale: 0.1 max_scale: 0.2 } sample_constraint { min_jaccard_overlap: 0.9 }")
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    assert Samplers([impossible])(boxes, np.random.default_rng(0)) is None
    assert Samplers([sampler_of("use_original_image: false")])(boxes, np.random.default_rng(0)) is None
    assert Samplers([])(boxes, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampler { min_scale: 0 }", r"0 < min_scale <= max_scale <= 1, got \(0.0, 1.0\)"),
        ("sampler { max_scale: 2 }", "max_scale <= 1"),
        ("sampler { min_aspect_ratio: 2 }", "min_aspect_ratio <= max_aspect_ratio"),
        ("max_trials: 4000000000", "expected max_trials up to"),
    ],
)
def test_samplers_that_make_no_sense(text, message):
    from caffecompat.data.sampling import check_samplers

    net = f"""layer {{ name: "d" type: "AnnotatedData" top: "data" top: "label"
              annotated_data_param {{ batch_sampler {{ {text} }} }} }}"""
    spec = build_graph(parse_net(net), "TRAIN").layers[0]
    with pytest.raises(GraphError, match=message):
        check_samplers(spec)
