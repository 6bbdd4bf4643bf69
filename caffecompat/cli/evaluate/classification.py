"""`caffecompat evaluate classification`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import net_argument, net_options, preprocessing_options, python_option
from caffecompat.cli.predict._options import running_options

if TYPE_CHECKING:
    from caffecompat.cli.evaluate._ranking import Tops
    from caffecompat.cli.evaluate._views import View
    from caffecompat.data.labelled import LabelledPicture, LabelledPictures

PATH = click.Path(path_type=Path)
MAX_SCALE = 1 << 14


def _kinds(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    """`single,dense` as the kinds, each once."""
    kinds = tuple(dict.fromkeys(part.strip() for part in value.split(",")))
    known = ("single", "ten", "grid", "dense")
    for kind in kinds:
        if kind not in known:
            raise click.BadParameter(f"{kind!r} is none of {', '.join(known)}")
    return kinds


def _scales(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """`256,384,512` as numbers, each once."""
    parts = [] if value is None else [part.strip() for part in value.split(",")]
    if not all(re.fullmatch(r"\d{1,5}", part) and 1 <= int(part) <= MAX_SCALE for part in parts):
        raise click.BadParameter(f"{value!r} is no list of numbers from 1 to {MAX_SCALE}, such as 256,384,512")
    return tuple(dict.fromkeys(map(int, parts)))


@click.command("classification")
@net_argument
@click.argument("data", type=PATH, metavar="DB|LIST|DIR")
@click.option("--root", type=PATH, metavar="FOLDER", help="Where names in a list start; else the working directory.")
@click.option(
    "--crops",
    "kinds",
    callback=_kinds,
    default="single",
    show_default=True,
    metavar="single,ten,grid,dense",
    help="What the net looks at; of several, each and their mean is told.",
)
@click.option(
    "--scales",
    callback=_scales,
    metavar="A,B,...",
    help="Resize the shorter side to each of these; each and their mean is told.",
)
@click.option(
    "--grid", type=click.IntRange(1, 64), default=5, show_default=True, help="How many crops a grid has, each way."
)
@click.option("--flip/--no-flip", default=None, help="Look at mirror images too; a grid and a dense pass do.")
@click.option("--top", type=click.IntRange(2), default=5, show_default=True, help="How many classes are the best.")
@click.option("--blob", metavar="NAME", help="The output that holds the scores.")
@click.option("--keep-going", is_flag=True, help="Pass over pictures that cannot be read; exit with 1 at the end.")
@click.option("--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads read.")
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the results here as well.")
@running_options
@net_options
@preprocessing_options
@python_option
def command(
    net: Path,
    weights: Path | None,
    data: Path,
    *,
    root: Path | None,
    kinds: tuple[str, ...],
    scales: tuple[int, ...],
    grid: int,
    flip: bool | None,
    top: int,
    blob: str | None,
    keep_going: bool,
    workers: int,
    json_file: Path | None,
    batch: int,
    **options: Any,
) -> None:
    """Score a net that names what pictures show: how often the true class is the best one, or among the best.

    Pictures are those of a database of Datums, of a list of lines `name label`, or of a folder with a folder for each
    class. single: the middle of the resized picture; ten: corners, middle and their mirror images (Caffe's oversample);
    grid: crops from edge to edge; dense: the whole picture through the net made fully convolutional, averaged over all
    places. --batch counts crops.
    """
    import cv2

    from caffecompat.cli.evaluate import _views
    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.predict._classify import scores_blob
    from caffecompat.cli.predict._session import open_session
    from caffecompat.data.labelled import open_labelled
    from caffecompat.data.labels import read_labels
    from caffecompat.errors import CaffeCompatError, FormatError

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    names = read_labels(options["labels"]) if options["labels"] is not None else ()
    pictures = open_labelled(data, root, names)
    keep_inputs(json_file, [net, weights, data])
    session = open_session(net, weights, **options)
    chosen = scores_blob(session, blob)
    classes = session.net.blob_shapes[session.net.graph.last[chosen]][1:2]
    if pictures.folders is not None and classes and pictures.folders != classes[0]:
        raise FormatError(
            f"expected a folder for each of the net's {classes[0]} classes, got {pictures.folders}",
            file=data,
            hint="--labels FILE says which class each folder's name is",
        )
    views = _views.views(session, chosen, _views.Asked(kinds, scales, grid, flip), batch)
    scored = _Scored(views, top)
    together = max(1, batch // max(view.count or 1 for view in views))
    faults = 0
    waiting: list[LabelledPicture] = []
    for picture in _read(pictures, workers, keep_going):
        if picture is None:
            faults += 1
            continue
        waiting.append(picture)
        if len(waiting) == together:
            scored.add(waiting)
            waiting = []
    if waiting:
        scored.add(waiting)
    scored.tell(json_file, top)
    if faults:
        raise CaffeCompatError(f"{faults} of {len(pictures)} pictures could not be read")


def _read(pictures: LabelledPictures, workers: int, keep_going: bool) -> Iterator[LabelledPicture | None]:
    """The pictures in order, None for one that cannot be read, which is told.

    Raises:
        FormatError: one cannot be read, and it is not to go on.
    """
    from caffecompat.cli.progress import Progress
    from caffecompat.data.in_order import in_order
    from caffecompat.errors import FormatError

    def read(index: int) -> LabelledPicture | FormatError:
        try:
            return pictures.read(index)
        except FormatError as error:
            return error

    with Progress(len(pictures), "pictures") as progress:
        for found in in_order(read, range(len(pictures)), workers):
            if isinstance(found, FormatError):
                if not keep_going:
                    raise found
                tell(str(found))
            yield None if isinstance(found, FormatError) else found
            progress.add()


class _Scored:
    """The counts of each view, of each kind over its scales, and of all.

    Args:
        views: the views.
        top: how many classes are the best.
    """

    def __init__(self, views: Sequence[View], top: int) -> None:
        from caffecompat.cli.evaluate._ranking import Tops

        self._views = views
        every = range(len(views))
        self._rows: list[tuple[str, str, list[int], Tops]] = []
        kinds = list(dict.fromkeys(view.kind for view in views))
        for kind in kinds:
            own = [index for index in every if views[index].kind == kind]
            for index in own:
                self._rows.append((kind, str(views[index].scale or ""), [index], Tops(top)))
            if len(own) > 1:
                self._rows.append((kind, "all", own, Tops(top)))
        if len(kinds) > 1:
            scale = "all" if len(views) > len(kinds) else str(views[0].scale or "")
            self._rows.append(("all", scale, list(every), Tops(top)))

    def add(self, pictures: Sequence[LabelledPicture]) -> None:
        """Pass pictures.

        Raises:
            CaffeCompatError: one of them, or its label, does not fit the net; the error names them.
        """
        import numpy as np

        from caffecompat.errors import context

        images = [picture.image for picture in pictures]
        labels = np.array([picture.label for picture in pictures])
        with context(file=" to ".join(dict.fromkeys((pictures[0].name, pictures[-1].name)))):
            found = [view.scores(images) for view in self._views]
            for _, _, which, tops in self._rows:
                tops.add(np.mean([found[index] for index in which], axis=0), labels)

    def tell(self, json_file: Path | None, top: int) -> None:
        """The table on stdout, and the same in a file."""
        import sys

        from caffecompat.cli.predict._writers import output, write_json, write_rows

        rows = []
        for kind, scale, which, tops in self._rows:
            count = sum(self._views[index].count for index in which)
            dense = any(not self._views[index].count for index in which)
            rows.append(
                {
                    "crops": kind,
                    "scale": scale,
                    "each": "-" if dense else count,
                    "pictures": tops.items,
                    "top-1": tops.first,
                    f"top-{top}": tops.among,
                }
            )
        write_rows(sys.stdout.buffer, rows, "table", list(rows[0]))
        sys.stdout.buffer.flush()
        if json_file is not None:
            with output(json_file) as stream:
                write_json(stream, {"results": rows})
