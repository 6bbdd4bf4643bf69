"""`caffecompat evaluate detections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.errors import shown

if TYPE_CHECKING:
    from caffecompat.detection.ground_truth import Found, Truth

VOC_COLUMNS = ("class", "boxes", "detections", "AP")
COCO_COLUMNS = (*VOC_COLUMNS, "AP50", "AP75")


@click.command("detections")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE|DIR...")
@click.option(
    "--annotations",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="VOC's folder (VOC2007), one of VOC's or ILSVRC's XML files, or COCO's instances_*.json.",
)
@click.option(
    "--image-set",
    metavar="NAME|FILE",
    help="The images that were tested: a list of ImageSets/Main, or a file of names or ids.",
)
@click.option(
    "--label-map",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What the labels of results are called, where they are numbers.",
)
@click.option(
    "--metric",
    type=click.Choice(["voc", "coco", "ilsvrc"]),
    help="Whose rules count; else those of the annotations, and ILSVRC's for its results.",
)
@click.option(
    "--ap-version",
    type=click.Choice(["11point", "MaxIntegral", "Integral"]),
    help="Of VOC and ILSVRC: how average precision is computed; else 11point for VOC2007, or MaxIntegral.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Of VOC and ILSVRC: the least overlap of what is found.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the results here as well."
)
def command(
    results: tuple[Path, ...],
    annotations: Path,
    image_set: str | None,
    label_map: Path | None,
    metric: str | None,
    ap_version: str | None,
    overlap: float,
    json_file: Path | None,
) -> None:
    """Score files of detections: those of a DetectionOutput layer (save_output_param), and those of `detect`.

    FILEs are VOC's (comp4_det_test_CLASS.txt, one for each class), COCO's (.json), ILSVRC's (.txt with labels), or
    those of `detect` (.json, .csv, .jsonl); a DIR means all in it. VOC's and ILSVRC's rules are those of their devkits,
    COCO's those of pycocotools.
    """
    import sys

    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.predict._writers import output, write_json, write_rows
    from caffecompat.cli.progress import Progress
    from caffecompat.data.result_reading import find_results, read_results
    from caffecompat.data.truth_reading import read_truth
    from caffecompat.detection.ground_truth import aligned

    files = find_results(results)
    keep_inputs(json_file, [*files, annotations, label_map])
    with Progress(None, "annotations") as progress:
        truth = read_truth(annotations, image_set, progress.add)
    read, kind = read_results(files, truth.class_names)
    found, notes = aligned(read, truth, _names(label_map))
    for note in notes:
        tell(f"warning: {note}")
    chosen = metric or ("coco" if truth.areas is not None else "ilsvrc" if kind == "ILSVRC" else "voc")
    if chosen == "coco":
        rows, lines, whole = _coco(found, truth)
    else:
        rows, lines, whole = _voc(found, truth, chosen, ap_version or _usual_version(annotations), overlap)
    columns = COCO_COLUMNS if chosen == "coco" else VOC_COLUMNS
    table = [{name: "-" if value is None else value for name, value in row.items()} for row in rows]
    write_rows(sys.stdout.buffer, [{**row, "class": shown(row["class"])} for row in table], "table", columns)
    sys.stdout.buffer.flush()
    for line in lines:
        click.echo(line)
    if json_file is not None:
        content = {"metric": chosen, "images": len(truth.images), "detections": len(found), **whole, "classes": rows}
        with output(json_file) as stream:
            write_json(stream, content)


def _names(label_map: Path | None) -> Mapping[str, Sequence[str]]:
    """What a label map calls the labels."""
    from caffecompat.detection.label_map import read_label_map

    if label_map is None:
        return {}
    read = read_label_map(label_map)
    return {str(label): (name, read.display_names[label]) for label, name in read.names.items()}


def _usual_version(annotations: Path) -> str:
    """What the devkit of that year computes."""
    from caffecompat.data.truth_reading import annotated_folder

    if not annotations.is_dir():
        return "MaxIntegral"
    return "11point" if annotated_folder(annotations).resolve().parent.name == "VOC2007" else "MaxIntegral"


Scored = tuple[list[dict[str, Any]], list[str], dict[str, Any]]


def _voc(found: Found, truth: Truth, metric: str, version: str, overlap: float) -> Scored:
    from caffecompat.detection.voc_evaluation import evaluate, mean_average_precision

    scored = evaluate(found, truth, metric="ilsvrc" if metric == "ilsvrc" else "voc", version=version, overlap=overlap)
    rows = [
        {"class": one.name, "boxes": one.boxes, "detections": one.detections, "AP": one.average_precision}
        for one in scored
    ]
    without = [one.name for one in scored if not one.detections and one.boxes]
    if without:
        tell(f"warning: no detections of {len(without)} classes, such as {shown(without[0])}: their AP is 0")
    mean = mean_average_precision(scored)
    line = f"mAP = {mean:.6g} ({metric.upper()}, {version}, overlap {overlap:g}, {len(truth.images)} images)"
    return rows, [line], {"ap_version": version, "overlap": overlap, "mAP": mean}


def _coco(found: Found, truth: Truth) -> Scored:
    from caffecompat.cli.progress import Progress
    from caffecompat.detection.coco_evaluation import SUMMARY, evaluate, steps

    with Progress(steps(truth), "comparisons") as progress:
        result = evaluate(found, truth, progress.add)
    rows = [
        {
            "class": one.name,
            "boxes": one.boxes,
            "detections": one.detections,
            "AP": one.ap,
            "AP50": one.ap50,
            "AP75": one.ap75,
        }
        for one in result.classes
    ]
    lines = []
    for name, meaning in SUMMARY:
        value = result.summary[name]
        lines.append(f"{name} = {'none' if value is None else f'{value:.6g}'} ({meaning})")
    return rows, lines, {"summary": result.summary}
