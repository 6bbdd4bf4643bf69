"""From a net to the nodes of its graph, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.errors import UnsupportedError
from caffecompat.export.axes import Axes, fed
from caffecompat.export.onnx.model import Model, Node
from caffecompat.export.onnx.registry import Emitter, Precision, emitters
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import FLOAT, HALF, Value
from caffecompat.graph.spec import BlobKey
from caffecompat.layers.base import Layer
from caffecompat.net import Net


def build_model(net: Net, axes: Axes, *, opset: int, half: bool) -> Model:
    """The graph of a net: layers' names on its nodes, blobs' names on its values.

    Of a blob that layers change in place the last version has the name, or, of an input, the first one; the others are
    `name@0`, `name@1`.

    Raises:
        UnsupportedError: a layer has no form in ONNX; it names the layer.
    """
    return _Builder(net, axes, Model(opset, half)).build()


class _Builder:
    def __init__(self, net: Net, axes: Axes, model: Model) -> None:
        self.net = net
        self.axes = axes
        self.model = model
        self.emitters = emitters()
        self.values: dict[BlobKey, Value] = {}
        self.graph_inputs = set(fed(net))
        named = {**net.graph.last, **{key.name: key for key in self.graph_inputs}}
        model.reserve(set(named))
        for key in net.blob_shapes:
            model.names[key] = key.name if named[key.name] == key else model.value_name(str(key))
        # What is fed and read by nobody is no result.
        self.outputs = [key for key in net.graph.outputs if key not in self.graph_inputs]

    def build(self) -> Model:
        for layer in self.net.layers:
            if layer.spec.row.data and self.graph_inputs.issuperset(layer.spec.tops):
                self._feed(layer)
            else:
                self._emit(layer)
        if not self.outputs:
            raise UnsupportedError("the net has no output, and ONNX needs one", file=self.net.graph.file)
        self.model.outputs = [self.values[key] for key in self.outputs]
        for key in (*self.graph_inputs, *self.outputs):
            pairs = zip(self.axes.shapes[key], self.axes.names[key], strict=True)
            self.model.sizes[self.model.names[key]] = [name if size is None else size for size, name in pairs]
        return self.model

    def _feed(self, layer: Layer) -> None:
        read = {key for spec in self.net.graph.layers for key in spec.bottoms}
        for key in layer.spec.tops:
            value = Value(self.model.names[key], FLOAT, self.axes.shapes[key])
            self.values[key] = value
            if key in read or layer.spec.type == "Input":
                self.model.inputs.append(value)

    def _emit(self, layer: Layer) -> None:
        emitter = self._emitter(layer)
        spec = layer.spec
        bottoms = [self.values[key] for key in spec.bottoms]
        dtype = self._dtype(emitter, bottoms)
        shapes = [self.axes.shapes[key] for key in spec.tops]
        scope = Scope(self.model, layer, [self.model.cast(value, dtype) for value in bottoms], shapes, dtype)
        begin = len(self.model.nodes)
        found = emitter.emit(layer, scope)
        tops = [found] if isinstance(found, Value) else list(found)
        own = self.model.nodes[begin:]
        for index, (key, top) in enumerate(zip(spec.tops, tops, strict=True)):
            node = self._named(key, top, own, scope)
            if index == 0:
                node.name = self.model.node_name(spec.name or "layer")

    def _emitter(self, layer: Layer) -> Emitter:
        emitter = self.emitters.get(type(layer))
        if emitter is None:
            raise layer.error(
                f"layer type {layer.spec.type} has no form in ONNX here",
                hint="losses and evaluation drop out of nets that `caffecompat convert` reads; .pt2 holds most layers",
                kind=UnsupportedError,
            )
        return emitter

    def _dtype(self, emitter: Emitter, bottoms: Sequence[Value]) -> int:
        if not self.model.half or emitter.precision is Precision.SINGLE:
            return FLOAT
        if emitter.precision is Precision.KEPT and any(value.dtype == FLOAT for value in bottoms):
            return FLOAT
        return HALF

    def _named(self, key: BlobKey, top: Value, own: Sequence[Node], scope: Scope) -> Node:
        """Give a top, made by one of the nodes `own` or by others, its blob's name; the node that makes it."""
        name, shape = self.model.names[key], self.axes.shapes[key]
        if key in self.outputs and top.dtype == HALF:
            self.values[key] = Value(name, FLOAT, shape)
            return self._node("Cast", top, name, scope, to=FLOAT)
        self.values[key] = Value(name, top.dtype, shape)
        maker = next((node for node in own if top.name in node.outputs), None)
        if maker is None:
            return self._node("Identity", top, name, scope)
        for node in own:
            node.inputs = [name if each == top.name else each for each in node.inputs]
            node.outputs = [name if each == top.name else each for each in node.outputs]
        return maker

    def _node(self, type_: str, top: Value, name: str, scope: Scope, **attributes: int) -> Node:
        node = Node(type_, [top.name], [name], self.model.node_name(f"{scope.prefix}/{type_}"), dict(attributes))
        self.model.nodes.append(node)
        return node
