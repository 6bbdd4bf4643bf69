"""`caffecompat new`: the prototxts of a published net."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.files import tell_written
from caffecompat.errors import quoted

if TYPE_CHECKING:
    from caffecompat.zoo.model import Nets


@click.command("new")
@click.argument("name", required=False)
@click.option("-o", "--output", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where to.")
@click.option(
    "--classes", type=int, metavar="N", help="How many classes; of detection and segmentation the background is one."
)
@click.option("--dataset", metavar="NAME", help="Whose published settings; --list says which there are.")
@click.option("--variant", metavar="NAME", help="Which variant of the net; --list says which there are.")
@click.option("--data", metavar="LMDB|LIST", help="What it trains on. Without --test-data it is not tested then.")
@click.option("--test-data", metavar="LMDB|LIST", help="What it is tested on.")
@click.option("--labels", metavar="LIST", help="Of segmentation: the label maps of --data, line by line.")
@click.option("--test-labels", metavar="LIST", help="Of segmentation: the label maps of --test-data.")
@click.option("--mean", metavar="FILE", help="The mean image, for nets that subtract one.")
@click.option("--label-map", metavar="FILE", help="Of detection: the names of the classes.")
@click.option("--name-sizes", metavar="FILE", help="Of detection: names and sizes of the images of --test-data.")
@click.option(
    "--embedding",
    metavar="NAME|PROTOTXT:BLOB",
    help="Of matching-net: vgg-fc7, googlenet, or the blob of a net that is to embed pictures.",
)
@click.option(
    "--width",
    type=float,
    metavar="X",
    help="Of VGG, RepVGG, SSD, acnet-vgg-16: multiplies the channels, such as 0.25.",
)
@click.option(
    "--size", type=int, metavar="N", help="Of VGG, RepVGG, acnet-vgg-16: the side of the pictures, in place of 224."
)
@click.option("--force", is_flag=True, help="Write although DIR has files; those of the same names are replaced.")
@click.option("--list", "listing", is_flag=True, help="List the nets, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --list: as one JSON object.")
def command(
    name: str | None,
    folder: Path | None,
    force: bool,
    listing: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write the prototxts of the net NAME: for training, for tests, for use (deploy), and the solver.

    The settings are those of the paper, and the data that of the originals unless --data names some. Paths start in
    the working directory. The result is the command that trains the net.
    """
    from caffecompat.zoo import ask, data_notes, find_model, make, write

    if listing:
        _list(as_json)
        return
    if name is None:
        raise click.UsageError("no NAME: give that of a net; --list lists them")
    model = find_model(name)
    if folder is None:
        raise click.UsageError("no -o DIR: give the folder to write to")
    settings = ask(model, **asked)
    nets = make(model, settings)
    _tell_means(nets)
    for path in write(model, nets, folder, force):
        tell_written(path)
    if settings.data is not None and settings.test_data is None and not model.episodic:
        tell("there are no tests: --test-data names what to test on")
    for note in (*data_notes(model, settings, nets), *nets.notes):
        tell(f"note: {note}")
    words = ["caffecompat", "train", (folder / "solver.prototxt").as_posix()]
    if nets.weights is not None:
        words += ["--weights", nets.weights]
    click.echo(shlex.join(words))


def _tell_means(nets: Nets) -> None:
    """Say which mean images the nets subtract that are not there, and what makes them."""
    layers = [layer for net in nets.nets.values() for layer in net.layer if layer.transform_param.mean_file]
    sources = {layer.transform_param.mean_file: layer.data_param.source for layer in reversed(layers)}
    for mean, source in sources.items():
        path = Path(mean)
        if path.is_file():
            continue
        folder = [] if path.parent.is_dir() else ["mkdir", "-p", str(path.parent), "&&"]
        words = [*folder, "caffecompat", "data", "mean", source, mean]
        line = " ".join(word if word == "&&" else shlex.quote(word) for word in words)
        tell(f"note: the mean image {quoted(mean)} is subtracted, and is not there; make it, or name one with --mean:")
        tell(f"  {line}")


def _list(as_json: bool) -> None:
    from caffecompat.zoo import MODELS

    if as_json:
        rows = {
            model.name: {
                "summary": model.summary,
                "source": model.source,
                "classes": dict(model.datasets),
                "variants": list(model.variants),
            }
            for model in MODELS.values()
        }
        click.echo(json.dumps(rows, indent=1))
        return
    width = max(map(len, MODELS))
    for model in MODELS.values():
        click.echo(f"{model.name.ljust(width)}  {model.summary} ({model.source})")
        if len(model.datasets) > 1:
            click.echo(f"{'':{width}}  --dataset {_choices(model.datasets)}")
        if model.variants:
            click.echo(f"{'':{width}}  --variant {_choices(model.variants)}")


def _choices(names: Iterable[str]) -> str:
    """The names, of which the first is taken if none is asked for."""
    first, *others = names
    return ", ".join((f"{first} (default)", *others))
