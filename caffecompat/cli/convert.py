"""`caffecompat convert`: a prototxt and its weights as a file for PyTorch, ONNX, OpenVINO, ExecuTorch or Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import net_argument, net_options, preprocessing_options

if TYPE_CHECKING:
    from caffecompat.net import Net


@click.command("convert")
@net_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to; the suffix is the format. Default: NET.pt2 in the current folder.",
)
@click.option("--recipe", metavar="NAME|PATH", help="Change the net by a recipe first; see `caffecompat recipes`.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="An option of the recipe.")
@click.option(
    "--fuse",
    is_flag=True,
    help="Fold batch normalization and scales, merge parallel branches, take out what does nothing at test time.",
)
@click.option(
    "--embed-preprocessing",
    is_flag=True,
    help="Put channel order, mean and scale into the graph of a .pt2: it takes uint8 (N, H, W, 3), R, G, B.",
)
@click.option("--opset", type=int, metavar="N", help="The operators' version in an .onnx, from 17 on.  [default: 17]")
@click.option("--half", is_flag=True, help="float16 in an .onnx, for weights in an .xml.")
@click.option("--fixed-batch", is_flag=True, help="Fix the number of images in a .pt2, .onnx or .xml.")
@click.option("--dynamic-size", is_flag=True, help="Let height and width of pictures in an .onnx or .xml vary.")
@click.option(
    "--no-verify", is_flag=True, help="Do not compare an .onnx, .xml, .pte, .py, or a fused net, with the net."
)
@click.option("--license", metavar="TEXT", default="", help="The licence of the net and its weights, to be recorded.")
@net_options
@preprocessing_options
def command(
    net: Path,
    weights: Path | None,
    output: Path | None,
    recipe: str | None,
    options: tuple[str, ...],
    fuse: bool,
    embed_preprocessing: bool,
    opset: int | None,
    half: bool,
    fixed_batch: bool,
    dynamic_size: bool,
    no_verify: bool,
    license: str,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...],
    mean: str | None,
    scale: float | None,
    channels: str | None,
    labels: Path | None,
    **rules: Any,
) -> None:
    """Write a net and its weights as a file that PyTorch, ONNX Runtime, OpenVINO, ExecuTorch or Caffe loads.

    \b
    .pt2              an exported program: runs in PyTorch without caffecompat
    .onnx             a graph of ONNX's standard operators, compared with the net in ONNX Runtime
    .xml              a model for OpenVINO, compared with the net there; its weights in .bin
    .pte              a program for ExecuTorch, compared with the net there
    .py               the source of a plain PyTorch module, compared with the net; its parameters in .safetensors
    .safetensors      the parameters
    .pt               the parameters, as a state dict
    .caffemodel       the parameters for Caffe, in today's form (V2)
    .caffemodel.h5    the same as HDF5
    .prototxt         the net in today's form

    Takes train, test and deploy prototxts: data layers become inputs, losses and evaluation drop out, and each
    substitution is told. Without weights the parameters come from the net's fillers. An existing output is replaced,
    whole, when the new one is complete; an input never is.
    """  # noqa: D301
    from caffecompat.cli.files import keep_inputs, tell_written
    from caffecompat.cli.opening import open_net, tell_guess
    from caffecompat.export.suffixes import OPTIONS, check_target, is_importable

    target = output or Path(_stem(net) + ".pt2")
    changed = {"opset": opset is not None, "half": half, "verify": no_verify and not fuse}
    changed |= {"dynamic_batch": fixed_batch, "dynamic_size": dynamic_size}
    suffix = check_target(target, embed_preprocessing, [name for name, given in changed.items() if given])
    keep_inputs(target, [net, weights, labels])
    if suffix == ".py" and not is_importable(target):
        tell(f"no name for `import`: {target.name}; it runs, but only a name of letters, digits and _ can be imported")
    chosen = _recipe(recipe, options)
    preparing = {"mean": mean, "scale": scale, "channels": channels, "labels": labels}
    opened = open_net(net, weights, input_shapes, rules, preparing)
    for note in opened.notes:
        tell(note)
    made, record = opened.net, opened.preprocessing
    if chosen is not None:
        from caffecompat.export.applying import apply_recipe

        made, record = apply_recipe(made, chosen[0], chosen[1], record)
        click.echo(f"changed by the recipe {chosen[0].stem}", err=True)
        if made.filled:
            tell(f"the recipe left to their fillers: {', '.join(made.filled)}")

    if opened.guessed and (suffix == ".py" or embed_preprocessing):
        tell_guess()

    if fuse:
        from caffecompat.export.fusing import fuse as fused

        made = fused(made, verify=not no_verify, tell=tell)

    from caffecompat.export import export

    sources = [source for source in (net, weights) if source is not None]
    if suffix in (".pt2", ".pte"):
        click.echo("tracing the net: some seconds", err=True)
    written = export(
        made,
        target,
        preprocessing=record,
        embed_preprocessing=embed_preprocessing,
        sources=sources,
        dynamic_batch=not fixed_batch,
        dynamic_size=dynamic_size,
        opset=opset,
        half=half,
        verify=not (no_verify and suffix in OPTIONS["verify"]),
        license=license,
        tell=tell,
    )
    for path in written:
        tell_written(path)
    _tell_blobs(made, suffix)


def _stem(net: Path) -> str:
    """The name of a prototxt without its suffixes: `deploy` of deploy.prototxt and of deploy.prototxt.txt."""
    name = net.name
    for suffix in (".txt", ".prototxt", ".pt"):
        name = name.removesuffix(suffix)
    return name or net.name


def _recipe(recipe: str | None, options: Sequence[str]) -> tuple[Path, dict[str, str]] | None:
    from caffecompat.errors import UsageError, quoted
    from caffecompat.export.recipes import find_recipe

    if recipe is None:
        if options:
            raise UsageError("--set is an option of a recipe: give --recipe too")
        return None
    values = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--set expects NAME=VALUE, got {quoted(option)}")
        values[name] = value
    return find_recipe(recipe), values


def _tell_blobs(net: Net, suffix: str) -> None:
    from caffecompat.errors import shown
    from caffecompat.export.executorch.tracing import program_outputs

    outputs = program_outputs(net) if suffix == ".pte" else net.graph.outputs
    for word, keys in (("input", net.graph.inputs), ("output", outputs)):
        for key in keys:
            click.echo(f"{word:<6} {shown(key.name)}  {'x'.join(map(str, net.blob_shapes[key]))}")
