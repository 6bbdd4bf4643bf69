"""The files of a net: what is asked is checked, built, fitted to the data that is there, and written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from caffecompat.errors import CaffeCompatError, UsageError, did_you_mean, quoted
from caffecompat.formats import atomic_write, write_text
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.model import Asked, Model, Nets

# What a width and a size may be: five layers halve the picture.
WIDTHS = (1 / 64, 8)
SIZES = (32, 1024)
_SCALING = {"width": "VGG, RepVGG, SSD and acnet-vgg-16", "size": "VGG, RepVGG and acnet-vgg-16"}
_TESTS = ("test_iter", "test_interval", "test_initialization", "eval_type", "ap_version")


def ask(
    model: Model,
    dataset: str | None = None,
    variant: str | None = None,
    classes: int | None = None,
    data: str | None = None,
    test_data: str | None = None,
    width: float | None = None,
    size: int | None = None,
    **files: str | None,
) -> Asked:
    """What is asked of a net, checked; what is not given is as in the first of its published settings.

    Args:
        model: the net.
        dataset: whose settings.
        variant: which variant.
        classes: how many, the background of detection and segmentation included.
        data: what it trains on; without `test_data` it is not tested then.
        test_data: what it is tested on.
        width: by how much the channels are multiplied.
        size: the side of the pictures that the net takes.
        files: the further files of `Asked`.

    Raises:
        UsageError: the net has no such setting, or a number is out of range.
    """
    if dataset is not None and dataset not in model.datasets:
        raise _unknown(model, "dataset", dataset, model.datasets)
    if variant is not None and variant not in model.variants:
        raise _unknown(model, "variant", variant, model.variants)
    for name, value in files.items():
        if value is not None and name not in model.files:
            known = [_option(own) for own in model.files]
            raise UsageError(
                f"{model.name} has no {_option(name)}",
                hint=f"it has {' and '.join(known)}" if known else "--data and --test-data name its data",
            )
    for name, value in (("data", data), ("test_data", test_data), *files.items()):
        if value == "":
            raise UsageError(f"expected a path for {_option(name)}, got an empty one")
    if "labels" in model.files:
        _expect_lists("--data", data, "--labels", files.get("labels"))
        _expect_lists("--test-data", test_data, "--test-labels", files.get("test_labels"))
    chosen = dataset or next(iter(model.datasets))
    count = model.datasets[chosen] if classes is None else classes
    if not model.min_classes <= count <= model.max_classes:
        raise UsageError(f"{model.name} can have {model.min_classes} to {model.max_classes:,} classes, got {count}")
    standard = variant or (model.variants[0] if model.variants else "")
    for name, number, (least, most) in (("width", width, WIDTHS), ("size", size, SIZES)):
        if number is not None and name not in model.scales:
            raise UsageError(f"{model.name} has no {_option(name)}", hint=f"{_SCALING[name]} have it")
        if number is not None and not least <= number <= most:
            raise UsageError(f"expected {_option(name)} from {least:g} to {most:g}, got {number:g}")
    return Asked(chosen, count, standard, data, test_data, **files, width=1.0 if width is None else width, size=size)


def _option(name: str) -> str:
    """How an attribute of `Asked` is asked for."""
    return f"--{name.replace('_', '-')}"


def _unknown(model: Model, what: str, given: str, known: Iterable[str]) -> UsageError:
    names = ", ".join(known)
    if not names:
        return UsageError(f"{model.name} has no variants, got {quoted(given)}", hint="leave --variant out")
    hint = did_you_mean(given.lower(), known) or f"it has {names}"
    return UsageError(f"{model.name} has no {what} {quoted(given)}", hint=hint)


def _expect_lists(images: str, given_images: str | None, labels: str, given_labels: str | None) -> None:
    if (given_images is None) != (given_labels is None):
        raise UsageError(
            f"{images} and {labels} belong together: lists of images and of their label maps, line by line",
            hint=f"give {labels} too" if given_labels is None else f"give {images} too",
        )


def make(model: Model, asked: Asked) -> Nets:
    """The nets and the solver, fitted to the data: all of the test data that is there is tested.

    Raises:
        CaffeCompatError: the test data is there and cannot be read.
    """
    nets = model.build(asked)
    if model.episodic:
        return nets
    if asked.test_data is not None:
        return replace(nets, solver=_testing_all(nets, asked.test_data, "labels" in model.files))
    return _untested(nets) if asked.data is not None else nets


def _testing_all(nets: Nets, path: str, listed: bool) -> caffe_pb2.SolverParameter:
    """The solver, with as many passes as the test data needs; as it is where there is none yet."""
    if not os.path.exists(path):
        return nets.solver
    if listed:
        count = _lines(path)
    else:
        from caffecompat.data.databases import open_database

        with open_database(path) as database:
            count = database.count()
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(nets.solver)
    solver.test_iter[:] = [max(1, -(-count // _test_batch(nets)))]
    return solver


def _lines(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return sum(1 for line in file if line.strip())
    except OSError as error:
        raise CaffeCompatError(f"cannot be read: {error.strerror or error}", file=path) from error


def _test_batch(nets: Nets) -> int:
    """How many images a test's data layer has in a batch."""
    layers = nets.nets["test"].layer[:1] if "test" in nets.nets else nets.nets["train_val"].layer[1:2]
    for param in ("data_param", "image_label_data_param", "bin_label_data_param"):
        for layer in layers:
            if layer.HasField(param):
                return int(getattr(layer, param).batch_size)
    return 1


def _untested(nets: Nets) -> Nets:
    """Without what tests need."""
    kept = {}
    for name, net in nets.nets.items():
        if name == "test":
            continue
        kept[name] = caffe_pb2.NetParameter()
        kept[name].CopyFrom(net)
        if name != "deploy":
            del kept[name].layer[:]
            kept[name].layer.extend(layer for layer in net.layer if not _only_tests(layer))
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(nets.solver)
    for field in _TESTS:
        solver.ClearField(field)
    return replace(nets, nets=kept, solver=solver)


def _only_tests(layer: caffe_pb2.LayerParameter) -> bool:
    return any(rule.HasField("phase") and rule.phase == caffe_pb2.TEST for rule in layer.include)


def write(model: Model, nets: Nets, folder: str | os.PathLike[str], replacing: bool = False) -> list[Path]:
    """Write the prototxts of a net and of its solver.

    Args:
        model: the net.
        nets: its files.
        folder: where to; it is made if need be. The solver names the nets by it.
        replacing: write although something is in it.

    Returns:
        The files.

    Raises:
        UsageError: the folder has files already.
        CaffeCompatError: they cannot be written.
    """
    target = Path(folder)
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(nets.solver)
    try:
        for name in nets.nets:
            if name == "train_val":
                solver.net = _posix(target / "train_val.prototxt")
            elif name == "train":
                solver.train_net = _posix(target / "train.prototxt")
            elif name == "test":
                solver.test_net.append(_posix(target / "test.prototxt"))
        solver.snapshot_prefix = _posix(target / nets.prefix)
    except UnicodeError as error:
        raise UsageError(f"expected a folder with a name in UTF-8, got {quoted(str(folder))}") from error
    _prepare(target, replacing)
    paths = []
    for name, message in (*nets.nets.items(), ("solver", solver)):
        paths.append(target / f"{name}.prototxt")
        with atomic_write(paths[-1]) as file:
            file.write(f"# {model.summary} ({model.source})\n{write_text(message)}".encode())
    return paths


def _posix(path: Path) -> str:
    return path.as_posix()


def _prepare(folder: Path, replacing: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        full = next(folder.iterdir(), None)
    except FileExistsError as error:
        raise UsageError(f"expected a folder, got the file {quoted(str(folder))}", hint="give another -o") from error
    except OSError as error:
        raise CaffeCompatError(f"cannot be made: {error.strerror or error}", file=folder) from error
    if full is not None and not replacing:
        raise UsageError(
            f"{folder} has files already, {quoted(full.name)} for one",
            hint="give another folder, or --force to write into this one",
        )
