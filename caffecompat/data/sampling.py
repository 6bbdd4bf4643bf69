"""Batch samplers: the parts of a picture that SSD trains on.

Source of the rules: sampler.cpp of the SSD branch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from caffecompat.data.annotations import areas, intersections
from caffecompat.data.source import Floats
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

MAX_TRIALS = 100_000


def check_samplers(spec: LayerSpec) -> None:
    """Whether the batch samplers of a layer can be used.

    Raises:
        GraphError: a range is empty, or out of bounds.
    """
    for index, batch_sampler in enumerate(spec.message.annotated_data_param.batch_sampler):
        sampler = batch_sampler.sampler
        scale, aspect = (sampler.min_scale, sampler.max_scale), (sampler.min_aspect_ratio, sampler.max_aspect_ratio)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise spec.error(f"batch_sampler {index}: expected 0 < min_scale <= max_scale <= 1, got {scale}")
        if not 0 < aspect[0] <= aspect[1] < np.inf:
            raise spec.error(f"batch_sampler {index}: expected 0 < min_aspect_ratio <= max_aspect_ratio, got {aspect}")
        if batch_sampler.max_trials > MAX_TRIALS:
            raise spec.error(
                f"batch_sampler {index}: expected max_trials up to {MAX_TRIALS}, got {batch_sampler.max_trials}"
            )


def sample_frame(
    samplers: Iterable[caffe_pb2.BatchSampler], boxes: Floats, random: np.random.Generator
) -> Floats | None:
    """One of the frames that the samplers find, each as likely; None if they find none.

    Args:
        samplers: the batch samplers of a layer.
        boxes: (N, 4) the boxes of the picture.
        random: where the numbers come from.
    """
    found = [
        frames for sampler in samplers if sampler.use_original_image for frames in [_found(sampler, boxes, random)]
    ]
    frames = np.concatenate(found) if found else np.empty((0, 4), np.float32)
    if not len(frames):
        return None
    chosen: Floats = frames[random.integers(len(frames))]
    return chosen


def _found(sampler: caffe_pb2.BatchSampler, boxes: Floats, random: np.random.Generator) -> Floats:
    """The frames of one sampler: of `max_trials`, the first `max_sample` that meet its constraint."""
    frames = draw_frames(sampler.sampler, sampler.max_trials, random)
    frames = frames[satisfied(frames, boxes, sampler.sample_constraint)]
    return frames[: sampler.max_sample] if sampler.HasField("max_sample") else frames


def draw_frames(sampler: caffe_pb2.Sampler, count: int, random: np.random.Generator) -> Floats:
    """Frames (count, 4) of a random scale, aspect ratio and place within the picture: SampleBBox.

    The aspect ratio is brought between scale**2 and 1 / scale**2, so that no side is longer than the picture's.
    """
    drawn = random.random((count, 4), np.float32)
    scale = sampler.min_scale + drawn[:, 0] * np.float32(sampler.max_scale - sampler.min_scale)
    aspect = sampler.min_aspect_ratio + drawn[:, 1] * np.float32(sampler.max_aspect_ratio - sampler.min_aspect_ratio)
    root = np.sqrt(np.clip(aspect, scale**2, 1 / scale**2))
    sides = np.stack([scale * root, scale / root], 1)
    low = drawn[:, 2:] * (1 - sides)
    return np.concatenate([low, low + sides], 1).astype(np.float32)


def satisfied(frames: Floats, boxes: Floats, constraint: caffe_pb2.SampleConstraint) -> npt.NDArray[np.bool_]:
    """Which frames (N, 4) meet a constraint with any of the boxes: SatisfySampleConstraint.

    The original looks at three kinds of bounds, one after the other. A box that keeps the first kind that is stated
    satisfies it, whatever the others say: so the others never count.
    """
    kinds = (
        ("jaccard_overlap", _jaccard),
        ("sample_coverage", lambda frames, boxes: _ratio(intersections(frames, boxes), areas(frames))),
        ("object_coverage", lambda frames, boxes: _ratio(intersections(frames, boxes), areas(boxes))),
    )
    for name, measure in kinds:
        least, most = f"min_{name}", f"max_{name}"
        if not constraint.HasField(least) and not constraint.HasField(most):
            continue
        values = measure(frames[:, None], boxes[None])
        kept = np.ones(values.shape, bool)
        if constraint.HasField(least):
            kept &= values >= np.float32(getattr(constraint, least))
        if constraint.HasField(most):
            kept &= values <= np.float32(getattr(constraint, most))
        return np.asarray(kept.any(1))
    return np.ones(len(frames), bool)


def _jaccard(frames: Floats, boxes: Floats) -> Floats:
    common = intersections(frames, boxes)
    return _ratio(common, areas(frames) + areas(boxes) - common)


def _ratio(part: Floats, whole: Floats) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape, np.float32), where=part > 0)
