"""`caffe.draw`: a net as a graph of its layers and blobs, drawn by Graphviz.

The graph is made with pydot (the extra `draw`); only pictures need Graphviz's program `dot`, graphs as text do not.
Source of labels and colours: draw.py of the original, as BVLC master has it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from caffecompat.errors import GraphError, UnsupportedError, UsageError, printable, quoted
from caffecompat.formats import ParsedNet, atomic_write, upgrade_net
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    import pydot

_OTHER_COLOR = "#6495ED"
LAYER_STYLE_DEFAULT: dict[str, Any] = {"shape": "record", "fillcolor": _OTHER_COLOR, "style": "filled"}
NEURON_LAYER_STYLE: dict[str, Any] = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE: dict[str, Any] = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_TRAINED = ("Convolution", "Deconvolution", "InnerProduct")
_NO_LABEL = '""'
_ESCAPES = {char: f"\\{char}" for char in '\\"{}|<>'} | {"&": "&amp;"}
# Endings of files that hold the graph itself, without places.
_TEXT = ("raw", "dot", "gv")


class LayerValueError(GraphError, ValueError):
    """A layer of which no drawing can be made as it is asked."""


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the methods of pooling, by their numbers."""
    return {number: name for name, number in caffe_pb2.PoolingParameter.PoolMethod.items()}


def choose_color_by_layertype(layertype: str) -> str:
    """The colour of a layer, as #RRGGBB."""
    return _COLORS.get(layertype, _OTHER_COLOR)


def get_edge_label(layer: caffe_pb2.LayerParameter) -> str:
    """What stands beside the way from a layer to its tops: channels, or the size of a batch; `""` for nothing."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return _NO_LABEL


def get_layer_lr_mult(layer: caffe_pb2.LayerParameter) -> tuple[float, float]:
    """The multipliers of the learning rates of a layer's weights and biases.

    Raises:
        LayerValueError: it is no Convolution, Deconvolution or InnerProduct, or has more than two.
    """
    if layer.type not in _TRAINED:
        raise LayerValueError(f"{layer.type} layers do not have a learning rate multiplier", layer=layer.name)
    stated = [param.lr_mult for param in layer.param]
    if len(stated) > 2:
        raise LayerValueError(f"expected at most 2 learning rate multipliers, got {len(stated)}", layer=layer.name)
    weights, biases = (*stated, 1.0, 1.0)[:2]
    return weights, biases


def get_layer_label(layer: caffe_pb2.LayerParameter, rankdir: str, display_lrm: bool = False) -> str:
    """The label of a layer, in quotes: name, type and what decides the shape of its tops.

    Args:
        layer: the layer.
        rankdir: the direction of the drawing; from top to bottom ("TB", "BT") a label has one line, else several.
        display_lrm: with the multipliers of the learning rates.
    """
    words = [_escaped(layer.name)]
    if layer.type == "Pooling":
        words.append(f"(Pooling {get_pooling_types_dict()[layer.pooling_param.pool]})")
    else:
        words.append(f"({_escaped(layer.type)})")
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    if layer.type in ("Convolution", "Deconvolution", "Pooling"):
        words += _window(layer)
    if display_lrm and layer.type in _TRAINED:
        rates = get_layer_lr_mult(layer)
        if any(rates):
            words.append("lr mult: {:.1f}, {:.1f}".format(*rates))
    return f'"{separator.join(words)}"'


def _window(layer: caffe_pb2.LayerParameter) -> Iterator[str]:
    """The kernel, stride and padding of a layer that moves a window."""
    if layer.type == "Pooling" and layer.pooling_param.global_pooling:
        yield "global"
        return
    param = layer.pooling_param if layer.type == "Pooling" else layer.convolution_param
    for words, name, side, default in (
        ("kernel size", "kernel_size", "kernel", 1),
        ("stride", "stride", "stride", 1),
        ("pad", "pad", "pad", 0),
    ):
        if param.HasField(f"{side}_h") or param.HasField(f"{side}_w"):
            sizes = [getattr(param, f"{side}_h"), getattr(param, f"{side}_w")]
        else:
            stated = getattr(param, name)
            sizes = [stated] if isinstance(stated, int) else list(stated) or [default]
        yield f"{words}: {'x'.join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))}"


def _escaped(text: str) -> str:
    """Text of a net inside a label in quotes, of a node that may be a record."""
    return "".join(_ESCAPES.get(char, char) for char in printable(text))


def get_pydot_graph(
    caffe_net: caffe_pb2.NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> pydot.Dot:
    """A net as a graph of pydot. Blobs that no layer reads are plain ellipses.

    Args:
        caffe_net: the net, of any age.
        rankdir: the direction of the drawing: "LR", "RL", "TB" or "BT".
        label_edges: with `get_edge_label`.
        phase: only the layers of that phase, 0 for TRAIN, 1 for TEST; all if None.
        display_lrm: with the multipliers of the learning rates.

    Raises:
        UnsupportedError: pydot is not installed.
        LayerValueError: a layer has both include and exclude rules.
        CaffeCompatError: an old net cannot be brought to today's form.
    """
    try:
        import pydot
    except ImportError as error:
        raise UnsupportedError(
            "drawing a net needs pydot, which is not installed", hint="pip install 'caffecompat[draw]'"
        ) from error
    graph = pydot.Dot(f'"{_escaped(caffe_net.name or "Net")}"', graph_type="digraph", rankdir=rankdir)
    # By the kind of the node and its name; of several with one name the last counts.
    nodes: dict[tuple[str, str], pydot.Node] = {}
    edges: list[tuple[tuple[str, str], tuple[str, str], str]] = []
    for layer in _layers(caffe_net):
        if phase is not None and not _included(layer, phase):
            continue
        key = (layer.type, layer.name)
        nodes[key] = pydot.Node(get_layer_label(layer, rankdir, display_lrm), **_style(layer))
        for blob in layer.bottom:
            nodes["", blob] = pydot.Node(f'"{_escaped(blob)}"', **BLOB_STYLE)
            edges.append((("", blob), key, _NO_LABEL))
        for blob in layer.top:
            nodes["", blob] = pydot.Node(f'"{_escaped(blob)}"')
            edges.append((key, ("", blob), get_edge_label(layer) if label_edges else _NO_LABEL))
    for node in nodes.values():
        graph.add_node(node)
    for source, target, label in edges:
        graph.add_edge(pydot.Edge(nodes[source], nodes[target], label=label))
    return graph


def _layers(net: caffe_pb2.NetParameter) -> Iterator[caffe_pb2.LayerParameter]:
    if net.layers:
        net = upgrade_net(ParsedNet(net)).message
    yield from net.layer


def _included(layer: caffe_pb2.LayerParameter, phase: int) -> bool:
    """Whether a layer has no rules that keep it out of a phase, whatever they say of levels and stages."""
    if layer.include and layer.exclude:
        raise LayerValueError("the layer has both include and exclude rules", layer=layer.name)
    if layer.include:
        return any(not rule.HasField("phase") or rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _style(layer: caffe_pb2.LayerParameter) -> dict[str, Any]:
    if len(layer.bottom) == 1 and layer.bottom == layer.top:
        return NEURON_LAYER_STYLE
    return {**LAYER_STYLE_DEFAULT, "fillcolor": choose_color_by_layertype(layer.type)}


def draw_net(
    caffe_net: caffe_pb2.NetParameter,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """A net drawn.

    Args:
        caffe_net: the net.
        rankdir: the direction.
        ext: the format: one of Graphviz's, or "dot", "gv" or "raw" for the graph itself.
        phase: as `get_pydot_graph`.
        display_lrm: as `get_pydot_graph`.

    Returns:
        What a file of this format holds.

    Raises:
        UnsupportedError: pydot or Graphviz is not installed.
        UsageError: Graphviz cannot draw it, or does not know the format.
    """
    text = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm).to_string().encode()
    if ext in _TEXT:
        return text
    try:
        done = subprocess.run(["dot", f"-T{ext}"], input=text, capture_output=True, check=False)
    except OSError as error:
        raise UnsupportedError(
            f"drawing as {quoted(ext)} needs Graphviz, whose program `dot` cannot be run: {error.strerror}",
            hint="install Graphviz (graphviz.org), or ask for the ending .dot: that needs none",
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise UsageError(f"Graphviz cannot draw the net as {quoted(ext)}: {said}")
    return done.stdout


def draw_net_to_file(
    caffe_net: caffe_pb2.NetParameter,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """A net drawn into a file, in the format that its ending names; the other arguments are those of `draw_net`.

    Raises:
        UsageError: the file has no ending, or one that Graphviz does not know.
        CaffeCompatError: as `draw_net`; or the file cannot be written.
    """
    ending = os.path.splitext(filename)[1]
    if not ending:
        raise UsageError("the ending of the file says what to draw: .png, .pdf, .svg, .dot", file=filename)
    picture = draw_net(caffe_net, rankdir, ending[1:], phase, display_lrm)
    with atomic_write(filename) as file:
        file.write(picture)
