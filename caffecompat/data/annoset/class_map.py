"""Which label a class has: label maps, those of VOC and COCO, and those of classes that are named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from caffecompat.data.labels import MAX_LABELS, read_labels
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.formats import read_text, write_text
from caffecompat.schema import caffe_pb2

BACKGROUND = ("none_of_the_above", "background")

_VOC = """aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant
sheep sofa train tvmonitor"""
VOC_CLASSES = tuple(_VOC.split())
_COCO = """1 person;2 bicycle;3 car;4 motorcycle;5 airplane;6 bus;7 train;8 truck;9 boat;10 traffic light;
11 fire hydrant;13 stop sign;14 parking meter;15 bench;16 bird;17 cat;18 dog;19 horse;20 sheep;21 cow;22 elephant;
23 bear;24 zebra;25 giraffe;27 backpack;28 umbrella;31 handbag;32 tie;33 suitcase;34 frisbee;35 skis;36 snowboard;
37 sports ball;38 kite;39 baseball bat;40 baseball glove;41 skateboard;42 surfboard;43 tennis racket;44 bottle;
46 wine glass;47 cup;48 fork;49 knife;50 spoon;51 bowl;52 banana;53 apple;54 sandwich;55 orange;56 broccoli;57 carrot;
58 hot dog;59 pizza;60 donut;61 cake;62 chair;63 couch;64 potted plant;65 bed;67 dining table;70 toilet;72 tv;
73 laptop;74 mouse;75 remote;76 keyboard;77 cell phone;78 microwave;79 oven;80 toaster;81 sink;82 refrigerator;84 book;
85 clock;86 vase;87 scissors;88 teddy bear;89 hair drier;90 toothbrush"""
# The ids of COCO's categories, which leave numbers out, and their names.
COCO_CATEGORIES = {
    int(number): name for number, name in (item.strip().split(" ", 1) for item in _COCO.replace("\n", "").split(";"))
}


@dataclass(frozen=True)
class ClassMap:
    """Labels by the names of classes.

    Attributes:
        labels: the label of each name.
        text: the label map as a prototxt has it.
        source: the file it was read from, or None.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    text: str = ""
    source: Path | None = None


def read_class_map(path: str | os.PathLike[str], check: bool = False) -> ClassMap:
    """A label map from a prototxt.

    Args:
        path: the file.
        check: a name that stands twice is an error; else its last label counts, as in the original.

    Raises:
        FormatError: it is no label map, is empty, or a name stands twice.
    """
    parsed = read_text(path, caffe_pb2.LabelMap)
    labels: dict[str, int] = {}
    for index, item in enumerate(parsed.message.item):
        place = parsed.position("item", index)
        if check and item.name in labels:
            message = f"the class {quoted(item.name)} stands twice"
            raise FormatError(message, file=path, line=place.line, column=place.column)
        labels[item.name] = item.label
    if not labels:
        hint = "a label map has items such as: item { name: 'cat' label: 1 display_name: 'cat' }"
        raise FormatError("expected a label map, got no items", file=path, hint=hint)
    return ClassMap(labels, write_text(parsed.message), Path(path))


def class_map(classes: Iterable[tuple[str, str]]) -> ClassMap:
    """The label map of classes: label 0 is the background, the others follow in order.

    Args:
        classes: name and display name of each.

    Raises:
        UsageError: a name is empty, or stands twice.
    """
    message = caffe_pb2.LabelMap()
    labels: dict[str, int] = {}
    for label, (name, display_name) in enumerate([BACKGROUND, *classes]):
        if not name or name in labels:
            what = f"the class {quoted(name)} stands twice" if name else "a class has no name"
            raise UsageError(f"{what} among the classes")
        if label > MAX_LABELS:
            raise UsageError(f"expected at most {MAX_LABELS} classes")
        labels[name] = label
        message.item.add(name=name, label=label, display_name=display_name)
    return ClassMap(labels, write_text(message))


def named_classes(names: Sequence[str]) -> ClassMap:
    """The label map of classes that are called as they are named; a first one that names the background is left out.

    Raises:
        UsageError: a name is empty, or stands twice.
    """
    if names and names[0] in BACKGROUND:
        names = names[1:]
    return class_map((name, name) for name in names)


def given_classes(value: str) -> ClassMap:
    """The label map of what a user names: a label map, a text of one name in a line, or names apart by commas.

    Raises:
        UsageError: a name is empty, or stands twice.
        FormatError: the file is neither.
    """
    if not os.path.isfile(value):
        if "," not in value and (os.sep in value or Path(value).suffix in (".txt", ".names", ".prototxt")):
            raise UsageError("there is no such file of classes", file=value)
        return named_classes([name.strip() for name in value.split(",")])
    if Path(value).suffix in (".prototxt", ".pbtxt"):
        return read_class_map(value, check=True)
    return named_classes(read_labels(value))


def voc_classes() -> ClassMap:
    """The label map that SSD's authors give PASCAL VOC."""
    return named_classes(VOC_CLASSES)


def coco_classes(categories: Mapping[int | str, str]) -> ClassMap:
    """The label map of COCO's categories, named by their ids: that of SSD's authors if they are COCO's own.

    Args:
        categories: the name of each id.

    Raises:
        UsageError: there are none.
    """
    if not categories:
        raise UsageError("there are no categories", hint="give --label-map-file")
    own = all(COCO_CATEGORIES.get(key) == name for key, name in categories.items() if isinstance(key, int))
    if own and all(isinstance(key, int) for key in categories):
        return class_map((str(key), name) for key, name in COCO_CATEGORIES.items())
    ordered = sorted(categories.items(), key=lambda item: (isinstance(item[0], str), item[0]))
    return class_map((str(key), name) for key, name in ordered)
