"""Rules about what AnnotatedData does to pictures with boxes: samplers, sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffecompat.data.distortion import check_distortion
from caffecompat.data.sampling import check_samplers
from caffecompat.errors import CaffeCompatError
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.listeners import number

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

BAD_SAMPLER = Rule("bad-sampler", "error", "Batch samplers and distortions need ranges that are not empty.")
SAMPLER = Rule("sampler", "warning", "A batch sampler that can find no part of a picture does nothing.")
NO_RESIZE = Rule("no-resize", "error", "Pictures cut at random have different sizes: a batch needs resize_param.")
INPUT_SIZE = Rule(
    "input-size", "warning", "Priors in pixels mean other boxes where the input has another size in TEST."
)
RULES = (BAD_SAMPLER, SAMPLER, NO_RESIZE, INPUT_SIZE)

KINDS = ("jaccard_overlap", "sample_coverage", "object_coverage")


def check(subject: Subject) -> Iterator[Finding]:
    """The AnnotatedData layers of each net."""
    for linted in subject.nets:
        for spec in linted.data_layers:
            if spec.type == "AnnotatedData":
                for index, sampler in enumerate(spec.message.annotated_data_param.batch_sampler):
                    yield from _sampler(spec, index, sampler)
                yield from _resize(spec)
    if subject.train is not None:
        for linted in subject.tests:
            yield from _sizes(subject.train, linted)


def bad_samplers(spec: LayerSpec) -> Iterator[Finding]:
    """What a run would refuse of a layer's samplers and distortions, wherever its database is."""
    if spec.type != "AnnotatedData":
        return
    try:
        check_samplers(spec)
        check_distortion(spec)
    except CaffeCompatError as error:
        yield BAD_SAMPLER.of(error)


def _sampler(spec: LayerSpec, index: int, sampler: caffe_pb2.BatchSampler) -> Iterator[Finding]:
    constraint = sampler.sample_constraint
    said = []
    if not sampler.use_original_image:
        said.append("use_original_image is false")
    if not sampler.max_trials:
        said.append("max_trials is 0")
    if sampler.HasField("max_sample") and not sampler.max_sample:
        said.append("max_sample is 0")
    stated = [kind for kind in KINDS if constraint.HasField(f"min_{kind}") or constraint.HasField(f"max_{kind}")]
    for kind in stated[:1]:
        low = getattr(constraint, f"min_{kind}") if constraint.HasField(f"min_{kind}") else 0.0
        high = getattr(constraint, f"max_{kind}") if constraint.HasField(f"max_{kind}") else 1.0
        if low > min(high, 1) or high < 0:
            said.append(f"{kind} from {number(low)} to {number(high)} is not possible")
    if said:
        yield SAMPLER.on(spec, f"batch_sampler {index} finds nothing: {said[0]}")
    elif len(stated) > 1:
        text = f"batch_sampler {index} states {' and '.join(stated)}: of several constraints Caffe keeps the first only"
        yield SAMPLER.on(spec, text)


def _resize(spec: LayerSpec) -> Iterator[Finding]:
    """Whether the pictures of a batch come to have one size."""
    param = spec.message.transform_param
    resizes = param.HasField("resize_param") and param.resize_param.prob >= 1
    crops = param.crop_size or param.crop_h
    if resizes or crops or spec.message.data_param.batch_size == 1:
        return
    samplers = spec.message.annotated_data_param.batch_sampler
    cut = [index for index, each in enumerate(samplers) if each.sampler.min_scale < 1 or _is_random(each.sampler)]
    what = f"batch_sampler {cut[0]} cuts" if cut else "expand_param enlarges" if param.HasField("expand_param") else ""
    if what:
        stated = "resize_param.prob is below 1" if param.HasField("resize_param") else "no resize_param is stated"
        yield NO_RESIZE.on(spec, f"{what} pictures at random, and {stated}")


def _is_random(sampler: caffe_pb2.Sampler) -> bool:
    return sampler.min_aspect_ratio != 1 or sampler.max_aspect_ratio != 1


def _sizes(train: LintedNet, test: LintedNet) -> Iterator[Finding]:
    """The sizes that pictures are resized to in TRAIN and in TEST."""
    pair = [next((spec for spec in net.data_layers if spec.type == "AnnotatedData"), None) for net in (train, test)]
    if pair[0] is None or pair[1] is None:
        return
    one, other = (_size(spec) for spec in pair if spec is not None)
    if one and other and one != other:
        yield INPUT_SIZE.on(pair[1], f"pictures are {other[0]}x{other[1]}, and {one[0]}x{one[1]} in TRAIN")


def _size(spec: LayerSpec) -> tuple[int, int] | None:
    """(height, width) of the pictures, as far as the layer states it."""
    param = spec.message.transform_param
    fits = param.resize_param.resize_mode == caffe_pb2.ResizeParameter.FIT_SMALL_SIZE
    height = param.crop_size or param.crop_h or (0 if fits else param.resize_param.height)
    width = param.crop_size or param.crop_w or (0 if fits else param.resize_param.width)
    return (height, width) if height and width else None
