"""`caffecompat evaluate segmentation`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from caffecompat.cli.options import net_options, preprocessing_options, python_option
from caffecompat.cli.predict._crf_options import crf_of, crf_options
from caffecompat.cli.predict._options import running_options
from caffecompat.errors import UsageError, context, shown

if TYPE_CHECKING:
    from caffecompat.data.segmentation.confusion import Confusion
    from caffecompat.data.segmentation.label_maps import ColourTable

PATH = click.Path(path_type=Path)
COLUMNS = ("class", "name", "pixels", "found", "accuracy", "IoU")
# What needs no net.
_WITHOUT = frozenset(
    ("files", "net", "truth", "image_set", "root", "classes", "labels", "ignore", "palette", "json_file", "plugin")
)


@click.command("segmentation")
@click.argument("files", type=PATH, metavar="DIR|LIST|FILE")
@click.option("--truth", type=PATH, required=True, metavar="DIR|LIST|FILE", help="The label maps of the data set.")
@click.option("--image-set", type=PATH, metavar="FILE", help="A list of the names that count.")
@click.option("--root", type=PATH, metavar="FOLDER", help="Where names in lists start; else the working directory.")
@click.option("--classes", type=click.IntRange(1, 256), metavar="N", help="How many classes there are.")
@click.option(
    "--ignore",
    type=click.IntRange(0, 255),
    multiple=True,
    default=(255,),
    show_default="255",
    metavar="LABEL",
    help="A label whose pixels do not count; may be given again.",
)
@click.option(
    "--palette", metavar="voc|FILE.json", help="Whose colours label maps in colours have: VOC's, or a dilation net's."
)
@click.option("--json", "json_file", type=PATH, metavar="FILE", help="Write the results here as well.")
@click.option(
    "--net", type=PATH, metavar="NET.prototxt", help="Pass pictures through this net, and score what it says."
)
@click.option("-w", "--weights", type=PATH, metavar="FILE", help="Its weights: .caffemodel or .caffemodel.h5.")
@click.option("--blob", metavar="NAME", help="The output that holds the scores.")
@click.option("--zoom", type=click.IntRange(1), help="How many input pixels an output pixel stands for, each way.")
@click.option("--label-margin", type=click.IntRange(0), help="How many input pixels on each side have no output.")
@crf_options
@running_options
@net_options
@preprocessing_options
@python_option
def command(
    files: Path,
    *,
    truth: Path,
    image_set: Path | None,
    root: Path | None,
    classes: int | None,
    ignore: tuple[int, ...],
    palette: str | None,
    json_file: Path | None,
    net: Path | None,
    weights: Path | None,
    blob: str | None,
    zoom: int | None,
    label_margin: int | None,
    **options: Any,
) -> None:
    """Score label maps against those of a data set, pixel by pixel: intersection over union of each class.

    The first argument is a folder, or a list, of label maps, those that `segment --save-images` writes among them; with
    --net it is of pictures, which pass as `segment` passes them, in tiles where the net's output lacks a margin. Two
    lists belong together line by line, else files of one name do. Label maps are grey or indexed PNGs of class numbers,
    or, with --palette, in colours.
    """
    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.progress import Progress
    from caffecompat.data.labels import read_labels
    from caffecompat.data.means import read_palette
    from caffecompat.data.segmentation.confusion import Confusion
    from caffecompat.data.segmentation.label_maps import ColourTable, read_label_map
    from caffecompat.data.segmentation.pairing import paired

    if net is None:
        _refuse_net_options(click.get_current_context())
    names = read_labels(options["labels"]) if options["labels"] is not None else ()
    colours = None if palette is None else ColourTable.of_palette(read_palette(palette))
    pairs = paired(files, truth, image_set, root)
    keep_inputs(json_file, [net, weights, *(file for pair in pairs for file in pair)])
    pictures = [file for file, _ in pairs]
    if net is None:
        known, found = classes or len(names), _read(pictures, colours)
    else:
        made = _Made(net, weights, blob, zoom, label_margin, options)
        known, found = classes or made.classes, made.label(pictures)
        names = names or made.names
    confusion = Confusion(known or 256, ignore)
    with Progress(len(pairs), "pictures") as progress:
        for (file, label_file), labels in zip(pairs, found, strict=True):
            true = read_label_map(label_file, colours)
            with context(file=file, hint=f"its label map is {label_file}"):
                confusion.add(labels, true)
            progress.add()
    _tell(confusion if known else confusion.trimmed(), names, len(pairs), json_file)


def _refuse_net_options(given: click.Context) -> None:
    """Options that say how a net is run need one.

    Raises:
        UsageError: one was given.
    """
    for param in given.command.params:
        stated = given.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if stated and param.name not in _WITHOUT:
            raise UsageError(f"{param.opts[-1]} goes with --net")


def _read(files: Sequence[Path], colours: ColourTable | None) -> Iterator[Any]:
    from caffecompat.data.segmentation.label_maps import read_label_map

    return (read_label_map(file, colours) for file in files)


class _Made:
    """What a net says of pictures.

    Attributes:
        classes: how many it knows.
        names: what they are called, as far as it is known.
    """

    def __init__(
        self,
        net: Path,
        weights: Path | None,
        blob: str | None,
        zoom: int | None,
        margin: int | None,
        options: dict[str, Any],
    ) -> None:
        import cv2

        from caffecompat.cli.predict._classify import scores_blob
        from caffecompat.cli.predict._segment import Segmenter
        from caffecompat.cli.predict._session import open_session

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        batch, crf = options.pop("batch"), crf_of(options)
        session = open_session(net, weights, **options)
        chosen = scores_blob(session, blob)
        self._segmenter = Segmenter(session, chosen, zoom, margin, batch, crf)
        self.classes = session.net.blob_shapes[session.net.graph.last[chosen]][1]
        self.names = session.preprocessing.labels

    def label(self, pictures: Sequence[Path]) -> Iterator[Any]:
        """The classes of the pixels of each picture."""
        from caffecompat.data.images import read_image

        return (self._segmenter.label(read_image(path)) for path in pictures)


def _tell(confusion: Confusion, names: Sequence[str], pictures: int, json_file: Path | None) -> None:
    """The table and the means on stdout, and all of it in a file."""
    import sys

    import numpy as np

    from caffecompat.cli.predict._writers import output, write_json, write_rows

    measures = confusion.measures()
    rows: list[dict[str, Any]] = [
        {
            "class": label,
            "name": names[label] if label < len(names) else "",
            "pixels": int(confusion.true[label]),
            "found": int(confusion.found[label]),
            "accuracy": float(measures.accuracy[label]),
            "IoU": float(measures.iou[label]),
        }
        for label in range(confusion.classes)
    ]
    table = [
        {name: "-" if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        for row in rows
    ]
    write_rows(sys.stdout.buffer, [{**row, "name": shown(row["name"])} for row in table], "table", COLUMNS)
    sys.stdout.buffer.flush()
    means = {
        "mean IoU": measures.mean_iou,
        "mean accuracy": measures.mean_accuracy,
        "pixel accuracy": measures.pixel_accuracy,
        "frequency weighted IoU": measures.weighted_iou,
    }
    for name, value in means.items():
        note = f" ({pictures} pictures, {int(confusion.counts.sum()):,} pixels)" if name == "mean IoU" else ""
        click.echo(f"{name} = {value:.6g}{note}")
    if json_file is not None:
        whole = {name.replace(" ", "_"): value for name, value in means.items()}
        with output(json_file) as stream:
            write_json(stream, {"pictures": pictures, **whole, "classes": rows, "confusion": confusion.counts.tolist()})
