"""Rules about what data layers do to their items: chance in TEST, means and scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from caffecompat.errors import quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema.plugins import parameters
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.listeners import number

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

RANDOM_TEST = Rule("random-test", "warning", "Chance in TEST (mirror, shuffle, distortion) makes tests differ.")
MEAN_UNITS = Rule(
    "mean-units", "warning", "The mean is subtracted before the scale multiplies: it is in pixels' units."
)
TRAIN_TEST_DIFFER = Rule("train-test-differ", "warning", "Mean and scale must be the same in TRAIN and TEST.")
LARGE_DATA = Rule("large-data", "info", "Values up to 255 without mean and scale need a lower rate than others.")
NOT_FINITE = Rule("not-finite", "error", "A nan or an infinite value in the data makes the loss one.")
RULES = (NOT_FINITE, RANDOM_TEST, MEAN_UNITS, TRAIN_TEST_DIFFER, LARGE_DATA)

CHANCE = {
    "transform_param": ("mirror", "distort_param", "expand_param", "noise_param"),
    "image_data_param": ("shuffle", "rand_skip"),
    "hdf5_data_param": ("shuffle",),
    "image_label_data_param": ("shuffle", "rand_skip", "rand_scale"),
    "bin_label_data_param": ("shuffle",),
}
LARGE = 50.0


def check(subject: Subject) -> Iterator[Finding]:
    """The data layers of each net."""
    for linted in subject.nets:
        for spec in linted.data_layers:
            yield from _units(spec)
            if spec.phase == "TEST":
                yield from _chance(spec)
        yield from _finite(linted)
        yield from _large(linted)
    if subject.solver is not None and subject.train is not None:
        for linted in subject.tests:
            yield from _differ(subject.train, linted)


def _chance(spec: LayerSpec) -> Iterator[Finding]:
    for param in spec.row.params:
        message = parameters(spec.message, param)
        for field in CHANCE.get(param, ()):
            if message.HasField(field) and getattr(message, field):
                yield RANDOM_TEST.on(spec, f"{param} states {field} in phase TEST")
    samplers = spec.message.annotated_data_param.batch_sampler
    if any(sampler.HasField("sampler") for sampler in samplers):
        yield RANDOM_TEST.on(spec, "annotated_data_param crops at random (batch_sampler) in phase TEST")


def _units(spec: LayerSpec) -> Iterator[Finding]:
    param = spec.message.transform_param
    means = list(param.mean_value)
    if 0 < param.scale <= 0.1 and means and all(0 < value <= 1 for value in means):
        text = f"mean_value {number(means[0])} with scale {number(param.scale)}: the mean is subtracted first"
        yield MEAN_UNITS.on(spec, text, f"to subtract it after the scale: mean_value: {number(means[0] / param.scale)}")


def _finite(linted: LintedNet) -> Iterator[Finding]:
    for index, read in linted.read.items():
        spec = linted.graph.layers[index]
        for key, top in zip(spec.tops, read.batch.tops, strict=False):
            bad = ~np.isfinite(top.reshape(len(top), -1)).all(1) if top.ndim else ~np.isfinite(top)
            if bad.any():
                keys = read.batch.keys if len(read.batch.keys) == len(top) else ()
                where = f", first in record {quoted(keys[int(np.argmax(bad))])}" if keys else ""
                yield NOT_FINITE.on(spec, f"{quoted(key.name)} holds values that are not finite{where}")


def _large(linted: LintedNet) -> Iterator[Finding]:
    for index, read in linted.read.items():
        spec = linted.graph.layers[index]
        param = spec.message.transform_param
        if "transform_param" not in spec.row.params or _prepared(spec):
            continue
        largest = float(np.nanmax(np.abs(read.batch.tops[0]), initial=0.0))
        if largest >= LARGE and not param.mean_value:
            yield LARGE_DATA.on(spec, f"{quoted(spec.tops[0].name)} holds values up to {number(largest)}")


def _prepared(spec: LayerSpec) -> bool:
    param = spec.message.transform_param
    return bool(param.mean_value) or param.HasField("mean_file") or param.scale != 1


def _differ(train: LintedNet, test: LintedNet) -> Iterator[Finding]:
    """The first data layers of both that transform pictures."""
    pair = [next((s for s in net.data_layers if "transform_param" in s.row.params), None) for net in (train, test)]
    first, second = pair
    if first is None or second is None or first.type != second.type:
        return
    for field in ("scale", "mean_value", "mean_file"):
        one, other = (getattr(spec.message.transform_param, field) for spec in (first, second))
        if (list(one), list(other)) != (list(other), list(one)) if field == "mean_value" else one != other:
            yield TRAIN_TEST_DIFFER.on(second, f"{field} is {_told(other)}, and {_told(one)} in TRAIN")


def _told(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return quoted(value) if value else "not stated"
    numbers = list(value)  # type: ignore[call-overload]
    return ", ".join(number(item) for item in numbers) if numbers else "not stated"
