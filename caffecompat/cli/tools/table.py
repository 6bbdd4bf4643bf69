"""The one table of Caffe's tools: their flags and arguments, and which of our commands does their work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from caffecompat.cli.errors import tell
from caffecompat.cli.tools.calls import call
from caffecompat.cli.tools.gflags import Given
from caffecompat.errors import UsageError, quoted


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        help: what it is for, in a line.
        arguments: what it takes besides flags.
        least: how many of them it needs.
        most: how many it looks at.
        run: does its work.
        flags: its flags, and whether each is a switch.
        command: the command of ours whose options it takes as well, by its module; "" is none.
    """

    help: str
    arguments: str
    least: int
    most: int
    run: Callable[[Given], None]
    flags: Mapping[str, bool] = field(default_factory=dict)
    command: str = ""


def _imageset(given: Given) -> None:
    root, list_file, database = given.names[:3]
    call("data.imageset", [*given.options(), f"--root={root}", "--", list_file, database])


def _annoset(given: Given) -> None:
    call("data.annoset", [*given.options(), "--", *given.names[:3]])


def _mean(given: Given) -> None:
    call("data.mean", [*given.options(), "--", *given.names])


def _upgrade(given: Given) -> None:
    call("upgrade", ["--", *given.names])


def _image_sizes(given: Given) -> None:
    from caffecompat.cli.tools.image_sizes import write_sizes

    root, list_file, out = given.names[:3]
    write_sizes(root, list_file, out, given.flags.get("name_id_file", ""))


def _label_map(given: Given) -> None:
    from caffecompat.cli.tools.label_map import write_label_map

    names, out = given.names[:2]
    background = given.flags.get("include_background") == "true"
    write_label_map(names, out, given.flags.get("delimiter", " "), background)


def _features(given: Given) -> None:
    weights, net, blobs, databases, batches, kind = given.names[:6]
    wanted, targets = blobs.split(","), databases.split(",")
    if len(wanted) != len(targets):
        raise UsageError(f"expected a database for each of {len(wanted)} blobs, got {len(targets)}")
    if kind != "lmdb":
        raise UsageError(f"expected lmdb as the kind of database, got {quoted(kind)}", hint="LevelDB is not written")
    options = [f"--weights={weights}", f"--batches={batches}", "--format=lmdb", f"--output={databases}"]
    options += [f"--blob={blob}" for blob in wanted]
    call("features", [*given.options(), *options, *_device(given.names[6:]), "--", net])


def _device(names: list[str]) -> list[str]:
    """CPU or GPU, and the number of the GPU."""
    if not names or names[0] != "GPU":
        tell("Using CPU")
        return []
    import torch

    if not torch.cuda.is_available():
        tell("no GPU is here, or this build of torch does not use it. Using CPU")
        return []
    if names[1:] not in ([], ["0"]):
        raise UsageError(f"expected the first GPU, got {quoted(names[1])}", hint="CUDA_VISIBLE_DEVICES chooses another")
    tell("Using GPU")
    return ["--device=cuda"]


def _gone(name: str, instead: str) -> Tool:
    def run(given: Given) -> None:
        raise UsageError(f"{name} was given up long ago", hint=f"use: {instead}")

    return Tool(f"Given up; tells what to use: {instead}", "[...]", 0, 1000, run)


_UPGRADE = "IN OUT"
_IMAGES = {"gray": True, "shuffle": True, "backend": False, "resize_width": False, "resize_height": False}
_IMAGES |= {"check_size": True, "encoded": True, "encode_type": False}
_BOXES = {"anno_type": False, "label_type": False, "label_map_file": False, "check_label": True}
TOOLS: Mapping[str, Tool] = {
    "compute_image_mean": Tool(
        "The mean image of a database.", "DB [OUT.binaryproto]", 1, 2, _mean, {"backend": False}, "data.mean"
    ),
    "convert_annoset": Tool(
        "A database of images with boxes.",
        "ROOT LISTFILE DB",
        3,
        1000,
        _annoset,
        {**_IMAGES, **_BOXES, "min_dim": False, "max_dim": False},
        "data.annoset",
    ),
    "convert_imageset": Tool(
        "A database of the images of a list.", "ROOT LISTFILE DB", 3, 1000, _imageset, _IMAGES, "data.imageset"
    ),
    "create_label_map": Tool(
        "A label map of lines of names.",
        "NAMES OUT.prototxt",
        2,
        1000,
        _label_map,
        {"include_background": True, "delimiter": False},
    ),
    "device_query": _gone("device_query", "caffe device_query -gpu 0"),
    "extract_features": Tool(
        "Databases of the values of blobs.",
        "WEIGHTS NET BLOB[,...] DB[,...] BATCHES lmdb [CPU|GPU] [0]",
        6,
        8,
        _features,
        command="features",
    ),
    "finetune_net": _gone("finetune_net", "caffe train -solver S [-weights W]"),
    "get_image_size": Tool(
        "The sizes of the images of a list.", "ROOT LISTFILE OUT", 3, 1000, _image_sizes, {"name_id_file": False}
    ),
    "net_speed_benchmark": _gone("net_speed_benchmark", "caffe time -model M [-iterations 50] [-gpu 0]"),
    "test_net": _gone("test_net", "caffe test -model M -weights W"),
    "train_net": _gone("train_net", "caffe train -solver S [-snapshot STATE]"),
    "upgrade_net_proto_binary": Tool("A net's weights in today's form.", _UPGRADE, 2, 2, _upgrade),
    "upgrade_net_proto_text": Tool("A net's prototxt in today's form.", _UPGRADE, 2, 2, _upgrade),
    "upgrade_solver_proto_text": Tool("A solver's prototxt in today's form.", _UPGRADE, 2, 2, _upgrade),
}


def usage(name: str) -> str:
    """How a tool is called."""
    tool = TOOLS[name]
    flags = "".join(f"\n  -{flag}" + ("" if switch else " VALUE") for flag, switch in sorted(tool.flags.items()))
    more = f"\nIt takes the options of `caffecompat {tool.command.replace('.', ' ')}` as well." if tool.command else ""
    return f"Usage: {name} [FLAGS] {tool.arguments}\n{tool.help}{flags}{more}"
