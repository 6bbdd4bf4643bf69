"""`caffecompat data voc`."""

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
    stated_classes,
)
from caffecompat.cli.errors import tell
from caffecompat.errors import FormatError

if TYPE_CHECKING:
    from caffecompat.data.annoset.dataset import Split


@click.command("voc", cls=CaffeCommand)
@click.argument("devkits", type=PATH, nargs=-1, required=True, metavar="DEVKIT...")
@folder_options
@click.option("--years", metavar="2007,2012", help="The years to take; all that are there if not given.")
@click.option("--splits", metavar="A,B", help="The lists of ImageSets/Main to take.  [default: trainval,test]")
@layout_options
@class_options
@click.option(
    "--xml-rules",
    type=click.Choice(["original", "meant"]),
    default="meant",
    show_default=True,
    help="meant reads corners that are no whole numbers, and `difficult` wherever it stands; original reads such "
    "corners as 0, and heeds `difficult` only before `bndbox`, as convert_annoset does.",
)
@conversion_options(encode_type="jpg")
def command(
    devkits: tuple[Path, ...],
    out: Path,
    shuffle: bool | None,
    years: str | None,
    splits: str | None,
    name: str | None,
    layout: str,
    classes: str | None,
    label_map_file: Path | None,
    xml_rules: str,
    settings: Settings,
) -> None:
    """Make SSD's databases of PASCAL VOC: in DIR the LMDBs, the lists, the sizes of images and the label map.

    DEVKIT is a VOCdevkit with its VOC2007 and VOC2012, one of these, or a folder made like it. As SSD's authors do it,
    the years of a split come one after the other, training splits in random order, and 2012 has no test.
    """
    from caffecompat.data.annoset.class_map import voc_classes
    from caffecompat.data.annoset.dataset import Layout
    from caffecompat.data.annoset.voc import chosen_years, data_set_name, find_voc, voc_split
    from caffecompat.data.annoset.voc_xml import read_voc_xml

    folders = chosen_years(find_voc(devkits), [year.strip() for year in years.split(",")] if years else [])
    given = stated_classes(classes, label_map_file)
    called = checked_name(name or data_set_name(folders))
    found: list[Split] = []
    for split_name in (splits or "trainval,test").split(","):
        split, notes = voc_split(folders, checked_name(split_name.strip()))
        if split is None and (splits or not found):
            hint = "--splits names lists of ImageSets/Main"
            raise FormatError(notes[0] if notes else f"there is no split {split_name}", hint=hint)
        for note in notes:
            tell(note)
        if split is not None:
            found.append(split)
    make_dataset(
        out,
        Layout(called, layout == "caffe", "labelmap_voc.prototxt"),
        found,
        given or voc_classes(),
        settings,
        shuffle=shuffle,
        read_marks=partial(read_voc_xml, rules="meant" if xml_rules == "meant" else "original"),
        more=xml_rules,
    )
