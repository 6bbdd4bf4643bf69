"""LSTM, RNN and LSTMUnit: the steps as the body of a Scan, so that any number of them is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from onnx import GraphProto, ValueInfoProto, helper

from caffecompat.export.onnx.registry import emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.recurrent import LSTM, RNN, LSTMUnit, Recurrent


def _cell(at: Scope, cell: Value, gates: Value, cont: Value, size: int) -> tuple[Value, Value]:
    """The next cell and hidden values; gates are input, forget, output and the new values, one after the other."""
    enter, forget, leave, new = at.ops("Split", 4, gates, at.ints(*[size] * 4), axis=-1)
    kept = at.op("Mul", at.op("Mul", cont, at.op("Sigmoid", forget)), cell)
    cell = at.op("Add", kept, at.op("Mul", at.op("Sigmoid", enter), at.op("Tanh", new)))
    return cell, at.op("Mul", at.op("Sigmoid", leave), at.op("Tanh", cell))


@emits(LSTMUnit)
def lstm_unit(layer: LSTMUnit, at: Scope) -> tuple[Value, Value]:
    cell, gates, cont = at.bottoms
    size = at.shapes[0][2]
    if size is None:
        raise at.error("the number of cells must be fixed")
    return _cell(at, cell, gates, at.unsqueeze(cont, 2), size)


@emits(LSTM, RNN)
def recurrent(layer: Recurrent, at: Scope) -> tuple[Value, ...]:
    """Without expose_hidden the state begins as 0: what Caffe carries from pass to pass has no place in a model."""
    x, cont, *others = at.bottoms
    param = layer.spec.message.recurrent_param
    size, rest = param.num_output, at.shapes[0][2:]
    steps, streams = at.sizes_of(x)[:2]
    if None in rest:
        raise at.error("the number of values of a step must be fixed")
    inputs = prod(value or 0 for value in rest)
    gates = at.op("MatMul", at.reshape(x, [steps, streams, inputs]), _transposed(layer, at, 0))
    gates = at.op("Add", gates, at.parameter("1"))
    recurrent = 2
    if len(others) > (layer.parts if param.expose_hidden else 0):
        static = at.op("Flatten", others.pop(0), axis=1)
        gates = at.op("Add", gates, at.op("MatMul", static, _transposed(layer, at, 2)))
        recurrent = 3
    if param.expose_hidden:
        state = [at.op("Squeeze", part, at.ints(0)) for part in others]
    else:
        state = [at.fill(at.vector([streams, size]), 0.0)] * layer.parts
    found = at.ops(
        "Scan",
        layer.parts + 1,
        *state,
        gates,
        at.unsqueeze(cont, 2),
        body=_body(layer, at, _transposed(layer, at, recurrent), size),
        num_scan_inputs=2,
    )
    top = found[-1]
    return (top, *(at.unsqueeze(part, 0) for part in found[:-1])) if param.expose_hidden else (top,)


def _transposed(layer: Recurrent, at: Scope, index: int) -> Value:
    matrix = layer.blobs[index].detach().cpu().float().numpy().T
    return at.initializer(f"{layer.blob_names[index]}.transposed", matrix)


def _body(layer: Recurrent, at: Scope, weight: Value, size: int) -> GraphProto:
    """One step: (state, gates (N, G), cont (N, 1)) -> (state, top). Weights are seen from outside."""
    model = replace(at.model, nodes=[])
    step = Scope(model, layer, at.bottoms, at.tops, at.dtype)
    names = ["hidden", "cell"][: layer.parts]
    former = [Value(model.value_name(f"{step.prefix}/{name}"), at.dtype) for name in names]
    gates, cont = (Value(model.value_name(f"{step.prefix}/{name}"), at.dtype) for name in ("gates", "cont"))
    summed = step.op("Add", gates, step.op("MatMul", step.op("Mul", cont, former[0]), weight))
    if isinstance(layer, LSTM):
        cell, hidden = _cell(step, former[1], summed, cont, size)
        state, top = [hidden, cell], hidden
    else:
        hidden = step.op("Tanh", summed)
        state = [hidden]
        last = len(layer.blobs) - 2
        product = step.op("MatMul", hidden, _transposed(layer, at, last))
        top = step.op("Tanh", step.op("Add", product, step.parameter(layer.blob_names[last + 1])))
    state = [step.op("Identity", part) for part in state]
    return helper.make_graph(
        [node.proto() for node in model.nodes],
        f"{step.prefix}/step",
        _infos([*former, gates, cont]),
        _infos([*state, top]),
    )


def _infos(values: Sequence[Value]) -> list[ValueInfoProto]:
    return [helper.make_tensor_value_info(value.name, value.dtype, None) for value in values]
