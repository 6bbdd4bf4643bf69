"""`caffecompat inspect`: a net layer by layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli import weight_table
from caffecompat.cli.errors import tell
from caffecompat.cli.options import named_shapes, net_options
from caffecompat.errors import WeightsError, shown

if TYPE_CHECKING:
    from caffecompat.cli.weight_table import Spread
    from caffecompat.formats.weights import Weights
    from caffecompat.graph import Graph
    from caffecompat.graph.analysis import LayerCost
    from caffecompat.net import Net

COLUMNS = ("layer", "type", "output", "parameters", "multiply-adds", "memory access", "sees", "stride")
NUMBERS = ("parameters", "multiply-adds", "memory access", "sees", "stride")


@click.command("inspect")
@click.argument("net", type=click.Path(path_type=Path), metavar="NET.prototxt")
@net_options
@click.option(
    "-w",
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Tell how the values of each blob of this file are spread, in place of shapes and work.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of a table.")
def command(
    net: Path,
    input_shapes: tuple[tuple[str, tuple[int, ...]], ...],
    weights: Path | None,
    as_json: bool,
    **rules: Any,
) -> None:
    """Show each layer's output shape, parameters and work, and what its values see of the input.

    All numbers are for one image. Multiply-adds are those of convolutions, deconvolutions, inner products and
    recurrent layers, and one for each value of BatchNorm and Scale. Memory access counts the values that a layer
    reads (input, weights) and writes. What a value sees (its receptive field) and the stride are in pixels of the
    input, height x width where they differ. No weights are needed; with --weights the mean, standard
    deviation, least and greatest value of each blob are told.
    """
    from caffecompat.cli.opening import read_graph
    from caffecompat.graph.analysis import analyse
    from caffecompat.net import Net

    graph, notes = read_graph(net, **rules)
    for note in notes:
        tell(note)
    given = _meant(graph, weights)
    made = Net(graph, named_shapes(input_shapes, [key.name for key in graph.inputs]))
    found = _spreads(made, given)
    parameters = [[tuple(blob.shape) for blob in layer.blobs] for layer in made.layers]
    costs = analyse(graph, made.blob_shapes, parameters)
    if as_json:
        click.echo(json.dumps(_as_json(made, costs, found), indent=1))
    elif found is not None:
        click.echo(weight_table.as_text(made, found))
    else:
        click.echo(_as_text(made, costs))


def _meant(graph: Graph, path: Path | None) -> Weights | None:
    """The weights of a file, if there is one; the graph says then what layers of several meanings mean."""
    if path is None:
        return None
    from caffecompat.formats import read_weights
    from caffecompat.net.meanings import state_meanings

    weights = read_weights(path)
    state_meanings(graph, [weights])
    return weights


def _spreads(net: Net, weights: Weights | None) -> list[list[Spread]] | None:
    """How the values of each layer's blobs are spread."""
    if weights is None:
        return None
    from caffecompat.net.weights import assign

    assigned = assign(net.layers, weights)
    if not assigned.matched:
        raise WeightsError("the weights have no layer of the net's", file=weights.file, hint="they are of another net")
    return [weight_table.spreads(layer) for layer in net.layers]


def _totals(costs: Sequence[LayerCost]) -> dict[str, int]:
    names = ("parameters", "multiply_adds", "memory_access")
    return {name: sum(getattr(cost, name) for cost in costs) for name in names}


def _as_json(net: Net, costs: Sequence[LayerCost], found: list[list[Spread]] | None) -> dict[str, Any]:
    layers: list[dict[str, Any]] = [
        {
            "name": cost.spec.name,
            "type": cost.spec.type,
            "bottoms": [key.name for key in cost.spec.bottoms],
            "tops": {key.name: list(shape) for key, shape in zip(cost.spec.tops, cost.shapes, strict=True)},
            "parameters": cost.parameters,
            "multiply_adds": cost.multiply_adds,
            "memory_access": cost.memory_access,
            "receptive_field": cost.receptive_field,
            "stride": cost.stride,
            "offset": cost.offset,
        }
        for cost in costs
    ]
    for layer, own in zip(layers, found or (), strict=found is not None):
        layer["blobs"] = [one.as_json() for one in own]
    shapes = net.blob_shapes
    return {
        "name": net.graph.name,
        "phase": net.graph.phase,
        "inputs": {key.name: list(shapes[key]) for key in net.graph.inputs},
        "outputs": {key.name: list(shapes[key]) for key in net.graph.outputs},
        "layers": layers,
        "totals": _totals(costs),
    }


def _as_text(net: Net, costs: Sequence[LayerCost]) -> str:
    rows = [COLUMNS, *(_row(cost) for cost in costs)]
    totals = _totals(costs)
    rows.append(("total", "", "", *(f"{value:,}" for value in totals.values()), "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.rjust(width) if name in NUMBERS else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    shapes = net.blob_shapes
    ends = [
        f"{word}: " + ", ".join(f"{shown(key.name)} {_by(shapes[key])}" for key in keys)
        for word, keys in (("inputs", net.graph.inputs), ("outputs", net.graph.outputs))
    ]
    return "\n".join([f"{shown(net.graph.name) or 'a net'}, phase {net.graph.phase}", *ends, "", *lines])


def _row(cost: LayerCost) -> tuple[str, ...]:
    return (
        shown(cost.spec.name),
        cost.spec.type,
        " ".join(_by(shape) for shape in cost.shapes),
        f"{cost.parameters:,}" if cost.parameters else "",
        f"{cost.multiply_adds:,}" if cost.multiply_adds else "",
        f"{cost.memory_access:,}" if cost.memory_access else "",
        _axes(cost.receptive_field),
        _axes(cost.stride),
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _axes(sizes: Sequence[float] | None) -> str:
    if not sizes:
        return ""
    shown = [f"{size:g}" for size in sizes]
    return shown[0] if len(set(shown)) == 1 else "x".join(shown)
