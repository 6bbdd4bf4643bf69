"""Batch samplers: the parts of a picture that SSD trains on.

Source of the rules: sampler.cpp of the SSD branch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from caffecompat.data.annotations import areas, intersections
from caffecompat.data.source import Floats
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

MAX_TRIALS = 100_000
# So many trials are made at once.
MAX_TOGETHER = 4096

Measure = Callable[[Floats, Floats], Floats]


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


class Samplers:
    """The batch samplers of a layer.

    All trials of all samplers are made at once, unless they are very many: a call of NumPy costs more than a trial.

    Args:
        samplers: the samplers; those that do not `use_original_image` find nothing.
    """

    def __init__(self, samplers: Iterable[caffe_pb2.BatchSampler]) -> None:
        used = [sampler for sampler in samplers if sampler.use_original_image and sampler.max_trials]
        together = sum(sampler.max_trials for sampler in used) <= MAX_TOGETHER
        self._groups = [_Group(group) for group in ([used] if together else [[each] for each in used]) if group]

    def __call__(self, boxes: Floats, random: np.random.Generator) -> Floats | None:
        """One of the frames (4,) that the samplers find, each as likely; None if they find none.

        Args:
            boxes: (N, 4) the boxes of the picture.
            random: where the numbers come from.
        """
        found = [group(boxes, random) for group in self._groups]
        frames = found[0] if len(found) == 1 else np.concatenate([np.empty((0, 4), np.float32), *found])
        if not len(frames):
            return None
        chosen: Floats = frames[random.integers(len(frames))]
        return chosen


class _Group:
    """Samplers whose trials are made at once."""

    def __init__(self, samplers: Sequence[caffe_pb2.BatchSampler]) -> None:
        counts = [sampler.max_trials for sampler in samplers]
        self._ranges = np.repeat([_ranges(sampler.sampler) for sampler in samplers], counts, 0).T.copy()
        self._ends = list(accumulate(counts))
        self._most = [sampler.max_sample if sampler.HasField("max_sample") else None for sampler in samplers]
        bounds = [_bounds(sampler.sample_constraint) for sampler in samplers]
        self._measures = {measure for measure, _, _ in bounds if measure is not None}
        # Of each trial: which measure counts, and between which bounds.
        self._which = {
            measure: np.repeat([one == measure for one, _, _ in bounds], counts) for measure in self._measures
        }
        self._low = np.repeat(np.array([low for _, low, _ in bounds], np.float32), counts)
        self._high = np.repeat(np.array([high for _, _, high in bounds], np.float32), counts)
        self._free = np.repeat([measure is None for measure, _, _ in bounds], counts)

    def __call__(self, boxes: Floats, random: np.random.Generator) -> Floats:
        """The frames of all: of the `max_trials` of each, the first `max_sample` that meet its constraint."""
        frames = _place(self._ranges, random)
        kept = self._free.copy()
        for measure in self._measures:
            values = measure(frames[None], boxes[:, None])
            within = (values >= self._low) & (values <= self._high)
            kept |= self._which[measure] & np.logical_or.reduce(within, 0)
        places: list[int] = kept.nonzero()[0].tolist()
        chosen: list[int] = []
        start = 0
        for last, most in zip(self._ends, self._most, strict=True):
            end = bisect_left(places, last)
            chosen += places[start : end if most is None else min(end, start + most)]
            start = end
        return np.asarray(frames[chosen], np.float32)


def draw_frames(sampler: caffe_pb2.Sampler, count: int, random: np.random.Generator) -> Floats:
    """Frames (count, 4) of a random scale, aspect ratio and place within the picture: SampleBBox.

    The aspect ratio is brought between scale**2 and 1 / scale**2, so that no side is longer than the picture's.
    """
    return _place(np.repeat(_ranges(sampler)[:, None], count, 1), random)


def _ranges(sampler: caffe_pb2.Sampler) -> Floats:
    """The least scale, the width of its range, the least aspect ratio, the width of its range."""
    scales = (sampler.min_scale, sampler.max_scale - sampler.min_scale)
    return np.array([*scales, sampler.min_aspect_ratio, sampler.max_aspect_ratio - sampler.min_aspect_ratio], "f4")


def _place(ranges: Floats, random: np.random.Generator) -> Floats:
    """A frame (T, 4) for each column of ranges (4, T)."""
    count = ranges.shape[1]
    drawn = random.random((4, count), np.float32)
    scale = ranges[0] + drawn[0] * ranges[1]
    square = scale * scale
    root = np.sqrt(np.minimum(np.maximum(ranges[2] + drawn[1] * ranges[3], square), 1 / square))
    # Corner by corner: NumPy is quick along many values.
    sides: Floats = np.empty((2, count), np.float32)
    corners: Floats = np.empty((4, count), np.float32)
    np.multiply(scale, root, out=sides[0])
    np.divide(scale, root, out=sides[1])
    np.multiply(drawn[2:], 1 - sides, out=corners[:2])
    np.add(corners[:2], sides, out=corners[2:])
    frames: Floats = corners.T
    return frames


def satisfied(frames: Floats, boxes: Floats, constraint: caffe_pb2.SampleConstraint) -> npt.NDArray[np.bool_]:
    """Which frames (N, 4) meet a constraint with any of the boxes: SatisfySampleConstraint."""
    measure, low, high = _bounds(constraint)
    if measure is None:
        return np.ones(len(frames), bool)
    values = measure(frames[:, None], boxes[None])
    return np.asarray(((values >= np.float32(low)) & (values <= np.float32(high))).any(1))


def _bounds(constraint: caffe_pb2.SampleConstraint) -> tuple[Measure | None, float, float]:
    """What of a frame and a box counts, and its bounds.

    The original looks at three kinds of bounds, one after the other. A box that keeps the first kind that is stated
    satisfies it, whatever the others say: so the others never count.
    """
    for name, measure in (("jaccard_overlap", _jaccard), ("sample_coverage", _sample), ("object_coverage", _object)):
        least, most = f"min_{name}", f"max_{name}"
        if constraint.HasField(least) or constraint.HasField(most):
            low = getattr(constraint, least) if constraint.HasField(least) else -np.inf
            high = getattr(constraint, most) if constraint.HasField(most) else np.inf
            return measure, low, high
    return None, -np.inf, np.inf


def _jaccard(frames: Floats, boxes: Floats) -> Floats:
    common = intersections(frames, boxes)
    return _ratio(common, areas(frames) + areas(boxes) - common)


def _sample(frames: Floats, boxes: Floats) -> Floats:
    return _ratio(intersections(frames, boxes), areas(frames))


def _object(frames: Floats, boxes: Floats) -> Floats:
    return _ratio(intersections(frames, boxes), areas(boxes))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(part.shape, np.float32), where=part > 0)
