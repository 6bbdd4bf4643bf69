"""What the commands share that make a folder of databases: one for each split of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caffecompat.cli.data._conversion import PATH, Report, Settings, fill, made, making
from caffecompat.cli.errors import tell
from caffecompat.errors import UsageError

if TYPE_CHECKING:
    from caffecompat.data.annoset.boxes import BoxRules
    from caffecompat.data.annoset.class_map import ClassMap
    from caffecompat.data.annoset.dataset import Layout, Split
    from caffecompat.data.annoset.record import ReadMarks

F = TypeVar("F", bound=Callable[..., Any])


def folder_options(function: F) -> F:
    """`-o`, and how the splits are ordered."""
    out = click.option(
        "-o", "--out", type=PATH, required=True, metavar="DIR", help="The folder to make; none may be there yet."
    )
    shuffle = click.option(
        "--shuffle/--no-shuffle",
        default=None,
        help="Put all splits in random order, or none; else those whose names start with `train`.",
    )
    return out(shuffle(function))


def layout_options(function: F) -> F:
    """What the databases are called, and where they lie."""
    name = click.option("--name", metavar="NAME", help="What the data set is called.")
    layout = click.option(
        "--layout",
        type=click.Choice(["flat", "caffe"]),
        default="flat",
        show_default=True,
        help="caffe: databases in examples/NAME and texts in data/NAME, where SSD's prototxts look for them.",
    )
    return name(layout(function))


def class_options(function: F) -> F:
    """Which classes there are."""
    classes = click.option(
        "--classes",
        metavar="A,B,...|FILE",
        help="The names of the classes, from label 1 on: apart by commas, or a text with one in a line.",
    )
    label_map = click.option("--label-map-file", type=PATH, metavar="FILE", help="The label map, a prototxt.")
    return classes(label_map(function))


def split_option(default: str) -> Callable[[F], F]:
    """What the only split is called."""
    return click.option("--split", default=default, show_default=True, metavar="NAME", help="What the split is called.")


def stated_classes(classes: str | None, label_map_file: Path | None) -> ClassMap | None:
    """The classes that the options give, or None.

    Raises:
        UsageError: both are given, or a name stands twice.
        FormatError: a file is neither a label map nor a text.
    """
    from caffecompat.data.annoset.class_map import given_classes, read_class_map

    if classes is not None and label_map_file is not None:
        raise UsageError("--classes and --label-map-file exclude each other")
    if label_map_file is not None:
        return read_class_map(label_map_file, check=True)
    return given_classes(classes) if classes is not None else None


def checked_name(name: str) -> str:
    """A name that may become part of a file's.

    Raises:
        UsageError: it may not.
    """
    if not name or name.startswith(".") or any(sign in name for sign in "/\\\0") or not name.isprintable():
        raise UsageError(f"expected a name without slashes, got {name!r}")
    return name


def make_dataset(
    out: Path,
    layout: Layout,
    splits: Sequence[Split],
    classes: ClassMap,
    settings: Settings,
    *,
    shuffle: bool | None,
    read_marks: ReadMarks | None = None,
    rules: BoxRules | None = None,
    more: object = None,
) -> None:
    """Make the folder: databases, lists, sizes, and the label map.

    Args:
        out: the folder.
        layout: where things lie in it.
        splits: the parts.
        classes: the label map.
        settings: the options that all conversions share.
        shuffle: put all splits in random order, or none, or (None) those for training.
        read_marks: reads annotation files.
        rules: what becomes of boxes, if names are not those of the label map.
        more: what else decides the records.

    Raises:
        CaffeCompatError: it cannot be made.
    """
    from caffecompat.data.annoset.conversion import job_of
    from caffecompat.data.annoset.record import RecordMaker

    form, rules = settings.form(), rules or settings.rules(classes)
    make = RecordMaker(form, rules, read_marks)
    report = Report(settings)
    lines = []
    with making(out, settings) as folder:
        for given in splits:
            random = given.name.startswith("train") if shuffle is None else shuffle
            split = given.shuffled(settings.seed) if random else given
            name = layout.database(checked_name(split.name))
            job = job_of(split.entries, form, rules, more)
            outcomes = fill(folder, name, split.entries, make, job, report, settings)
            folder.write(layout.text(f"{split.name}.txt"), split.listed())
            folder.write(layout.text(f"{split.sizes_name or split.name}_name_size.txt"), split.sizes(outcomes))
            lines.append(made(str(out / name), outcomes))
        folder.write(layout.text(layout.label_map), classes.text)
        folder.finish()
    report.finish()
    for line in lines:
        tell(line)
