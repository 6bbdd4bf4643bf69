"""`caffecompat data csv`."""

from __future__ import annotations

from pathlib import Path

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.data._conversion import PATH, Settings, conversion_options
from caffecompat.cli.data._dataset import (
    checked_name,
    class_options,
    folder_options,
    layout_options,
    make_dataset,
    split_option,
    stated_classes,
)
from caffecompat.errors import UsageError


@click.command("csv", cls=CaffeCommand)
@click.argument("table", type=PATH, metavar="TABLE.csv")
@click.argument("images", type=PATH, metavar="IMAGES")
@folder_options
@click.option(
    "--columns",
    metavar="A,B,C,D,E,F",
    help="The columns of image, xmin, ymin, xmax, ymax and label, by name, or by number from 1 if the table has no "
    "names; else they are known by usual names, or stand in this order.",
)
@click.option("--header/--no-header", default=None, help="Whether the first row has names; else it is seen.")
@click.option("--delimiter", default="", metavar="SIGN", help="What stands between values; else , ; or a tab is seen.")
@click.option("--fractions", is_flag=True, help="Corners are fractions of the image's size, not pixels.")
@split_option("trainval")
@layout_options
@class_options
@conversion_options()
def command(
    table: Path,
    images: Path,
    out: Path,
    shuffle: bool | None,
    columns: str | None,
    header: bool | None,
    delimiter: str,
    fractions: bool,
    split: str,
    name: str | None,
    layout: str,
    classes: str | None,
    label_map_file: Path | None,
    settings: Settings,
) -> None:
    """Make a database of the boxes in a table: in DIR the LMDB, the list, the sizes and the label map.

    TABLE.csv has a row for each box; names of images start from the folder IMAGES. A row with nothing but an image
    says that it has no boxes. A column `difficult` marks boxes that are. Without --classes all labels are classes, in
    alphabetical order.
    """
    from caffecompat.data.annoset.class_map import named_classes
    from caffecompat.data.annoset.csv_table import TableForm, read_table
    from caffecompat.data.annoset.dataset import Layout, Split, names_of

    if len(delimiter) > 1 and delimiter != "\\t":
        raise UsageError(f"expected one sign as --delimiter, got {delimiter!r}")
    named = [column.strip() for column in columns.split(",")] if columns else []
    form = TableForm(named, header, "\t" if delimiter == "\\t" else delimiter, fractions)
    entries = read_table(table, images, form)
    given = stated_classes(classes, label_map_file)
    make_dataset(
        out,
        Layout(checked_name(name) if name else table.stem if layout == "caffe" else "", layout == "caffe"),
        [Split(split, entries)],
        given or named_classes(names_of(entries)),
        settings,
        shuffle=shuffle,
    )
