"""`caffecompat data annoset`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.data._conversion import PATH, Report, Settings, conversion_options, fill, made, making
from caffecompat.cli.errors import tell
from caffecompat.errors import UsageError

if TYPE_CHECKING:
    from caffecompat.data.annoset.class_map import ClassMap
    from caffecompat.data.annoset.record import ReadMarks


@click.command("annoset", cls=CaffeCommand)
@click.argument("root", metavar="ROOT")
@click.argument("list_file", type=PATH, metavar="LISTFILE")
@click.argument("out", type=PATH, metavar="OUT_DB")
@click.option(
    "--anno-type",
    type=click.Choice(["classification", "detection"]),
    default="classification",
    show_default=True,
    help="What the list names beside each image: its label, or the file of its boxes.",
)
@click.option(
    "--label-type",
    type=click.Choice(["xml", "json", "txt"]),
    default="xml",
    show_default=True,
    help="What files of boxes are.",
)
@click.option("--label-map-file", type=PATH, metavar="FILE", help="The label map, a prototxt; detection needs one.")
@click.option("--check-label", is_flag=True, help="Stop if a name stands twice in the label map.")
@click.option("--encoded", is_flag=True, help="Keep images compressed: the bytes of the files.")
@click.option("--shuffle", is_flag=True, help="Put the images in random order.")
@click.option("--backend", type=click.Choice(["lmdb"]), default="lmdb", show_default=True, help="What is written.")
@click.option(
    "--xml-rules",
    type=click.Choice(["original", "meant"]),
    default="original",
    show_default=True,
    help="original reads corners that are no whole numbers as 0, and heeds `difficult` only before `bndbox`; meant "
    "reads both as they are meant. Such boxes are told.",
)
@conversion_options()
def command(
    root: str,
    list_file: Path,
    out: Path,
    anno_type: str,
    label_type: str,
    label_map_file: Path | None,
    check_label: bool,
    encoded: bool,
    shuffle: bool,
    backend: str,
    xml_rules: str,
    settings: Settings,
) -> None:
    """Make the database OUT_DB, an LMDB of AnnotatedDatums, of the images that LISTFILE names (convert_annoset).

    Names start from the folder ROOT. Each line of LISTFILE is an image and its label, or with --anno_type detection an
    image and the file of its boxes: VOC's xml, json of COCO split up by image, or txt with lines of `label xmin ymin
    xmax ymax`. Options may be spelled as the original spells them: `-anno_type detection`.
    """
    from caffecompat.data.annoset.conversion import job_of
    from caffecompat.data.annoset.dataset import Split
    from caffecompat.data.annoset.lists import read_classification_list, read_detection_list
    from caffecompat.data.annoset.record import RecordMaker

    detection = anno_type == "detection"
    classes = _classes(label_map_file, check_label, detection and label_type != "txt")
    form, rules = settings.form(encoded), settings.rules(classes)
    split = Split("", (read_detection_list if detection else read_classification_list)(list_file, root))
    if shuffle:
        split = split.shuffled(settings.seed)
    make = RecordMaker(form, rules, _reader(label_type, xml_rules))
    report = Report(settings)
    with making(out, settings) as folder:
        job = job_of(split.entries, form, rules, label_type, xml_rules)
        outcomes = fill(folder, "", split.entries, make, job, report, settings)
        folder.finish()
    report.finish()
    tell(made(str(out), outcomes))


def _classes(path: Path | None, check: bool, needed: bool) -> ClassMap:
    from caffecompat.data.annoset.class_map import ClassMap, read_class_map

    if path is not None:
        return read_class_map(path, check)
    if needed:
        raise UsageError(
            "--anno_type detection needs --label_map_file", hint="it gives the names of classes their labels"
        )
    return ClassMap()


def _reader(label_type: str, xml_rules: str) -> ReadMarks:
    from caffecompat.data.annoset.coco_json import read_coco_json
    from caffecompat.data.annoset.label_text import read_label_text
    from caffecompat.data.annoset.voc_xml import read_voc_xml

    readers = {"json": read_coco_json, "txt": read_label_text}
    return readers.get(label_type) or partial(read_voc_xml, rules="meant" if xml_rules == "meant" else "original")
