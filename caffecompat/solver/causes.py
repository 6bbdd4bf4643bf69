"""What usually makes a loss that is not finite, as far as the pass that failed shows it: the surest cause first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from caffecompat.errors import shown
from caffecompat.net.learnable import Learnable
from caffecompat.solver.box_causes import is_vgg, not_finite_causes, weights_causes
from caffecompat.solver.box_evidence import evidence
from caffecompat.solver.examine import Examination, LabelFault
from caffecompat.solver.listeners import number

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

MAX_NAMES = 3
# Values of images as they are stored go to 255; a net whose fillers expect some 1 diverges on them.
LARGE = 50.0
# Beyond this no trained net's parameters or scores are met; it is where growth shows.
GROWN = 1e4
USUAL = (
    "usual causes: a rate that is too high, labels at or beyond num_output, images without a mean or scale, "
    "weights that match no layer"
)


def causes(solver: Solver, seen: Examination) -> list[str]:
    """Sentences, the surest cause first; what usually is the cause, if nothing was seen."""
    found = [
        *_data(seen),
        *_labels(seen),
        *_boxes(seen),
        *_targets(seen),
        *_parameters(solver, seen),
        *_domain(seen),
        *_rate(solver, seen),
        *_weights(solver),
        *_large_data(seen),
    ]
    return found or [USUAL]


def some(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """The first of some names, and how many more there are."""
    listed = ", ".join(shown(name) for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _data(seen: Examination) -> Iterator[str]:
    """Values that are not finite in what is read."""
    if seen.layer is not None and seen.layer.spec.row.data and seen.top is not None:
        where = f" in record {some(seen.keys)}" if seen.keys else ""
        yield f'the data: "{shown(seen.top.name)}" is not finite{where}; mend the record, or leave it out'


def _labels(seen: Examination) -> Iterator[str]:
    for fault in seen.labels:
        yield label_sentence(fault)


def label_sentence(fault: LabelFault) -> str:
    """What is wrong with a label."""
    use = fault.use
    where = f" (record {some(fault.keys)})" if fault.keys else ""
    text = f'the labels: {number(fault.label)}{where} where layer "{shown(use.spec.name)}" knows 0..{use.classes - 1}'
    if fault.label >= use.classes and use.scoring is not None:
        return f'{text}: num_output of layer "{shown(use.scoring.name)}" must be above the greatest label'
    return f"{text}: a label to be left out is stated as ignore_label" if fault.label < 0 else text


def _boxes(seen: Examination) -> Iterator[str]:
    """What is wrong with the boxes of each MultiBoxLoss."""
    for each in evidence(seen.net, seen.batches):
        yield from not_finite_causes(each)


def _targets(seen: Examination) -> Iterator[str]:
    for name, values in seen.targets.items():
        if values.least < 0 or values.greatest > 1:
            yield (
                f'the targets of layer "{shown(name)}" go from {number(values.least)} to {number(values.greatest)}: '
                "outside 0..1 the loss has no least value"
            )


def _parameters(solver: Solver, seen: Examination) -> Iterator[str]:
    """Parameters that are not finite: by an update, or from the beginning."""
    if not seen.parameters:
        return
    names = some([named(item) for item in seen.parameters])
    if solver.guard.steps:
        last = solver.guard.steps[-1]
        norm = solver.update.gradient_norm
        gradients = "" if norm is None else f" of gradients of norm {number(norm)}"
        yield (
            f"the rate: the update of iteration {last.iteration}, of rate {number(last.rate)}{gradients}, made {names} "
            f"not finite{_losses(solver)}; lower base_lr, or state clip_gradients"
        )
    else:
        yield f"the weights that the run starts from: {names} hold values that are not finite"


def _domain(seen: Examination) -> Iterator[str]:
    """Functions that are not defined, or too large, for what they were given."""
    if seen.layer is None or not seen.bottoms:
        return
    bottom, values = next(iter(seen.bottoms.items()))
    takes = f'layer "{shown(seen.layer.spec.name)}" takes it of "{shown(bottom)}", whose'
    least = f"{takes} least value is {number(values.least)}; state shift"
    if seen.layer.spec.type == "Log" and values.least <= 0:
        yield f"a logarithm: {least}"
    elif seen.layer.spec.type == "Power" and values.least <= 0:
        yield f"a power: {least}"
    elif seen.layer.spec.type == "Exp" and values.greatest > 0:
        yield f"an exponential: {takes} greatest value is {number(values.greatest)}"


def _rate(solver: Solver, seen: Examination) -> Iterator[str]:
    """Losses, parameters or blobs that grew while all parameters are finite yet."""
    steps = solver.guard.steps
    if seen.parameters or not steps:
        return
    losses = [step.loss for step in steps]
    grew = len(losses) > 1 and losses[-1] > 2 * min(losses)
    name, values = max(
        (*((f'"{name}"', values) for name, values in seen.bottoms.items()), *seen.own.items()),
        key=lambda item: item[1].size,
        default=("", None),
    )
    largest = values.size if values is not None else 0.0
    if grew or largest > GROWN:
        reach = f", and {shown(name)} holds values up to {number(largest)}" if name else ""
        yield (
            f"the rate, {number(steps[-1].rate)} in the last update{_losses(solver)}{reach}; "
            "lower base_lr, or state clip_gradients"
        )


def _losses(solver: Solver) -> str:
    """The losses of the last iterations, if there are several."""
    losses = [number(step.loss) for step in solver.guard.steps]
    return f" (the losses before: {', '.join(losses)})" if len(losses) > 1 else ""


def _weights(solver: Solver) -> Iterator[str]:
    """Weight files that gave the net nothing, or not all; of an SSD, of which new layers start from fillers, VGG's."""
    yield from weights_causes(solver)
    if not solver.assigned:
        return
    if not any(assigned.matched for assigned in solver.assigned):
        unused = [name for assigned in solver.assigned for name in assigned.unused]
        yield f"the weights: no layer of the net is in the weight file, which has {some(unused) or 'none'}"
    elif solver.net.filled and not is_vgg(solver.net):
        yield f"the weights: {some(solver.net.filled)} took none from the weight file and started from fillers"


def _large_data(seen: Examination) -> Iterator[str]:
    """Images as they are stored, without a mean or scale."""
    for (index, top), values in seen.data.items():
        spec = seen.net.layers[index].spec
        param = spec.message.transform_param
        if top != 0 or values.size < LARGE or param.mean_value or param.mean_file or param.scale != 1:
            continue
        yield (
            f'the data: "{shown(spec.tops[0].name)}" goes from {number(values.least)} to {number(values.greatest)}; '
            "transform_param states neither a mean nor a scale"
        )


def named(item: Learnable) -> str:
    """A parameter as it is told of: its layer, and which of the layer's it is."""
    return f"{item.layer.spec.name} ({item.layer.blob_names[item.index]})"
