"""Rules about an SSD's priors, and about the layers that predict for them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.prior_box import PriorBox
from caffecompat.solver.labels import SCORING
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.heads import Taker, takers
from caffecompat.solver.listeners import number
from caffecompat.solver.multibox import Leaf

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

PRIOR_HEADS = Rule("prior-heads", "error", "Each prior has its own predictions: as many values, in the same order.")
PRIOR_PIXELS = Rule("prior-pixels", "error", "Sizes and steps of priors are pixels of the input, cut to whole ones.")
PRIOR_SIZES = Rule(
    "prior-sizes", "warning", "Coarser feature maps have larger priors, and none is larger than the input."
)
PRIOR_STEP = Rule(
    "prior-step", "warning", "step is the input's size by the feature map's, or priors leave the picture."
)
PRIOR_VARIANCE = Rule("prior-variance", "warning", "All priors of a net are coded with the same variances.")
PRIOR_DIFFER = Rule("prior-differ", "error", "A net is tested with the priors that it was trained with.")
RULES = (PRIOR_HEADS, PRIOR_PIXELS, PRIOR_SIZES, PRIOR_STEP, PRIOR_VARIANCE, PRIOR_DIFFER)

# To the order of values that Flatten leaves: row, column, prior and value.
ORDER = [0, 2, 3, 1]
# How much of the picture the steps of a feature map cover, at least and at most.
COVERED = (0.7, 1.3)
# How much larger than the input a min_size may be.
LARGEST = 1.25


def check(subject: Subject) -> Iterator[Finding]:
    """The priors of each net, and those of train and test nets against each other."""
    for linted in subject.nets:
        for taker in takers(linted.graph):
            yield from _counts(taker)
            yield from _orders(taker, linted)
            yield from _sizes(taker, linted)
            yield from _variances(taker)
            for spec in taker.priors:
                yield from _step(spec, linted)
    if subject.train is not None:
        for linted in subject.tests:
            yield from _differ(subject.train, linted)


# --- heads


def _counts(taker: Taker) -> Iterator[Finding]:
    """How many values are predicted for each prior."""
    kinds = {"location": taker.location, "confidence": taker.confidence}
    known = all(leaf.spec.type in SCORING for leaf in (*taker.location, *taker.confidence))
    if not taker.priors or not known:
        return
    for what, parts in kinds.items():
        if len(parts) != len(taker.priors):
            text = f"{len(taker.priors)} PriorBox layers, and {what} predictions from {len(parts)} layers"
            yield PRIOR_HEADS.on(taker.spec, text)
    for location, confidence, prior in taker.heads:
        count = _priors_at_a_place(prior)
        for leaf, values, why in (
            (location, 4 * taker.loc_classes, "4" if taker.loc_classes == 1 else f"4 x {taker.classes} classes"),
            (confidence, taker.classes, f"{taker.classes} classes"),
        ):
            stated = _outputs(leaf)
            if count is not None and stated != count * values:
                text = (
                    f"num_output is {stated}, and layer {quoted(prior.name)} has {count} priors at each place: "
                    f"{count} x {why} = {count * values}"
                )
                yield PRIOR_HEADS.on(leaf.spec, text, f"num_output: {count * values}")


def _priors_at_a_place(spec: LayerSpec) -> int | None:
    try:
        return len(PriorBox(spec, ()).box_sizes)
    except CaffeCompatError:
        return None


def _outputs(leaf: Leaf) -> int:
    outputs: int = getattr(leaf.spec.message, SCORING[leaf.spec.type]).num_output
    return outputs


def _orders(taker: Taker, linted: LintedNet) -> Iterator[Finding]:
    """Whether predictions stand where their priors do."""
    features = [prior.bottoms[0] for _, _, prior in taker.heads]
    for place, heads in enumerate(taker.heads):
        for leaf in heads[:2]:
            feature = leaf.spec.bottoms[0]
            if feature != features[place] and feature in features:
                text = (
                    f"it predicts from {quoted(feature.name)}, and the priors that stand in its place are those of "
                    f"{quoted(features[place].name)}"
                )
                yield PRIOR_HEADS.on(leaf.spec, text, "join locations, confidences and priors in one order")
            yield from _permuted(leaf, linted)


def _permuted(leaf: Leaf, linted: LintedNet) -> Iterator[Finding]:
    permutes = [spec for spec in leaf.passed if spec.type == "Permute"]
    for spec in permutes[:1]:
        order = list(spec.message.permute_param.order)
        order += [axis for axis in range(4) if axis not in order]
        if order != ORDER:
            text = f"order {_listed(order)}: values of a prior do not stand together; 0, 2, 3, 1 puts them so"
            yield PRIOR_HEADS.on(spec, text)
    if not permutes and linted.net is not None:
        shape = linted.net.blob_shapes[leaf.spec.tops[0]]
        if len(shape) == 4 and shape[2] * shape[3] > 1:
            hint = "a Permute of order 0, 2, 3, 1 stands between a convolution and its Flatten"
            yield PRIOR_HEADS.on(leaf.spec, "no Permute follows: values of a prior do not stand together", hint)


# --- sizes


def _sizes(taker: Taker, linted: LintedNet) -> Iterator[Finding]:
    """Sizes that are no pixels, that do not ascend, or that are larger than the input."""
    sizes = []
    for spec in taker.priors:
        param = spec.message.prior_box_param
        yield from _no_pixels(spec)
        if param.min_size:
            sizes.append((spec, min(param.min_size)))
        side = _input_side(spec, linted)
        if side and max(param.min_size, default=0) > LARGEST * side:
            text = f"min_size {number(max(param.min_size))} is more than the input's {side} pixels"
            yield PRIOR_SIZES.on(spec, text)
    up = all(one <= other for (_, one), (_, other) in pairwise(sizes))
    down = all(one >= other for (_, one), (_, other) in pairwise(sizes))
    if not up and not down:
        spec = next(other for (_, one), (other, size) in pairwise(sizes) if size < one)
        listed = _listed([number(size) for _, size in sizes])
        yield PRIOR_SIZES.on(spec, f"min_size neither ascends nor descends from layer to layer: {listed}")


def _no_pixels(spec: LayerSpec) -> Iterator[Finding]:
    param = spec.message.prior_box_param
    for field in ("min_size", "max_size"):
        small = [size for size in getattr(param, field) if 0 < size < 1]
        if small:
            yield PRIOR_PIXELS.on(spec, f"{field} {number(small[0])} is cut to 0 pixels: such priors match nothing")
    if 0 < param.step < 1:
        text = f"step {number(param.step)} is less than a pixel: all priors stand in a corner"
        yield PRIOR_PIXELS.on(spec, text)


def _input_side(spec: LayerSpec, linted: LintedNet) -> int:
    """The longer side of the picture that a PriorBox layer is given; 0 if it is not known."""
    if linted.net is None or len(spec.bottoms) < 2:
        return 0
    shape = linted.net.blob_shapes[spec.bottoms[1]]
    return max(shape[2:]) if len(shape) == 4 else 0


def _step(spec: LayerSpec, linted: LintedNet) -> Iterator[Finding]:
    """Steps against the sizes of the feature map and the picture, and img_size against the picture's."""
    if linted.net is None or len(spec.bottoms) < 2:
        return
    feature, image = (linted.net.blob_shapes[key] for key in spec.bottoms[:2])
    layer = linted.net.layers[spec.index]
    if not isinstance(layer, PriorBox) or len(feature) != 4 or len(image) != 4:
        return
    if layer.image is not None and tuple(layer.image) != image[2:]:
        stated = "x".join(number(side) for side in layer.image)
        yield PRIOR_STEP.on(
            spec, f"img_size says {stated}, and {quoted(spec.bottoms[1].name)} is {image[2]}x{image[3]}"
        )
    for axis, what in enumerate(("rows", "columns")):
        side, count = image[2 + axis], feature[2 + axis]
        step = layer.step[axis] if layer.step is not None else 0.0
        if step >= 1 and not COVERED[0] <= step * count / side <= COVERED[1]:
            text = f"step {number(step)} x {count} {what} of {quoted(spec.bottoms[0].name)} = {number(step * count)}"
            hint = f"step: {number(side / count)} spreads them over it"
            yield PRIOR_STEP.on(spec, f"{text}, and the input has {side} pixels there", hint)
            return


# --- variances, train and test


def _variances(taker: Taker) -> Iterator[Finding]:
    found = [(spec, _variance(spec)) for spec in taker.priors]
    for spec, variance in found:
        if variance != found[0][1]:
            text = f"variance is {_listed(variance)}, and {_listed(found[0][1])} in layer {quoted(found[0][0].name)}"
            yield PRIOR_VARIANCE.on(spec, text)


def _variance(spec: LayerSpec) -> list[str]:
    """The four of a PriorBox layer: one, or none, stands for all."""
    given = [number(value) for value in spec.message.prior_box_param.variance] or ["0.1"]
    return given * 4 if len(given) == 1 else given


def _differ(train: LintedNet, test: LintedNet) -> Iterator[Finding]:
    """The priors of a test net against those of the train net, in their order."""
    trained, tested = _all_priors(train), _all_priors(test)
    if not trained or not tested:
        return
    if len(trained) != len(tested):
        yield PRIOR_DIFFER.on(tested[0], f"{len(tested)} PriorBox layers, and {len(trained)} in TRAIN")
        return
    for one, other in zip(trained, tested, strict=True):
        first, second = one.message.prior_box_param, other.message.prior_box_param
        for field in first.DESCRIPTOR.fields:
            values = [_told(getattr(param, field.name)) for param in (first, second)]
            if values[0] != values[1]:
                yield PRIOR_DIFFER.on(other, f"{field.name} is {values[1]}, and {values[0]} in TRAIN")


def _all_priors(linted: LintedNet) -> list[LayerSpec]:
    """The PriorBox layers whose priors are used, in their order, each once."""
    return list({spec.index: spec for taker in takers(linted.graph) for spec in taker.priors}.values())


def _told(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return number(value)
    return _listed([number(item) for item in value]) or "not stated"  # type: ignore[attr-defined]


def _listed(values: list[str] | list[int]) -> str:
    return ", ".join(map(str, values))
