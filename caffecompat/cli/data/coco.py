"""`caffecompat data coco`."""

from __future__ import annotations

from collections.abc import Sequence
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
    stated_classes,
)
from caffecompat.cli.progress import Progress
from caffecompat.errors import FormatError, UsageError, quoted

if TYPE_CHECKING:
    from caffecompat.data.annoset.coco import CocoFile
    from caffecompat.data.annoset.dataset import Split
    from caffecompat.data.annoset.record import Entry


@click.command("coco", cls=CaffeCommand)
@click.argument("annotations", type=PATH, nargs=-1, required=True, metavar="ANNOTATIONS.json...")
@click.argument("images", type=PATH, metavar="IMAGES")
@folder_options
@click.option(
    "--split",
    "splits",
    multiple=True,
    metavar="NAME=LIST[,LIST]",
    help="Make a database of the images that texts list, by id or by file name. Without it all images make one, called "
    "as the annotations.",
)
@layout_options
@class_options
@conversion_options(encode_type="jpg")
def command(
    annotations: tuple[Path, ...],
    images: Path,
    out: Path,
    shuffle: bool | None,
    splits: tuple[str, ...],
    name: str | None,
    layout: str,
    classes: str | None,
    label_map_file: Path | None,
    settings: Settings,
) -> None:
    """Make SSD's databases of MS COCO: in DIR the LMDBs, the lists, the sizes of images and the label map.

    ANNOTATIONS.json are COCO's instances_*.json, or image_info_*.json for a test; IMAGES is the folder of the images,
    or of the folders train2014, val2014 and so on. The classes are the categories in the order of their ids, for
    COCO's own the 80 labels that SSD's authors gave them; the sizes name images by id, as COCO's results do.
    """
    from caffecompat.data.annoset.class_map import coco_classes
    from caffecompat.data.annoset.coco import coco_entries, read_coco
    from caffecompat.data.annoset.dataset import Layout

    called = checked_name(name or "coco")
    files = []
    with Progress(len(annotations), "files of annotations") as progress:
        for path in annotations:
            files.append(read_coco(path))
            progress.add()
    given = stated_classes(classes, label_map_file) or coco_classes(_categories(files))
    entries = [(file, coco_entries(file, images, given)) for file in files]
    make_dataset(
        out,
        Layout(called, layout == "caffe", "labelmap_coco.prototxt"),
        _splits(entries, splits),
        given,
        settings,
        shuffle=shuffle,
    )


def _categories(files: Sequence[CocoFile]) -> dict[int | str, str]:
    """The categories of all files."""
    found: dict[int | str, str] = {}
    for file in files:
        for key, name in file.categories.items():
            if found.setdefault(key, name) != name:
                message = f"category {key} is {quoted(name)} here, and {quoted(found[key])} in another file"
                raise FormatError(message, file=file.path)
    return found


def _splits(files: Sequence[tuple[CocoFile, Sequence[Entry]]], wanted: Sequence[str]) -> list[Split]:
    from caffecompat.data.annoset.coco import chosen
    from caffecompat.data.annoset.dataset import Split

    everything = [entry for _, entries in files for entry in entries]
    if not wanted:
        names = [file.path.stem.removeprefix("instances_").removeprefix("image_info_") for file, _ in files]
        return [Split("-".join(names), everything)]
    found: dict[str, Split] = {}
    for value in wanted:
        name, _, lists = value.partition("=")
        paths = [Path(path) for path in lists.split(",") if path]
        if not paths or name in found:
            raise UsageError(f"expected --split NAME=LIST, each name once, got {quoted(value)}")
        # The authors' prototxts name the sizes of minival after its list, minival2014.
        found[name] = Split(name, chosen(everything, paths), paths[0].stem if len(paths) == 1 else "")
    return list(found.values())
