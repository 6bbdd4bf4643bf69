"""What the commands that make annotated databases share: their options, progress, and what they tell."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.progress import Progress
from caffecompat.errors import FormatError, UsageError

if TYPE_CHECKING:
    from caffecompat.data.annoset.boxes import BadBoxes, BoxRules, Problem
    from caffecompat.data.annoset.class_map import ClassMap
    from caffecompat.data.annoset.record import Entry, Outcome, RecordMaker
    from caffecompat.data.annoset.unfinished import UnfinishedFolder
    from caffecompat.data.imageset import DatumForm

PATH = click.Path(path_type=Path)
SIZE = click.IntRange(0, 65535)
# So many problems are told while it works; a report has all.
SHOWN = 20
_SUMMARY = {
    "note": "odd annotations",
    "missing": "images without an annotation, in the database without boxes",
    "size": "annotations that state another size than their image has, and divide boxes by it",
    "class": "boxes left out, of classes that the label map lacks",
}
_BAD_BOXES = {
    "keep": "bad boxes, kept as they are if their corners are numbers, as in the original",
    "clip": "bad boxes, clipped to the image, or left out if they have no area",
    "drop": "bad boxes; those beyond the image, without area or the wrong way round are left out",
}


@dataclass(frozen=True)
class Settings:
    """The options that all conversions share."""

    gray: bool
    resize_width: int
    resize_height: int
    min_dim: int
    max_dim: int
    encode_type: str
    check_size: bool
    seed: int
    bad_boxes: BadBoxes
    skip_unknown: bool
    strict: bool
    report: Path | None
    anew: bool
    workers: int

    def form(self, encoded: bool = True) -> DatumForm:
        """What becomes of images."""
        from caffecompat.data.imageset import DatumForm

        if bool(self.resize_width) != bool(self.resize_height):
            raise UsageError("--resize_width and --resize_height belong together")
        size = (self.resize_height, self.resize_width) if self.resize_width else None
        return DatumForm(self.gray, size, encoded, self.encode_type, True, self.min_dim, self.max_dim)

    def rules(self, classes: ClassMap) -> BoxRules:
        """What becomes of boxes."""
        from caffecompat.data.annoset.boxes import BoxRules

        return BoxRules(classes.labels, self.bad_boxes, self.skip_unknown)


def conversion_options(encode_type: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that make `Settings`, which the command gets as `settings`.

    Args:
        encode_type: the format of compressed images where none is given; "" leaves files as they are.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            settings = Settings(**{item.name: options.pop(item.name) for item in fields(Settings)})
            return function(*args, settings=settings, **options)

        for option in reversed(_options(encode_type)):
            call = option(call)
        return call

    return decorate


def _options(encode_type: str) -> Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    return (
        click.option("--gray", is_flag=True, help="Read images as grey ones, of one channel."),
        click.option("--resize-width", type=SIZE, default=0, metavar="N"),
        click.option(
            "--resize-height", type=SIZE, default=0, metavar="N", help="Resize images to this width and height."
        ),
        click.option(
            "--min-dim", type=SIZE, default=0, metavar="N", help="Enlarge images whose shorter side is below N to N."
        ),
        click.option(
            "--max-dim", type=SIZE, default=0, metavar="N", help="Then shrink those whose longer side is beyond N to N."
        ),
        click.option(
            "--encode-type",
            default=encode_type,
            show_default=bool(encode_type),
            metavar="jpg|png",
            help="Keep images compressed in this format; files of another one are compressed anew.",
        ),
        click.option("--check-size", is_flag=True, help="Stop at an image of another size than the first."),
        click.option("--seed", type=int, default=1, show_default=True, help="What a random order comes from."),
        click.option(
            "--bad-boxes",
            type=click.Choice(["keep", "clip", "drop"]),
            default="keep",
            show_default=True,
            help="Boxes that reach beyond their image, have no area or their corners the wrong way round: keep them "
            "as the original does, clip them, or leave them out. They are told in any case.",
        ),
        click.option("--skip-unknown", is_flag=True, help="Leave out boxes of classes that the label map lacks."),
        click.option("--strict", is_flag=True, help="Stop at the first problem; else problems are told."),
        click.option("--report", type=PATH, metavar="FILE", help="Write all problems into a text, one in a line."),
        click.option("--anew", is_flag=True, help="Begin anew, and do not go on with what an interrupted run left."),
        click.option(
            "--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads read."
        ),
    )


@contextmanager
def making(out: Path, settings: Settings) -> Iterator[UnfinishedFolder]:
    """The folder that is made; it tells if what an interrupted run did is kept."""
    import cv2

    from caffecompat.data.annoset.unfinished import UnfinishedFolder

    # OpenCV says on stderr what is wrong with a picture; the problem that follows says it with the file's name.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    folder = UnfinishedFolder(out, settings.anew)
    try:
        with folder:
            yield folder
    finally:
        if folder.kept:
            tell(f"what was done is kept in {folder.hidden}: the same command goes on from there, --anew begins anew")


class Report:
    """Tells problems, and counts what was made.

    Args:
        settings: whether it stops at a problem, and where the problems are written.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._problems: list[Problem] = []
        self._shown = 0
        self._counts: Counter[str] = Counter()

    def take(self, outcome: Outcome, progress: Progress | None = None) -> None:
        """Note what came of an image.

        Args:
            outcome: what came of it.
            progress: where it is told; None if an earlier run has told it.

        Raises:
            FormatError: there is a problem, and it is to stop there.
        """
        for problem in outcome.problems:
            if self._settings.strict:
                raise FormatError(problem.text)
            self._problems.append(problem)
            self._counts[problem.kind] += 1
            if progress is not None:
                self._tell(problem, progress)

    def _tell(self, problem: Problem, progress: Progress) -> None:
        self._shown += 1
        if self._shown <= SHOWN:
            passed_over = problem.kind in ("image", "annotation")
            progress.line(f"passed over: {problem.text}" if passed_over else problem.text)
        elif self._shown == SHOWN + 1:
            progress.line("further problems are counted; --report FILE writes all")

    def finish(self) -> None:
        """Tell how many problems there were of each kind, and write the report."""
        from caffecompat.formats import atomic_write

        lost = self._counts["image"] + self._counts["annotation"]
        if lost:
            parts = f"unreadable: images {self._counts['image']}, annotations {self._counts['annotation']}"
            tell(f"warning: not in the database: {lost} of the images ({parts})")
        texts = {**_SUMMARY, "box": _BAD_BOXES[self._settings.bad_boxes]}
        for kind, text in texts.items():
            if self._counts[kind]:
                tell(f"warning: {text}: {self._counts[kind]}")
        if self._settings.report is not None:
            with atomic_write(self._settings.report) as file:
                for problem in self._problems:
                    file.write(f"{problem.kind}\t{problem.text}\n".encode("utf-8", "backslashreplace"))


def fill(
    folder: UnfinishedFolder,
    name: str,
    entries: Sequence[Entry],
    make: RecordMaker,
    job: str,
    report: Report,
    settings: Settings,
) -> list[Outcome]:
    """Make a database of the folder, or go on with it.

    Returns:
        What came of each entry.

    Raises:
        CaffeCompatError: it cannot be made; no image could be read; sizes differ that must not.
    """
    from caffecompat.data.annoset.conversion import convert

    database = folder.database(name, job)
    outcomes = database.outcomes
    if outcomes:
        tell(f"going on after {len(outcomes):,} of {len(entries):,} images")
    for outcome in outcomes:
        report.take(outcome)
    first = next((outcome.sizes for outcome in outcomes if outcome.sizes), None)
    with Progress(len(entries) - len(outcomes), "images") as progress:
        for entry, outcome in convert(entries, make, database, settings.workers):
            progress.add()
            report.take(outcome, progress)
            first = first or outcome.sizes
            if settings.check_size and outcome.sizes not in (first, None):
                raise FormatError(
                    f"expected an image of {_by(first)} as the first, got {_by(outcome.sizes)}", file=entry.path
                )
    if first is None:
        problem = next((outcome.problems[0].text for outcome in outcomes if outcome.problems), "")
        raise FormatError(f"none of {len(entries)} images could be read; the first: {problem}")
    database.close()
    return outcomes


def _by(sizes: tuple[int, int, int] | None) -> str:
    channels, height, width = sizes or (0, 0, 0)
    return f"{width}x{height} pixels and {channels} channels"


def made(out: str, outcomes: Sequence[Outcome]) -> str:
    """What was made, for stderr."""
    records = sum(outcome.sizes is not None for outcome in outcomes)
    return f"wrote {out}: {records:,} records, {sum(outcome.boxes for outcome in outcomes):,} boxes"
