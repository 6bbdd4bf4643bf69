"""Whether the data that a net is to read is there and of the kind that its layers read, and what makes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from caffecompat.data.databases import backend_of
from caffecompat.data.lmdb_file import LmdbFile
from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.zoo.model import Asked, Model, Nets

_IMAGESET = "`caffecompat data imageset`"
# The commands that make what a data layer reads.
_MAKERS = {
    "Data": _IMAGESET,
    "EpisodeData": f"{_IMAGESET} or `data omniglot`",
    "AnnotatedData": "`caffecompat data voc`, or `data annoset` of a list of pictures and their boxes,",
    "ImageLabelData": "`caffecompat data segmentation`",
    "BinLabelData": "`caffecompat features --format bin`",
}
_LISTS = ("ImageLabelData", "BinLabelData")


def is_database(path: str) -> bool:
    """Whether a database lies at a path."""
    try:
        if backend_of(path) == "LMDB":
            LmdbFile(Path(path))
    except CaffeCompatError:
        return False
    return True


def data_notes(model: Model, asked: Asked, nets: Nets) -> Iterator[str]:
    """What is to be said of data that was named and is not there, or is of another kind than the net reads.

    Args:
        model: the net.
        asked: names the data.
        nets: have the layers that read it.
    """
    layer = next(layer.type for name in ("train_val", "train") if name in nets.nets for layer in nets.nets[name].layer)
    given = {"--data": asked.data, "--test-data": asked.test_data}
    if layer in _LISTS:
        given |= {"--labels": asked.labels, "--test-labels": asked.test_labels}
    for option, path in given.items():
        if path is None:
            continue
        maker = _MAKERS["ImageLabelData"] if option.endswith("labels") else _MAKERS.get(layer)
        made = f"; {maker} makes one" if maker else ""
        needed = "a list" if layer in _LISTS else "a database" if maker else "a text"
        fault = _fault(path, needed)
        if fault:
            yield f"{option} {quoted(path)} {fault}: {model.name} reads {needed} there{made}"


def _fault(path: str, needed: str) -> str:
    """What is wrong with a path that is to be a database, a list or a text; "" if nothing is."""
    if not os.path.exists(path):
        return "is not there"
    if needed == "a database":
        return "" if is_database(path) else "is no database"
    if is_database(path):
        return "is a database"
    return "is a folder" if os.path.isdir(path) else ""
