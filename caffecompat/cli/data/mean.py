"""`caffecompat data mean`."""

from __future__ import annotations

from pathlib import Path

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.errors import tell
from caffecompat.cli.files import tell_written
from caffecompat.cli.progress import Progress

PATH = click.Path(path_type=Path)


@click.command("mean", cls=CaffeCommand)
@click.argument("database", type=PATH, metavar="DB")
@click.argument("out", type=PATH, required=False, metavar="[OUT.binaryproto]")
@click.option(
    "--backend", type=click.Choice(["lmdb", "leveldb"]), help="What DB has to be; without it, what it is is found."
)
@click.option("--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads decode.")
def command(database: Path, out: Path | None, backend: str | None, workers: int) -> None:
    """Compute the mean of all records of DB (compute_image_mean).

    The mean of each channel goes to stdout, the mean image to OUT: a .binaryproto as Caffe's mean_file wants it, or a
    .npy. All records must have one size; compressed ones are decoded.
    """
    from functools import partial

    from caffecompat.cli.data._opening import opened
    from caffecompat.data.dataset_mean import MeanOfRecords, values_of
    from caffecompat.data.in_order import in_order
    from caffecompat.errors import context
    from caffecompat.formats import write_mean

    total = MeanOfRecords()
    with opened(database, backend) as source, Progress(source.count(), "records") as progress:
        for key, values in in_order(partial(values_of, database=source), source.records(), workers):
            with context(file=database):
                total.add(key, values)
            progress.add()
    mean = total.mean()
    tell(f"{total.count:,} records of {mean.shape[0]} channels, {mean.shape[1]}x{mean.shape[2]}")
    if out is not None:
        write_mean(out, mean)
        tell_written(out)
    for channel, value in enumerate(mean.mean(axis=(1, 2))):
        click.echo(f"mean_value channel [{channel}]: {value:.6g}")
