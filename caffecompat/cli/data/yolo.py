"""`caffecompat data yolo`."""

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
from caffecompat.errors import UsageError, quoted


@click.command("yolo", cls=CaffeCommand)
@click.argument("data", type=PATH, metavar="DATA")
@folder_options
@split_option("train")
@layout_options
@class_options
@conversion_options()
def command(
    data: Path,
    out: Path,
    shuffle: bool | None,
    split: str,
    name: str | None,
    layout: str,
    classes: str | None,
    label_map_file: Path | None,
    settings: Settings,
) -> None:
    """Make SSD's databases of a data set of YOLO: in DIR the LMDBs, the lists, the sizes and the label map.

    DATA is a data.yaml or a folder: with images/train, images/val or train/images and so on, each a split, or with
    images alone. Texts of boxes lie in labels/ beside images/, or beside the images; --classes names the classes if
    there is no data.yaml and no classes.txt.
    """
    from dataclasses import replace

    from caffecompat.data.annoset.class_map import class_map
    from caffecompat.data.annoset.dataset import Layout
    from caffecompat.data.annoset.yolo import find_yolo, read_yolo_text, yolo_labels

    found = find_yolo(data, checked_name(split))
    given = stated_classes(classes, label_map_file)
    names = list(found.names) or ([name for name, label in given.labels.items() if label] if given else [])
    labels = yolo_labels(names)
    if given is not None:
        lacking = [name for name in names if name not in given.labels]
        if lacking and not settings.skip_unknown:
            raise UsageError(f"the classes given lack {quoted(lacking[0])}", hint="or give --skip-unknown")
        labels = {key: given.labels[names[int(key)]] for key in labels if names[int(key)] in given.labels}
    map_of_classes = given or class_map((name, name) for name in names)
    make_dataset(
        out,
        Layout(checked_name(name) if name else data.stem if layout == "caffe" else "", layout == "caffe"),
        found.splits,
        map_of_classes,
        settings,
        shuffle=shuffle,
        read_marks=read_yolo_text,
        rules=replace(settings.rules(map_of_classes), classes=labels),
    )
