"""`caffecompat data omniglot`."""

from __future__ import annotations

from pathlib import Path

import click

from caffecompat.cli.errors import tell

PATH = click.Path(path_type=Path)


@click.command("omniglot")
@click.argument("folder", type=PATH, metavar="FOLDER")
@click.argument("out", type=PATH, metavar="OUT_DB")
@click.option(
    "--part",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="images_background or images_evaluation.",
)
@click.option("--size", type=click.IntRange(1, 1000), default=28, show_default=True, help="Pixels of a side.")
@click.option("--no-rotations", is_flag=True, help="Leave out characters turned by 90, 180 and 270 degrees.")
@click.option("--seed", type=int, default=1, show_default=True, help="What the order of the records comes from.")
def command(folder: Path, out: Path, part: str, size: int, no_rotations: bool, seed: int) -> None:
    """Make the database OUT_DB, an LMDB of grey Datums, of a part of Omniglot.

    FOLDER has images_background and images_evaluation, as they are unpacked. Each character is a class, and turned by
    90, 180 and 270 degrees three more. Records are in random order.
    """
    from caffecompat.cli.progress import Progress
    from caffecompat.data.databases import LmdbWriter
    from caffecompat.data.draws import Draws
    from caffecompat.data.lmdb_writer import record_key
    from caffecompat.data.omniglot import PARTS, characters, datums

    rotations = 1 if no_rotations else 4
    classes = characters(folder / PARTS[part])
    jobs = [(path, number * rotations) for number, (_, paths) in enumerate(classes) for path in paths]
    order = Draws(seed).shuffled(len(jobs) * rotations)
    with LmdbWriter(out) as writer, Progress(len(jobs), "drawings") as progress:
        for number, (path, label) in enumerate(jobs):
            for turn, datum in enumerate(datums(path, label, size, rotations)):
                writer.put(record_key(order[number * rotations + turn], path.name), datum)
            progress.add()
    tell(f"wrote {out}: {len(order):,} records of {len(classes) * rotations:,} classes")
