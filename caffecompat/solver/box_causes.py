"""What is wrong with the boxes that a MultiBoxLoss was given, in sentences, the surest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from caffecompat.detection.matching import LEAST_OVERLAP
from caffecompat.errors import shown
from caffecompat.net import Net
from caffecompat.solver.box_evidence import Evidence
from caffecompat.solver.listeners import number
from caffecompat.solver.multibox import BOX, DIFFICULT, LABEL, VGG, box_losses, crossing, prior_layers
from caffecompat.solver.stored_boxes import PIXELS, TINY, StoredBoxes, largest_side, shown_box

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

MAX_LABELS = 5
MAX_NAMES = 3
ORDER = "xmin is to be below xmax, and ymin below ymax"
USUAL = "usual causes: a database without boxes, boxes that are no fractions of the picture, priors of another size"


def label_causes(seen: Evidence) -> Iterator[str]:
    """Labels that the loss cannot take, and a label map that does not fit."""
    rows, loss = seen.rows, seen.loss
    bad = loss.refused(rows[:, LABEL])
    if bad.any():
        label = float(rows[bad][0, LABEL])
        yield (
            f'the labels: {number(label)}{seen.record(rows[bad])} where layer "{shown(loss.spec.name)}" knows '
            f"{loss.known}; {_way_out(seen, label)}"
        )
    yield from _map_causes(seen)


def _way_out(seen: Evidence, label: float) -> str:
    if label == seen.loss.param.background_label_id:
        return "the background has no boxes, objects have other labels"
    if label < 0:
        return "labels are 0 and above"
    all_ = [each.labels.max(initial=0.0) for each in (seen.stored, seen.surveyed) if each is not None]
    greatest = max(label, *map(float, all_))
    return f"num_classes must be {number(greatest + 1)} or more, with as many confidences for each prior"


def _map_causes(seen: Evidence) -> Iterator[str]:
    named, param = seen.named_labels, seen.loss.param
    if not named or seen.loss.data is None or param.map_object_to_agnostic:
        return
    file = shown(seen.loss.data.message.annotated_data_param.label_map_file)
    boxes = [each for each in (seen.stored, seen.surveyed) if each is not None]
    unnamed = sorted({int(label) for each in boxes for label in each.labels} - named)
    has = f"the label map: {file} has {label_range(named)}"
    if unnamed:
        yield f"{has}, and the database boxes of label {_some(map(str, unnamed))}: it was made with another map"
    if max(named) >= param.num_classes:
        yield f"{has}, and num_classes is {param.num_classes}"


def label_range(labels: Collection[int]) -> str:
    """The labels of a map, as a sentence says them."""
    least, greatest = min(labels), max(labels)
    return f"labels {least}..{greatest}" if least < greatest else f"label {least}"


def place_causes(seen: Evidence) -> Iterator[str]:
    """Boxes that are not in the picture, or of a size that none has."""
    stored, boxes = seen.stored, seen.rows[:, BOX]
    given = (boxes > PIXELS).any(1)
    if stored is not None and stored.in_pixels.any():
        pixels = stored.in_pixels
        yield (
            f"the boxes: {int(pixels.sum())} of {len(stored)} in the batch's records are no fractions of the picture, "
            f"as {stored.example(pixels)}; pixels are to be divided by its width and height"
        )
    elif given.any():
        yield (
            f"the boxes: {shown_box(boxes[given][0])}{seen.record(seen.rows[given])} is not in fractions of the "
            "picture; pixels are to be divided by its width and height"
        )
    elif len(boxes) and (boxes[:, 2:] <= boxes[:, :2]).any(1).all():
        yield f"the boxes: of {len(boxes)} in the batch none has an area, as {shown_box(boxes[0])}; {ORDER}"
    elif 0 < largest_side(boxes) < TINY:
        yield (
            f"the boxes: of {len(boxes)} in the batch the largest has a side of {number(largest_side(boxes))} of the "
            "picture's; were fractions divided by its size once more?"
        )


def not_finite_causes(seen: Evidence) -> Iterator[str]:
    """What of the boxes may make a loss that is not finite."""
    yield from label_causes(seen)
    yield from place_causes(seen)


def zero_causes(seen: Evidence) -> Iterator[str]:
    """What of the boxes, the priors and the layer may make a loss of 0."""
    spec = seen.loss.spec
    if list(spec.message.propagate_down)[:2] == [False, False]:
        yield "propagate_down is false for locations and confidences: neither counts"
    if seen.batch is not None:
        yield from _no_matches(seen) if len(seen.rows) else _no_boxes(seen)
    yield from label_causes(seen)


def _no_boxes(seen: Evidence) -> Iterator[str]:
    """No box came to the loss: none is stored, or all were left out on the way."""
    stored = seen.stored
    if (seen.label[:, DIFFICULT] == 1).any():
        yield f"the boxes: all {len(seen.label)} of the batch are difficult ones, and use_difficult_gt is false"
    elif stored is None:
        yield "the boxes: the batch has none"
    elif not len(stored):
        yield _none_stored(seen, stored)
    elif stored.in_pixels.any():
        yield from place_causes(seen)
    elif stored.flat.all():
        yield (
            f"the boxes: of {len(stored)} in the batch's records none has an area, as {stored.example(stored.flat)}; "
            f"{ORDER}"
        )
    elif stored.lost.all():
        yield (
            f"the boxes: all {len(stored)} in the batch's records are outside of the picture, 0..1, as "
            f"{stored.example(stored.lost)}"
        )
    else:
        yield (
            f"the boxes: of {len(stored)} in the batch's records none is left after cropping; emit_constraint, "
            "batch_sampler and crop_size say which are"
        )


def _none_stored(seen: Evidence, stored: StoredBoxes) -> str:
    others = stored if seen.surveyed is None else seen.surveyed
    if not len(others):
        return (
            f"the database: none of its first {len(others.keys)} records has a box; were annotations, and their names "
            "in the label map, found when it was made?"
        )
    return (
        f"the database: the {len(stored.keys)} records of the batch have no box; of its first {len(others.keys)} have "
        f"{len(others.keys) - others.without}. Pictures without boxes should not stand together"
    )


def _no_matches(seen: Evidence) -> Iterator[str]:
    """Boxes came to the loss, and it matched none of them."""
    priors, param = seen.priors, seen.loss.param
    if priors is None or seen.overlaps is None:
        yield from place_causes(seen)
        return
    sides = priors[:, 2:] - priors[:, :2]
    usable = (sides > 0).all(1)
    inside = usable & ((priors[:, :2] < 1) & (priors[:, 2:] > 0)).all(1)
    names = _some(shown(spec.name) for spec in prior_layers(seen.net.graph, seen.loss.spec.bottoms[2]))
    if not usable.any():
        yield f"the priors: those of {names} have no area; min_size is in pixels of the input, and cut to whole ones"
    elif not inside.any():
        yield f"the priors: those of {names} are all outside of the picture; step and img_size are in pixels"
    elif param.ignore_cross_boundary_bbox and crossing(priors[inside]).all():
        yield f"the priors: those of {names} all reach outside of the picture, and ignore_cross_boundary_bbox is true"
    elif (seen.overlaps <= LEAST_OVERLAP).all():
        found = list(place_causes(seen))
        yield from found
        if not found:
            yield (
                f"no match: none of {_boxes(len(seen.rows))} in the batch, the first {shown_box(seen.rows[0, BOX])}, "
                f"overlaps a prior; those of {names} have sides of {number(float(sides[usable].min()))} to "
                f"{number(float(sides.max()))} of the picture's"
            )
    elif not param.use_prior_for_matching:
        yield "no match: boxes are matched with predicted ones, as use_prior_for_matching is false, not with priors"


def weights_causes(solver: Solver) -> Iterator[str]:
    """Layers of the VGG that SSD starts from, left to their fillers."""
    left = [name for name in solver.net.filled if name in VGG]
    if left and is_vgg(solver.net):
        given = "the weight file has none for them" if solver.assigned else "no weights were given"
        yield (
            f"the weights: {_some(map(shown, left))} of VGG started from fillers, as {given}; SSD starts from those of "
            "a reduced VGG-16"
        )


def is_vgg(net: Net) -> bool:
    """Whether a net is an SSD that has VGG's layers; its others are new, and start from fillers."""
    own = VGG & {layer.spec.name for layer in net.layers}
    return len(own) > len(VGG) / 2 and bool(box_losses(net.graph))


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"


def _some(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    all_ = list(dict.fromkeys(names))
    listed = ", ".join(all_[:MAX_NAMES])
    return listed if len(all_) <= MAX_NAMES else f"{listed} and {len(all_) - MAX_NAMES} more"
