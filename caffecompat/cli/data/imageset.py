"""`caffecompat data imageset`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.errors import tell
from caffecompat.cli.progress import Progress
from caffecompat.errors import CaffeCompatError, FormatError, UsageError, shown

if TYPE_CHECKING:
    from caffecompat.data.databases import LmdbWriter
    from caffecompat.data.imageset import DatumForm, Sizes
    from caffecompat.data.lists import FileList
    from caffecompat.graph.spec import Dialect

PATH = click.Path(path_type=Path)


@click.command("imageset", cls=CaffeCommand)
@click.argument("list_file", type=PATH, metavar="LISTFILE")
@click.argument("out", type=PATH, metavar="OUT_DB")
@click.option("--root", default="", metavar="FOLDER", help="The folder that the names in the list start from.")
@click.option("--gray", is_flag=True, help="Read images as grey ones, of one channel.")
@click.option("--shuffle", is_flag=True, help="Put the images in random order.")
@click.option("--seed", type=int, default=1, show_default=True, help="What --shuffle's order comes from.")
@click.option("--backend", type=click.Choice(["lmdb"]), default="lmdb", show_default=True, help="What is written.")
@click.option("--resize-width", type=click.IntRange(0, 65535), default=0, metavar="N")
@click.option(
    "--resize-height",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Resize images to this width and height; without both they stay as they are.",
)
@click.option("--check-size", is_flag=True, help="Stop at an image of another size than the first.")
@click.option("--encoded", is_flag=True, help="Keep images compressed: the bytes of the files.")
@click.option(
    "--encode-type",
    default="",
    metavar="jpg|png",
    help="Keep images compressed in this format; files of another one are compressed anew.",
)
@click.option(
    "--dialect",
    type=click.Choice(["ssd", "bvlc"]),
    default="ssd",
    show_default=True,
    help="ssd states the sizes of compressed images in their records, bvlc does not.",
)
@click.option("--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads read.")
@click.option("--strict", is_flag=True, help="Stop at an image that cannot be read; else it is told and passed over.")
def command(
    list_file: Path,
    out: Path,
    root: str,
    shuffle: bool,
    seed: int,
    backend: str,
    workers: int,
    strict: bool,
    check_size: bool,
    resize_width: int,
    resize_height: int,
    gray: bool,
    encoded: bool,
    encode_type: str,
    dialect: str,
) -> None:
    """Make the database OUT_DB, an LMDB of Datums, of the images that LISTFILE names (convert_imageset).

    Each line of LISTFILE is the name of an image file, a space, and its label, a whole number. Options may be spelled
    as the original spells them: `-resize_width 256`.
    """
    import cv2

    from caffecompat.data.databases import LmdbWriter
    from caffecompat.data.draws import Draws
    from caffecompat.data.imageset import DatumForm
    from caffecompat.data.lists import read_labelled
    from caffecompat.graph.dialects import DIALECTS

    if bool(resize_width) != bool(resize_height):
        raise UsageError("--resize_width and --resize_height belong together")
    size = (resize_height, resize_width) if resize_width else None
    states_sizes = DIALECTS[cast("Dialect", dialect)].encoded_datums_state_sizes
    form = DatumForm(gray, size, encoded, encode_type, states_sizes)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    files, labels, _ = read_labelled(list_file)
    order = Draws(seed).shuffled(len(files)) if shuffle else list(range(len(files)))
    job = _Job(root, form, files, labels, order, workers)
    with LmdbWriter(out) as writer:
        bad = job.write(writer, strict, check_size)
    written = len(files) - bad
    if bad:
        tell(f"warning: {bad} of {len(files)} images could not be read and are not in {out}")
    tell(f"wrote {out}: {written:,} records")


class _Job:
    """The images of a list, to be written.

    Args:
        root: the folder that names start from, or "".
        form: what becomes of an image.
        files: the names.
        labels: their labels.
        order: which item comes at which place.
        workers: how many threads read.
    """

    def __init__(
        self, root: str, form: DatumForm, files: FileList, labels: Sequence[int], order: Sequence[int], workers: int
    ) -> None:
        self._root = root
        self._form = form
        self._files = files
        self._labels = labels
        self._order = order
        self._workers = workers

    def write(self, writer: LmdbWriter, strict: bool, check_size: bool) -> int:
        """Write all records; how many images could not be read.

        Raises:
            FormatError: no image could be read; with `strict`, one could not; with `check_size`, sizes differ.
        """
        from caffecompat.data.lmdb_writer import record_key

        first: Sizes | None = None
        bad = 0
        with Progress(len(self._order), "images") as progress:
            for place, (item, made) in enumerate(self._datums()):
                progress.add()
                if isinstance(made, FormatError):
                    if strict:
                        raise made
                    bad += 1
                    progress.line(f"passed over: {made}")
                    continue
                data, sizes = made
                first = first or sizes
                if check_size and sizes != first:
                    raise self._fault(item, f"expected an image of {_by(first)} as the first, got {_by(sizes)}")
                writer.put(record_key(place, self._files.names[item]), data)
        if first is None:
            raise FormatError(f"none of its {bad} images could be read", file=self._files.path, hint="see --root")
        return bad

    def _datums(self) -> Iterator[tuple[int, tuple[bytes, Sizes] | FormatError]]:
        from caffecompat.data.in_order import in_order

        return in_order(self._read, self._order, self._workers)

    def _read(self, item: int) -> tuple[int, tuple[bytes, Sizes] | FormatError]:
        """An item, and its record or what is wrong with it."""
        from caffecompat.data.imageset import read_datum

        name = self._files.names[item]
        path = f"{self._root.rstrip('/') or '/'}/{name}" if self._root else name
        try:
            datum, sizes = read_datum(path, self._labels[item], self._form)
        except FormatError as error:
            return item, error
        return item, (datum.SerializeToString(), sizes)

    def _fault(self, item: int, message: str) -> CaffeCompatError:
        return FormatError(
            f"{shown(self._files.names[item])}: {message}", file=self._files.path, line=self._files.lines[item]
        )


def _by(sizes: Sizes) -> str:
    channels, height, width = sizes
    return f"{width}x{height} pixels and {channels} channels"
