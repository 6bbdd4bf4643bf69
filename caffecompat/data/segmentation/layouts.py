"""How published data sets for segmentation lie on the disk: their splits, each a list of pictures with label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffecompat.data.images import IMAGE_SUFFIXES
from caffecompat.data.lists import read_names
from caffecompat.data.segmentation import classes as known
from caffecompat.data.segmentation.converting import Convert, Pair, by_colours, by_numbers
from caffecompat.errors import FormatError

_VOID = 255
_IMAGE_ENDING, _FINE, _COARSE = "_leftImg8bit", "gtFine", "gtCoarse"


@dataclass(frozen=True)
class SegmentationSet:
    """A data set.

    Attributes:
        classes: their names; the index is the class.
        splits: the pairs of each split by its name.
        convert: reads a label map of the set as one of these classes.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Pair, ...]]
    convert: Convert


def voc(folder: Path, label_folder: str = "SegmentationClass") -> SegmentationSet:
    """PASCAL VOC: a devkit, one of its years, or what is made like it (SegmentationClassAug).

    Splits are the lists of ImageSets/Segmentation; one of which no picture has a label map (test) has pictures alone.

    Raises:
        FormatError: the folder is none of these.
    """
    inner = [folder, *sorted(folder.glob("VOC*")), *sorted(folder.glob("VOCdevkit/VOC*"))]
    found = [one for one in inner if (one / "ImageSets" / "Segmentation").is_dir()]
    if not found:
        raise _strange(folder, "a devkit's VOC2012 has ImageSets/Segmentation, JPEGImages and SegmentationClass")
    if len(found) > 1:
        raise FormatError(f"there are {len(found)} years here", file=folder, hint=f"name one, such as {found[0]}")
    root = found[0]
    splits = {}
    for file in sorted((root / "ImageSets" / "Segmentation").glob("*.txt")):
        names = [Path(name).stem for name in read_names(file).names]
        labels = [root / label_folder / f"{name}.png" for name in names]
        there = any(label.exists() for label in labels)
        splits[file.stem] = tuple(
            Pair(name, root / "JPEGImages" / f"{name}.jpg", label if there else None)
            for name, label in zip(names, labels, strict=True)
        )
    if not splits:
        raise FormatError("expected lists such as train.txt", file=root / "ImageSets" / "Segmentation")
    numbers = {number: number for number in (*range(len(known.VOC)), _VOID)}
    return SegmentationSet(known.VOC, splits, by_numbers(numbers))


def camvid(folder: Path, ignore_unknown: bool = False) -> SegmentationSet:
    """CamVid: as SegNet's authors give it (train, trainannot, ...: three splits), or as its own do (one, "all").

    The latter has pictures in 701_StillsRaw_full, and label maps in colours, NAME_L.png, in LabeledApproved_full.

    Raises:
        FormatError: the folder is neither.
    """
    splits = {}
    for name in ("train", "val", "test"):
        if (folder / name).is_dir() and (folder / f"{name}annot").is_dir():
            labels = folder / f"{name}annot"
            splits[name] = tuple(Pair(one.stem, one, labels / f"{one.stem}.png") for one in _pictures(folder / name))
    if splits:
        return SegmentationSet(known.STREET, splits, by_numbers(known.SEGNET_NUMBERS))
    pictures, labels = folder / "701_StillsRaw_full", folder / "LabeledApproved_full"
    if not pictures.is_dir() or not labels.is_dir():
        raise _strange(folder, "CamVid has train and trainannot, or 701_StillsRaw_full and LabeledApproved_full")
    pairs = tuple(Pair(one.stem, one, labels / f"{one.stem}_L.png") for one in _pictures(pictures))
    return SegmentationSet(known.STREET, {"all": pairs}, by_colours(known.STREET_COLOURS, ignore_unknown))


def kitti(folder: Path, ignore_unknown: bool = False) -> SegmentationSet:
    """KITTI: the labels of Ros et al. (folders with RGB and GT, in colours), or its own of 2018, by Cityscapes' ids.

    Of the first, which the dilation paper uses, a folder whose name begins with Training is the split train, and one
    that begins with Validation is val. The second has training/image_2 and semantic, and testing/image_2.

    Raises:
        FormatError: the folder is neither.
    """
    if not folder.is_dir():
        raise _strange(folder, "name the data set's folder")
    splits = {}
    for inner in (folder, *sorted(one for one in folder.iterdir() if one.is_dir())):
        if (inner / "RGB").is_dir() and (inner / "GT").is_dir():
            labels = inner / "GT"
            pairs = tuple(Pair(one.stem, one, labels / f"{one.stem}.png") for one in _pictures(inner / "RGB"))
            splits[_split_name(inner.name)] = pairs
    if splits:
        return SegmentationSet(known.STREET, splits, by_colours(known.STREET_COLOURS, ignore_unknown))
    for inner_name, name in (("training", "train"), ("testing", "test")):
        pictures, labels = folder / inner_name / "image_2", folder / inner_name / "semantic"
        if pictures.is_dir():
            splits[name] = tuple(
                Pair(one.stem, one, labels / f"{one.stem}.png" if labels.is_dir() else None)
                for one in _pictures(pictures)
            )
    if not splits:
        raise _strange(folder, "KITTI has folders with RGB and GT, or training/image_2 and training/semantic")
    return SegmentationSet(known.CITYSCAPES, splits, by_numbers(known.CITYSCAPES_NUMBERS))


def cityscapes(folder: Path, coarse: bool = False) -> SegmentationSet:
    """Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, and gtFine (or gtCoarse) with *_labelIds.png beside it.

    The split test has pictures alone: its label maps say nothing.

    Raises:
        FormatError: the folder is not like this.
    """
    kind = _COARSE if coarse else _FINE
    if not (folder / "leftImg8bit").is_dir() or not (folder / kind).is_dir():
        raise _strange(folder, f"Cityscapes has leftImg8bit and {kind}, in them splits, in these cities")
    splits = {}
    for split in sorted(one for one in (folder / "leftImg8bit").iterdir() if one.is_dir()):
        pictures = [one for one in _pictures(split) if one.stem.endswith(_IMAGE_ENDING)]
        if not pictures:
            raise FormatError(f"expected pictures CITY/*{_IMAGE_ENDING}.png, got none", file=split)
        labelled = split.name != "test" and (folder / kind / split.name).is_dir()
        splits[split.name] = tuple(
            Pair(one.stem, one, _beside(one, folder / kind / split.name, kind) if labelled else None)
            for one in pictures
        )
    return SegmentationSet(known.CITYSCAPES, splits, by_numbers(known.CITYSCAPES_NUMBERS))


def _beside(picture: Path, labels: Path, kind: str) -> Path:
    """The label map of a picture of Cityscapes."""
    name = picture.stem.removesuffix(_IMAGE_ENDING)
    return labels / picture.parent.name / f"{name}_{kind}_labelIds.png"


def _split_name(folder: str) -> str:
    lower = folder.lower()
    starts = {"training": "train", "validation": "val"}
    return next((name for start, name in starts.items() if lower.startswith(start)), folder)


def _pictures(folder: Path) -> Sequence[Path]:
    """The pictures in a folder, those of inner folders too."""
    found = sorted(one for one in folder.rglob("*") if one.suffix.lower() in IMAGE_SUFFIXES and one.is_file())
    if not found:
        raise FormatError("expected pictures, got none", file=folder)
    return found


def _strange(folder: Path, hint: str) -> FormatError:
    what = "the data set is not laid out as expected" if folder.is_dir() else "there is no such folder"
    return FormatError(what, file=folder, hint=hint)
