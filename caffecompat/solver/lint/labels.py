"""Rules about labels: that the scores have a place for each, and that they come mixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from caffecompat.errors import quoted, shown
from caffecompat.graph.spec import BlobKey, LayerSpec
from caffecompat.solver.labels import LabelUse, label_uses
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.reading import Labels, Read
from caffecompat.solver.listeners import number

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

LABEL_RANGE = Rule("label-range", "error", "Each label must be a class: 0 up to below num_output of the scores.")
LABEL_GAP = Rule("label-gap", "info", "Classes that no label has are scored for nothing.")
UNMIXED = Rule("unmixed", "warning", "Records in the order of their classes, read in that order, train badly.")
RULES = (LABEL_RANGE, LABEL_GAP, UNMIXED)


def check(subject: Subject) -> Iterator[Finding]:
    """The labels that data layers read, against the layers that take them for classes."""
    for linted in subject.nets:
        if linted.net is None:
            continue
        tops = {key: (spec, read, labels) for spec, read, key, labels in _read(linted)}
        for use in label_uses(linted.graph, linted.net.blob_shapes):
            if use.labels in tops:
                yield from _range(use, *tops[use.labels])
        if linted.number is None:
            yield from _mixed(linted)


def _read(linted: LintedNet) -> Iterator[tuple[LayerSpec, Read, BlobKey, Labels]]:
    """The tops whose labels were looked at."""
    for index, read in linted.read.items():
        spec = linted.graph.layers[index]
        for top, labels in read.labels.items():
            if top < len(spec.tops) and labels.counts:
                yield spec, read, spec.tops[top], labels


def _range(use: LabelUse, spec: LayerSpec, read: Read, labels: Labels) -> Iterator[Finding]:
    values = np.array(sorted(labels.counts), np.float64)
    bad = values[use.outside(values)]
    if len(bad):
        worst = float(bad[-1] if bad[-1] >= use.classes else bad[0])
        where = f"record {quoted(labels.first[worst])} of layer {quoted(spec.name)} has label {number(worst)}"
        yield LABEL_RANGE.on(use.spec, f"{where}; classes are 0..{use.classes - 1}", _way_out(use, worst))
        return
    unused = use.classes - len({float(value) for value in values if value != use.ignore})
    if read.complete and unused > 0 and spec.phase == "TRAIN":
        text = f"{unused} of {use.classes} classes have no record in layer {quoted(spec.name)}"
        yield LABEL_GAP.on(use.spec, text)


def _way_out(use: LabelUse, label: float) -> str:
    if label < 0:
        return "a label to be left out is stated as ignore_label"
    if use.scoring is None:
        return f"give it scores for {number(label + 1)} classes or more"
    return f'num_output of layer "{shown(use.scoring.name)}" must be {number(label + 1)} or more'


def _mixed(linted: LintedNet) -> Iterator[Finding]:
    """Records that begin with many of one class."""
    assert linted.net is not None
    classes = {use.labels: use.classes for use in label_uses(linted.graph, linted.net.blob_shapes)}
    for spec, read, key, labels in _read(linted):
        if spec.type not in ("Data", "ImageData") or spec.message.image_data_param.shuffle or key not in classes:
            continue
        only = len(labels.counts) == 1
        if spec.type == "ImageData" or not only or classes[key] < 2 or read.looked < 2 * read.shapes[0][0]:
            continue
        label = next(iter(labels.counts))
        text = (
            f"the first {read.looked} records all have label {number(label)}: are they in the order of their classes?"
        )
        yield UNMIXED.on(spec, text, "shuffle them when the database is made")
