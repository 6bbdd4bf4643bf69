"""Rules about what a test says of its pictures: their names and sizes, how many there are, files of results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from caffecompat.detection.label_map import read_label_map
from caffecompat.detection.name_sizes import NameSizes, read_name_sizes
from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.detection_writing import open_writers
from caffecompat.solver.lint.asked import Asked
from caffecompat.solver.lint.boxes import unnamed
from caffecompat.solver.lint.files import missing_results
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.reading import Read

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

NAME_SIZE = Rule("name-size", "warning", "A name_size_file has a line for each record of the database.")
NAME_ORDER = Rule("name-order", "error", "The lines of a name_size_file are in the order of the database.")
TEST_IMAGES = Rule(
    "test-images", "warning", "num_test_image is how many pictures a test takes, and the database has, or names shift."
)
RESULT_CLASSES = Rule(
    "result-classes", "error", "A label map of results names each class, or the first such one ends the run."
)
RESULTS = Rule("results", "error", "Files of results can be written, and what they are named by can be read.")
RULES = (NAME_SIZE, NAME_ORDER, TEST_IMAGES, RESULT_CLASSES, RESULTS)

# Keys as convert_annoset makes them: a number of eight digits, and the picture's path.
_KEY = re.compile(r"[0-9]{8}_(.+)", re.DOTALL)
_NUMBER = re.compile(r"([0-9]+)$")
# Names of which so many are those of records, in any order, are meant to be theirs.
ALIKE = 0.5


def check(subject: Subject) -> Iterator[Finding]:
    """The layers of each test net that name pictures."""
    for linted in subject.tests:
        reads = [linted.read[spec.index] for spec in linted.data_layers if spec.index in linted.read]
        read = reads[0] if len(reads) == 1 else None
        naming: dict[str, LayerSpec] = {}
        for spec in linted.graph.layers:
            naming.setdefault(spec.message.detection_evaluate_param.name_size_file, spec)
            if spec.type == "DetectionOutput" and linted.reads_itself:
                naming.setdefault(spec.message.detection_output_param.save_output_param.name_size_file, spec)
                yield from _results(subject, linted, spec, read)
        for name, spec in naming.items():
            yield from _names(spec, name, read)


def bad_results(spec: LayerSpec, asked: Asked) -> Iterator[Finding]:
    """What of the files of results is missing, or a run would refuse; it gives the run's warnings."""
    if spec.type != "DetectionOutput" or spec.phase != "TEST":
        return
    missing = list(missing_results(spec, asked))
    yield from missing
    if not missing:
        try:
            open_writers(spec, asked.reading())
        except CaffeCompatError as error:
            yield RESULTS.of(spec.locate(error))


def _results(subject: Subject, linted: LintedNet, spec: LayerSpec, read: Read | None) -> Iterator[Finding]:
    """The files of results that a DetectionOutput writes."""
    save = spec.message.detection_output_param.save_output_param
    if not save.output_directory:
        return
    yield from _classes(spec)
    named = _named(spec, save.name_size_file)
    if not save.HasField("num_test_image") or named is None:
        return
    # More than are named do not count, as the run itself warns.
    images = min(int(save.num_test_image), len(named))
    count = read.count if read is not None else None
    taken = _taken(subject, linted)
    if taken is not None and taken < images:
        text = f"files of results are written after {images} pictures (num_test_image), and a test takes {taken}"
        yield TEST_IMAGES.on(spec, text, f"num_test_image: {taken}, or a greater test_iter")
    elif count is not None and count != images:
        text = f"files of results are written after {images} pictures (num_test_image), and the database has {count}"
        hint = "the next ones take the names from the first on again, and the pictures that follow"
        yield TEST_IMAGES.on(spec, text, hint)


def _taken(subject: Subject, linted: LintedNet) -> int | None:
    """How many pictures a test takes."""
    if subject.solver is None or linted.number is None:
        return None
    data = next((spec for spec in linted.data_layers if spec.message.data_param.batch_size), None)
    return (
        None if data is None else subject.solver.message.test_iter[linted.number] * data.message.data_param.batch_size
    )


def _classes(spec: LayerSpec) -> Iterator[Finding]:
    """The label map of the results."""
    param = spec.message.detection_output_param
    name = param.save_output_param.label_map_file
    try:
        names = read_label_map(spec.find(name, "label_map_file")).names if name else None
    except CaffeCompatError:
        # A file that is missing or broken is told of elsewhere.
        return
    count, first = (0, "") if names is None else unnamed(param.num_classes, param.background_label_id, names)
    if count:
        text = f"label_map_file {quoted(name)} has no name for classes {first}"
        yield RESULT_CLASSES.on(spec, text, "detections of a class without a name end the test")


def _named(spec: LayerSpec, name: str) -> NameSizes | None:
    """What a name_size_file holds; None if that is not known, of which others tell."""
    try:
        return read_name_sizes(spec.find(name, "name_size_file")) if name else None
    except CaffeCompatError:
        return None


def _names(spec: LayerSpec, name: str, read: Read | None) -> Iterator[Finding]:
    """A name_size_file against the records."""
    found = _named(spec, name)
    if found is None or read is None:
        return
    if read.count is not None and len(found) != read.count:
        text = f"name_size_file {quoted(name)} has {len(found)} pictures, the database {read.count} records"
        yield NAME_SIZE.on(spec, text, "get_image_size makes one from the list that the database was made from")
    if read.boxes is not None:
        yield from _order(spec, found, read.boxes.keys, name)


def _order(spec: LayerSpec, found: NameSizes, keys: list[str], file: str) -> Iterator[Finding]:
    """Whether the names are those of the keys, in their order; nothing if the two are not alike at all."""
    named = [match[1] for key in keys if (match := _KEY.fullmatch(key))]
    if len(named) != len(keys):
        return
    records = [_id(PurePosixPath(name).stem) for name in named]
    names = [_id(PurePosixPath(name).name) for name in found.names]
    if len(set(records) & set(names)) < ALIKE * len(records):
        return
    for place, (record, listed) in enumerate(zip(records, names, strict=False)):
        if record != listed:
            listed_name, key = quoted(found.names[place]), quoted(keys[place])
            text = f"picture {place + 1} of {quoted(file)} is {listed_name}, and record {place + 1} {key}"
            yield NAME_ORDER.on(spec, text, "results and sizes would be those of other pictures")
            return


def _id(name: str) -> str:
    """What tells a picture: a number at its end, as COCO's lists have it alone, or its name."""
    match = _NUMBER.search(name)
    return match[1].lstrip("0") or "0" if match else name
