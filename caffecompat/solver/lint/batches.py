"""Rules about numbers: records, batches, passes, processes."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

from caffecompat.errors import quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.reading import Read

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

RUN_SIZE = Rule("run-size", "info", "How many records an iteration takes, and how often a run goes through all.")
SHORT_RUN = Rule("short-run", "warning", "A run that does not go through its data once does not see all of it.")
TEST_COVERAGE = Rule(
    "test-coverage",
    "warning",
    "test_iter batches should go through the test data once: each test goes on from the last.",
)
LARGE_BATCH = Rule("large-batch", "warning", "A batch of more records than there are holds some twice.")
FEW_RECORDS = Rule("few-records", "error", "Each process needs records of its own.")
SAME_SOURCE = Rule("same-source", "warning", "A test on the data that is trained on says little.")
RULES = (RUN_SIZE, SHORT_RUN, TEST_COVERAGE, LARGE_BATCH, FEW_RECORDS, SAME_SOURCE)

SOURCES = ("data_param", "image_data_param", "hdf5_data_param", "window_data_param")
# Their batches are drawn at random from all records, so no number of passes goes through each once.
DRAWN = ("EpisodeData", "SentenceData")


def check(subject: Subject) -> Iterator[Finding]:
    """How batches, passes and records go together."""
    for linted in subject.nets:
        for spec, read, count in _in_turn(linted):
            batch = read.shapes[0][0]
            if batch > count:
                yield LARGE_BATCH.on(spec, f"batch_size {batch} is more than the {count} records there are")
    if subject.solver is None or subject.train is None:
        return
    yield from _train(subject, subject.train)
    for linted in subject.tests:
        yield from _coverage(subject, linted)
        yield from _same_source(subject.train, linted)


def _counted(linted: LintedNet) -> Iterator[tuple[LayerSpec, Read, int]]:
    """The data layers of which it is known how many records they read."""
    for index, read in linted.read.items():
        if read.count is not None and read.shapes and read.shapes[0]:
            yield linted.graph.layers[index], read, read.count


def _in_turn(linted: LintedNet) -> Iterator[tuple[LayerSpec, Read, int]]:
    """Those of them that go through their records one after another."""
    return (found for found in _counted(linted) if found[0].type not in DRAWN)


def _train(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    assert subject.solver is not None
    message, processes = subject.solver.message, subject.asked.processes
    for spec, _, count in _counted(linted):
        if count < processes:
            yield FEW_RECORDS.on(spec, f"{count} records for {processes} processes")
    for spec, read, count in _in_turn(linted):
        batch = read.shapes[0][0]
        each = batch * max(message.iter_size, 1) * processes
        total = each * message.max_iter
        factors = [f"batch_size {batch}"]
        factors += [f"iter_size {message.iter_size}"] if message.iter_size > 1 else []
        factors += [f"{processes} processes"] if processes > 1 else []
        product = f"{' x '.join(factors)} = " if len(factors) > 1 else ""
        text = (
            f"{count} records, {product}{each} an iteration: all of them once in {ceil(count / each)} iterations, "
            f"{total / count:.3g} times in the run of {message.max_iter}"
        )
        yield RUN_SIZE.on(spec, text)
        if 0 < total < count:
            yield SHORT_RUN.on(spec, f"the run of {message.max_iter} iterations takes {total} of {count} records")


def _coverage(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    """How much of its data a test goes through."""
    assert subject.solver is not None
    assert linted.number is not None
    passes = subject.solver.message.test_iter[linted.number]
    for spec, read, count in _in_turn(linted):
        batch = read.shapes[0][0]
        taken, wanted = passes * batch, ceil(count / batch)
        if passes == wanted:
            continue
        text = f"test_iter {passes} x batch_size {batch} = {taken} of {count} records"
        if taken < count:
            text += ": a test takes a part of them, the next one the part that follows"
        else:
            text += f": {taken - count} count more than once"
        place = subject.solver.position("test_iter", linted.number)
        yield TEST_COVERAGE.at(place, text, layer=spec.name, hint=f"test_iter: {wanted} goes through all of them")


def _same_source(train: LintedNet, test: LintedNet) -> Iterator[Finding]:
    trained = {name for spec in train.data_layers if (name := _source(spec))}
    for spec in test.data_layers:
        if _source(spec) in trained:
            yield SAME_SOURCE.on(spec, f"it tests on {quoted(_source(spec))}, which is trained on")


def _source(spec: LayerSpec) -> str:
    names = [getattr(spec.message, param).source for param in SOURCES if param in spec.row.params]
    return names[0] if names else ""
