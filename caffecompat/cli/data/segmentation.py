"""`caffecompat data segmentation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caffecompat.cli.data._conversion import PATH, SHOWN
from caffecompat.cli.errors import tell
from caffecompat.cli.progress import Progress
from caffecompat.errors import FormatError, UsageError, did_you_mean, quoted

if TYPE_CHECKING:
    from caffecompat.data.segmentation.importing import SplitImport
    from caffecompat.data.segmentation.layouts import SegmentationSet


@click.command("segmentation")
@click.argument("kind", type=click.Choice(["voc", "camvid", "kitti", "cityscapes"]))
@click.argument("folder", type=PATH, metavar="DIR")
@click.option("-o", "--out", type=PATH, required=True, metavar="DIR", help="The folder to make; none may be there yet.")
@click.option("--splits", metavar="A,B", help="The splits to take; all that are there if not given.")
@click.option("--label-folder", metavar="NAME", help="Of voc: where label maps are.  [default: SegmentationClass]")
@click.option("--coarse", is_flag=True, help="Of cityscapes: take the label maps of gtCoarse.")
@click.option("--ignore-unknown", is_flag=True, help="Of camvid and kitti: colours of no class become 255.")
@click.option("--relative", is_flag=True, help="List names without the folders, which image_dir and label_dir give.")
@click.option("--workers", type=click.IntRange(0, 256), default=2, show_default=True, help="How many threads work.")
@click.option("--strict", is_flag=True, help="Stop at the first bad file; else it is told and passed over.")
@click.option("--report", type=PATH, metavar="FILE", help="Write all bad files into a text, one in a line.")
def command(
    kind: str,
    folder: Path,
    out: Path,
    splits: str | None,
    label_folder: str | None,
    coarse: bool,
    ignore_unknown: bool,
    relative: bool,
    workers: int,
    strict: bool,
    report: Path | None,
) -> None:
    """Make the lists and label maps that ImageLabelData reads, of a published data set for segmentation.

    In the new folder, for each split, SPLIT_images.txt and SPLIT_labels.txt, the label maps as grey PNGs of class
    numbers (255: no class) named after their pictures, and classes.txt. The pictures stay where they are. Each pair is
    read: a picture or label map that is missing or damaged, or of another size than its fellow, is told and left out.
    """
    import cv2

    from caffecompat.data.annoset.unfinished import UnfinishedFolder
    from caffecompat.data.segmentation.importing import SplitImport
    from caffecompat.formats import atomic_write

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    root, final = folder.absolute(), out.absolute()
    found = _read(kind, root, label_folder, coarse, ignore_unknown)
    bad: list[FormatError] = []
    lines = []
    with UnfinishedFolder(out, anew=True) as making:
        for name in _chosen(found, splits, folder):
            split = SplitImport(name, making.hidden, final, root if relative else None)
            faults = _write(split, found, workers, strict)
            if not split.taken:
                first = f'no pair of the split "{name}" can be read; the first: {_line(faults[0])}'
                raise FormatError(first, file=folder, hint=faults[0].hint)
            for file, text in split.lists().items():
                making.write(file, text)
            bad += faults
            lines.append(f"wrote {out / name}_*.txt: {len(split.taken):,} pictures")
        making.write("classes.txt", "".join(f"{name}\n" for name in found.classes))
        making.finish()
    if bad:
        tell(f"warning: left out for bad files: {len(bad)} pictures")
    if report is not None:
        with atomic_write(report) as stream:
            stream.write("".join(f"{_line(fault)}\n" for fault in bad).encode("utf-8", "backslashreplace"))
    for line in lines:
        tell(line)
    if relative:
        click.echo(f'image_dir: "{root}/"  label_dir: "{final}/"')


def _read(kind: str, folder: Path, label_folder: str | None, coarse: bool, ignore_unknown: bool) -> SegmentationSet:
    """The data set.

    Raises:
        UsageError: an option that another kind has.
    """
    from caffecompat.data.segmentation import layouts

    fitting = {
        "--label-folder": (label_folder is not None, ("voc",)),
        "--coarse": (coarse, ("cityscapes",)),
        "--ignore-unknown": (ignore_unknown, ("camvid", "kitti")),
    }
    for option, (given, kinds) in fitting.items():
        if given and kind not in kinds:
            raise UsageError(f"{option} is an option of {' and '.join(kinds)}, not of {kind}")
    if kind == "voc":
        return layouts.voc(folder, label_folder or "SegmentationClass")
    if kind == "cityscapes":
        return layouts.cityscapes(folder, coarse)
    return (layouts.camvid if kind == "camvid" else layouts.kitti)(folder, ignore_unknown)


def _chosen(found: SegmentationSet, splits: str | None, folder: Path) -> list[str]:
    """The splits asked for, or all.

    Raises:
        UsageError: one is not there.
    """
    names = [name.strip() for name in splits.split(",")] if splits else list(found.splits)
    for name in names:
        if name not in found.splits:
            known = ", ".join(found.splits)
            hint = did_you_mean(name, found.splits)
            raise UsageError(f"{folder} has no split {quoted(name)}; it has: {known}", hint=hint)
    return list(dict.fromkeys(names))


def _write(split: SplitImport, found: SegmentationSet, workers: int, strict: bool) -> list[FormatError]:
    """Write the label maps of a split: what is wrong with the pairs that are left out.

    Raises:
        FormatError: with `strict`, a pair is bad.
    """
    pairs = found.splits[split.name]
    faults: list[FormatError] = []
    with Progress(len(pairs), "pictures") as progress:
        for fault in split.write(pairs, found.convert, workers):
            progress.add()
            if fault is None:
                continue
            if strict:
                raise fault
            faults.append(fault)
            if len(faults) <= SHOWN:
                progress.line(f"passed over: {_line(fault)}")
            elif len(faults) == SHOWN + 1:
                progress.line("further bad files are counted; --report FILE writes all")
    return faults


def _line(fault: FormatError) -> str:
    """What is wrong with a file, in one line."""
    return str(fault).split("\n")[0]
