"""`caffecompat data inspect`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.files import tell_written
from caffecompat.cli.progress import Progress
from caffecompat.errors import shown

if TYPE_CHECKING:
    from caffecompat.data.databases import Database
    from caffecompat.data.survey import Survey

PATH = click.Path(path_type=Path)
# Of a histogram with more rows than these the most frequent are shown.
MAX_ROWS = 30
MAX_SHAPES = 10


@click.command("inspect")
@click.argument("database", type=PATH, metavar="DB")
@click.option("--html", type=PATH, metavar="PAGE.html", help="Write a page of thumbnails, which needs no other file.")
@click.option(
    "--thumbnails",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many records the page shows, evenly taken from those looked into.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Look into the first N records only.")
@click.option("--labels", type=PATH, help="The classes' names: a label map or a text.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option(
    "--backend", type=click.Choice(["lmdb", "leveldb"]), help="What DB has to be; without it, what it is is found."
)
@click.option("--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads decode.")
def command(
    database: Path,
    html: Path | None,
    thumbnails: int,
    limit: int | None,
    labels: Path | None,
    as_json: bool,
    backend: str | None,
    workers: int,
) -> None:
    """Look into a database of Datums or AnnotatedDatums.

    Shown are the number of records and their bytes, their keys, how their values are held, their shapes and labels;
    of boxes, how many a record has. Damaged records are told with their keys.
    """
    from caffecompat.cli.data._opening import opened
    from caffecompat.cli.data._page import Page
    from caffecompat.data.in_order import in_order
    from caffecompat.data.labels import read_labels
    from caffecompat.data.survey import Survey, look

    names = read_labels(labels) if labels is not None else ()
    survey = Survey()
    with opened(database, backend) as source:
        count = source.count()
        looked_at = min(count, limit or count)
        page = Page(str(database), names, looked_at, thumbnails if html is not None else 0)
        with Progress(looked_at, "records") as progress:
            for place, looked in enumerate(in_order(look, islice(source.records(), looked_at), workers)):
                survey.add(looked)
                page.add(place, looked)
                progress.add()
        about = _about(database, source, count)
    if html is not None:
        page.write(html, _lines(about, survey, names))
        tell_written(html)
    if as_json:
        click.echo(json.dumps({**about, **survey.as_json()}, indent=1))
    else:
        click.echo("\n".join(_lines(about, survey, names)))


def _about(path: Path, source: Database, count: int) -> dict[str, Any]:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return {
        "database": str(path),
        "backend": source.backend,
        "records_in_database": count,
        "bytes_on_disk": sum(file.stat().st_size for file in files),
    }


def _lines(about: dict[str, Any], survey: Survey, names: tuple[str, ...]) -> list[str]:
    """The survey as text."""
    whole = f"{about['records_in_database']:,} records, {about['bytes_on_disk']:,} bytes on disk"
    lines = [f"{shown(about['database'])}: {about['backend']}, {whole}"]
    if survey.records < about["records_in_database"]:
        lines.append(f"looked into the first {survey.records:,}")
    lines.append(f"keys: {', '.join(map(shown, survey.first))} ... {shown(survey.last)}")
    lines.append(f"bytes of keys and values: {survey.size:,}, {survey.size // survey.records:,} a record")
    plain = survey.records - survey.damaged - survey.annotated
    messages = (("Datum", plain), ("AnnotatedDatum", survey.annotated), ("damaged", survey.damaged))
    lines.append("records: " + ", ".join(f"{kind} {count:,}" for kind, count in messages if count))
    lines += _histogram("values", ((kind, count) for kind, count in survey.kinds.most_common()))
    lines += _shapes(survey)
    lines += _labels(survey, names)
    lines += [f"damaged: {shown(key)}: {fault}" for key, fault in survey.faults[:MAX_ROWS]]
    return lines


def _shapes(survey: Survey) -> list[str]:
    title = "shapes (channels x height x width)"
    if len(survey.shapes) > 1:
        heights, widths = [shape[1] for shape in survey.shapes], [shape[2] for shape in survey.shapes]
        title += f", heights {min(heights)} to {max(heights)}, widths {min(widths)} to {max(widths)}"
    rows = (("x".join(map(str, shape)), count) for shape, count in survey.shapes.most_common())
    return _histogram(title, rows, MAX_SHAPES)


def _labels(survey: Survey, names: tuple[str, ...]) -> list[str]:
    if not survey.labels:
        return []
    what = "labels of boxes" if survey.boxes else "labels"
    title = f"{what}: {min(survey.labels)} to {max(survey.labels)}, {len(survey.labels)} classes"
    many = len(survey.labels) > MAX_ROWS
    rows = survey.labels.most_common() if many else sorted(survey.labels.items())
    lines = _histogram(title, ((label_text(label, names), count) for label, count in rows))
    if survey.boxes:
        least, most, mean = min(survey.boxes), max(survey.boxes), survey.box_count / survey.boxes.total()
        lines.append(
            f"annotations: BBOX, {survey.box_count:,} boxes, {survey.difficult:,} of them difficult; "
            f"{least} to {most} a record, {mean:.3g} on average"
        )
    return lines


def label_text(label: int, names: tuple[str, ...]) -> str:
    """A class as its number, and its name if there is one."""
    name = names[label] if 0 <= label < len(names) else ""
    return f"{label} {shown(name)}" if name else str(label)


def _histogram(title: str, rows: Iterator[tuple[str, int]], most: int = MAX_ROWS) -> list[str]:
    listed = list(rows)
    if not listed:
        return []
    shown_rows, rest = listed[:most], listed[most:]
    if rest:
        shown_rows.append((f"in {len(rest):,} more", sum(count for _, count in rest)))
    width = max(len(f"{count:,}") for _, count in shown_rows)
    return [f"{title}:", *(f"  {count:>{width},}  {name}" for name, count in shown_rows)]
