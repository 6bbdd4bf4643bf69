"""Rules about the files that prototxts name: that they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, FormatError, quoted
from caffecompat.formats import paths
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema.plugins import parameters
from caffecompat.solver.building import names_in
from caffecompat.solver.lint.asked import Asked
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.snapshots import Snapshots

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import Subject

MISSING_NET = Rule("missing-net", "error", "A solver's net, train_net or test_net must be there.")
MISSING_SOURCE = Rule("missing-source", "error", "The database or list that a data layer reads must be there.")
MISSING_MEAN = Rule("missing-mean", "error", "A mean_file must be there.")
MISSING_WEIGHTS = Rule("missing-weights", "error", "Weights that a run starts from must be there.")
MISSING_FILE = Rule("missing-file", "error", "Whatever else layers read, such as name_size_files, must be there.")
SNAPSHOT_PREFIX = Rule(
    "snapshot-prefix", "error", "Snapshots must have a name, and a folder that is there and can be written to."
)
RULES = (MISSING_NET, MISSING_SOURCE, MISSING_MEAN, MISSING_WEIGHTS, MISSING_FILE, SNAPSHOT_PREFIX)

NET_FIELDS = ("net", "train_net", "test_net")
# By the field of a layer's parameters: what it names, and the rule.
NAMED = {
    "transform_param": {"mean_file": MISSING_MEAN},
    "data_param": {"source": MISSING_SOURCE},
    "image_data_param": {"source": MISSING_SOURCE},
    "hdf5_data_param": {"source": MISSING_SOURCE},
    "window_data_param": {"source": MISSING_SOURCE},
    "video_data_param": {"video_file": MISSING_SOURCE},
    "image_label_data_param": {"image_list_path": MISSING_SOURCE, "label_list_path": MISSING_SOURCE},
    "bin_label_data_param": {"bin_list_path": MISSING_SOURCE, "label_list_path": MISSING_SOURCE},
    "detection_evaluate_param": {"name_size_file": MISSING_FILE},
    "infogain_loss_param": {"source": MISSING_FILE},
    "sentence_data_param": {"source": MISSING_SOURCE, "vocabulary_source": MISSING_SOURCE},
}


def check(subject: Subject) -> Iterator[Finding]:
    """Where the snapshots of a solver go to, and what scales gradients. The rest is found while the nets are built."""
    if subject.solver is not None:
        yield from _snapshots(subject.solver, subject.asked)
        yield from _scales(subject.solver, subject.asked)


def missing_nets(solver: ParsedSolver, asked: Asked) -> Iterator[Finding]:
    """The nets that a solver names and that are not there."""
    for field in NET_FIELDS:
        value = getattr(solver.message, field)
        names = ([value] if solver.message.HasField(field) else []) if isinstance(value, str) else value
        for index, name in enumerate(names):
            error = _missing(name, field, asked, solver.file)
            if error is not None:
                yield MISSING_NET.at(solver.position(field, index), error.message, hint=error.hint)


def missing_in(spec: LayerSpec, asked: Asked) -> Iterator[Finding]:
    """The files that a layer names and that are not there."""
    for param in spec.row.params:
        for field, rule in NAMED.get(param, {}).items():
            message = parameters(spec.message, param)
            if message.HasField(field):
                error = _missing(getattr(message, field), field, asked, spec.file)
                if error is not None:
                    yield rule.on(spec, error.message, error.hint)


def missing_results(spec: LayerSpec, asked: Asked) -> Iterator[Finding]:
    """The files that a layer needs to write results, and that are not there."""
    save = spec.message.detection_output_param.save_output_param
    for field in ("label_map_file", "name_size_file") if save.output_directory else ():
        if getattr(save, field):
            error = _missing(getattr(save, field), field, asked, spec.file)
            if error is not None:
                yield MISSING_FILE.on(spec, error.message, error.hint)


def weight_paths(solver: ParsedSolver | None, asked: Asked) -> Iterator[Path | Finding]:
    """The weight files that a run starts from; a finding for each that is not there."""
    for path in asked.weights or ():
        yield path if path.exists() else MISSING_WEIGHTS.in_file(path, "weights that are not there")
    if solver is None or asked.weights is not None:
        return
    for index, text in enumerate(solver.message.weights):
        for name in names_in(text):
            error = _missing(name, "weights", asked, solver.file)
            if error is not None:
                yield MISSING_WEIGHTS.at(solver.position("weights", index), error.message, hint=error.hint)
            else:
                yield paths.find(name, "weights", root=asked.options.root, beside=solver.file)


def _scales(solver: ParsedSolver, asked: Asked) -> Iterator[Finding]:
    """The weights that gradients are scaled by, if they are not there."""
    if solver.message.HasField("rep_optimizer_scales"):
        error = _missing(solver.message.rep_optimizer_scales, "weights", asked, solver.file)
        if error is not None:
            yield MISSING_WEIGHTS.at(solver.position("rep_optimizer_scales", 0), error.message, hint=error.hint)


def _missing(name: str, what: str, asked: Asked, file: str | None) -> FormatError | None:
    try:
        paths.find(name, what, root=asked.options.root, beside=file)
    except FormatError as error:
        return error
    return None


def _snapshots(solver: ParsedSolver, asked: Asked) -> Iterator[Finding]:
    message = solver.message
    if message.snapshot <= 0 and not message.snapshot_after_train:
        return
    try:
        prefix = Snapshots(solver, asked.options, writes=False).prefix
    except CaffeCompatError as error:
        yield SNAPSHOT_PREFIX.of(error)
        return
    if prefix is None:
        yield SNAPSHOT_PREFIX.at(
            solver.position(), "no snapshot_prefix is stated: snapshots have no name", hint='snapshot_prefix: "mynet"'
        )
        return
    folder = (Path(asked.options.root or ".") / f"{prefix}_").parent
    wrong = "is not there" if not folder.is_dir() else "" if os.access(folder, os.W_OK) else "cannot be written to"
    if wrong:
        yield SNAPSHOT_PREFIX.at(
            solver.position("snapshot_prefix", 0),
            f"snapshot_prefix {quoted(prefix)}: the folder {folder} {wrong}",
            hint=f"mkdir -p {folder}" if wrong == "is not there" else None,
        )
