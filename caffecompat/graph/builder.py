"""From an upgraded net to the Graph of one phase.

Source of the rules: `Net::Init` and `InsertSplits` of Caffe. The layers are filtered by their rules, then
`linker` joins them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import get_args

from caffecompat.errors import GraphError, SchemaError, UsageError, located, quoted
from caffecompat.formats.messages import copy_fields
from caffecompat.formats.parsed import ParsedNet, UnknownField
from caffecompat.formats.unknown import hint_of, warn_unknown
from caffecompat.formats.upgrade import upgrade_net
from caffecompat.graph.linker import Source, link
from caffecompat.graph.rules import State, included
from caffecompat.graph.spec import Dialect, Graph, Phase
from caffecompat.schema import caffe_pb2


def build_graph(
    parsed: ParsedNet,
    phase: Phase = "TEST",
    *,
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: Dialect = "ssd",
    ignore_fields: Sequence[str] = (),
    root: str | os.PathLike[str] | None = None,
) -> Graph:
    """Join the layers of a net that belong to one phase.

    Args:
        parsed: the net; old forms are upgraded.
        phase: the layers whose rules admit it are taken.
        level: the level that `min_level` and `max_level` of rules are compared with.
        stages: the stages that rules ask for, beside those of the net's own `state`.
        dialect: whose rules count where two Caffes differ.
        ignore_fields: names of fields that the schema does not know and that may be passed over, with a warning,
            in layers that are computed.
        root: the folder that relative paths in it start from; None is the working directory, as in Caffe.

    Returns:
        The graph; its order of layers is the file's.

    Raises:
        SchemaError: an unknown layer type, or an unknown field in a layer that is to be computed.
        GraphError: the layers do not make a net.
        UsageError: an argument makes no sense.
    """
    _check_arguments(phase, dialect, stages, ignore_fields)
    parsed = upgrade_net(parsed)
    message = parsed.message
    state = State.of(message, phase, level, stages)
    unknown, elsewhere = _unknown_by_layer(parsed)
    sources: list[Source] = []
    left_out: list[Source] = []
    for index, layer in enumerate(message.layer):
        source = Source(layer, parsed.position("layer", index), unknown.get(index, ()))
        try:
            (sources if included(layer, state) else left_out).append(source)
        except GraphError as error:
            raise located(error, source.position, layer.name) from None
    if not sources:
        raise GraphError(_no_layers(message, phase), file=parsed.file)
    kept = message if not left_out else net_of(message, [source.message for source in sources])
    start = None if root is None else os.fspath(root)
    graph = link(sources, kept, phase=phase, dialect=dialect, file=parsed.file, left_out=left_out, root=start)
    _report_unknown(graph, [*elsewhere, *(field for source in left_out for field in source.unknown)], ignore_fields)
    return graph


def net_of(message: caffe_pb2.NetParameter, layers: Iterable[caffe_pb2.LayerParameter]) -> caffe_pb2.NetParameter:
    """A copy of the net with these layers in the place of its own."""
    new = caffe_pb2.NetParameter()
    copy_fields(message, new, skip=("layer",))
    new.layer.extend(layers)
    return new


def relink(graph: Graph, sources: Sequence[Source]) -> Graph:
    """A graph of these layers in the place of the graph's own: how passes make theirs.

    Raises:
        GraphError: the layers do not make a net.
    """
    message = net_of(graph.message, [source.message for source in sources])
    return link(sources, message, phase=graph.phase, dialect=graph.dialect, file=graph.file, root=graph.root)


def _check_arguments(phase: object, dialect: object, stages: object, ignore_fields: object) -> None:
    if phase not in get_args(Phase):
        raise UsageError(f"phase must be TRAIN or TEST, got {quoted(phase)}")
    if dialect not in get_args(Dialect):
        raise UsageError(f"dialect must be ssd or bvlc, got {quoted(dialect)}")
    for name, value in (("stages", stages), ("ignore_fields", ignore_fields)):
        if isinstance(value, (str, bytes)):
            raise UsageError(f"{name} must be a list of names, got {quoted(value)}", hint=f"{name}=[{value!r}]")


def _no_layers(message: caffe_pb2.NetParameter, phase: Phase) -> str:
    count = len(message.layer)
    return f"the rules of all {count} layers leave them out in phase {phase}" if count else "the net has no layers"


def _unknown_by_layer(parsed: ParsedNet) -> tuple[dict[int, tuple[UnknownField, ...]], list[UnknownField]]:
    """The unknown fields by index of their layer, and those outside layers."""
    by_layer: dict[int, list[UnknownField]] = {}
    elsewhere = []
    for field in parsed.unknown:
        if field.path[:1] == ("layer",):
            by_layer.setdefault(int(field.path[1]), []).append(field)
        else:
            elsewhere.append(field)
    return {index: tuple(fields) for index, fields in by_layer.items()}, elsewhere


def _report_unknown(graph: Graph, passed_over: list[UnknownField], ignore_fields: Sequence[str]) -> None:
    """Refuse unknown fields of computed layers; warn of those that are ignored on request or compute nothing."""
    ignored = frozenset(ignore_fields)
    for spec in graph.layers:
        for field in spec.unknown:
            if not spec.row.data and field.name not in ignored:
                raise located(_refused(field), field.position, spec.name)
            passed_over.append(field)
    warn_unknown(passed_over, "NetParameter")


def _refused(field: UnknownField) -> SchemaError:
    hints = (
        hint_of(field, "NetParameter"),
        f"to pass over it: --ignore-field {quoted(field.name)[1:-1]}, or ignore_fields=[{quoted(field.name)}]",
    )
    return SchemaError(f"unknown field {quoted(field.name)}", hint="\n  ".join(hint for hint in hints if hint))
