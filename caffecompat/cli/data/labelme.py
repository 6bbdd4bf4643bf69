"""`caffecompat data labelme`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
from caffecompat.cli.progress import Progress

if TYPE_CHECKING:
    from caffecompat.data.annoset.record import Entry


@click.command("labelme", cls=CaffeCommand)
@click.argument("folder", type=PATH, metavar="FOLDER")
@folder_options
@split_option("trainval")
@layout_options
@class_options
@conversion_options()
def command(
    folder: Path,
    out: Path,
    shuffle: bool | None,
    split: str,
    name: str | None,
    layout: str,
    classes: str | None,
    label_map_file: Path | None,
    settings: Settings,
) -> None:
    """Make a database of annotations of LabelMe: in DIR the LMDB, the list, the sizes and the label map.

    FOLDER is searched for LabelMe's .json files, and the .xml of its older tool. Rectangles, polygons and circles
    become boxes. Without --classes all labels are classes, in alphabetical order.
    """
    from caffecompat.data.annoset.class_map import named_classes
    from caffecompat.data.annoset.dataset import Layout, Split, names_of
    from caffecompat.data.annoset.labelme import find_labelme, read_labelme
    from caffecompat.data.in_order import in_order

    paths = find_labelme(folder)
    entries: list[Entry] = []
    with Progress(len(paths), "annotations") as progress:
        for entry in in_order(partial(read_labelme, folder=folder), paths, settings.workers):
            entries.append(entry)
            progress.add()
    given = stated_classes(classes, label_map_file)
    make_dataset(
        out,
        Layout(checked_name(name) if name else folder.resolve().name if layout == "caffe" else "", layout == "caffe"),
        [Split(split, entries)],
        given or named_classes(names_of(entries)),
        settings,
        shuffle=shuffle,
    )
