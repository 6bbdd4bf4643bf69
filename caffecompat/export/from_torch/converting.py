"""`caffecompat.from_torch`."""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UsageError, quoted
from caffecompat.export.comparing import difference
from caffecompat.export.from_torch.registry import converters
from caffecompat.export.from_torch.scope import Scope, Writer
from caffecompat.export.from_torch.tracing import constants, trace
from caffecompat.export.from_torch.values import Blob, Constant
from caffecompat.export.rebuild import make_net
from caffecompat.net import Net

# The largest difference of an output, as a part of its largest magnitude.
TOLERANCE = 1e-5
# Layer types written here that BVLC's Caffe lacks, and what has them.
FORK_TYPES = {"Permute": "the SSD branch"}

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


def from_torch(
    module: nn.Module, example: Example, *, name: str | None = None, tell: Callable[[str], None] | None = None
) -> Net:
    """A net of Caffe's layers that computes what a module of PyTorch computes.

    The module is traced on the example, each operation becomes the layers that Caffe has for it, and the result is
    compared with the module on the example. Layers have the paths of their modules as names, and blobs those of the
    layers that make them; an input is called `data` if it is the only one, else as the argument of `forward`. The
    layers are those of BVLC's Caffe, but for axes put in another order. `docs/from_torch.md` has the list.

    Args:
        module: the module, in evaluation (`module.eval()`), float32; it does not change, and shares no memory with
            the net.
        example: what it is called with: a tensor, several, or tensors by keyword. Their shapes are those of the net.
        name: the net's name; None means that of the module's class.
        tell: is called with a sentence on each output: which blob it is, and how far it is from the module's.

    Returns:
        The net, in phase TEST, on the CPU. `caffecompat.export.export(net, "x.prototxt")` and `"x.caffemodel"` write
        Caffe's files.

    Raises:
        UsageError: the module is in training or not float32, or the example is none.
        UnsupportedError: Caffe has nothing for an operation; it names the module, the operation and the line.
        CaffeCompatError: an output differs by more than 1e-5 of its largest magnitude.
    """
    args, kwargs = _arguments(module, example)
    exported = trace(module, args, kwargs)
    writer, inputs, outputs = _converted(module, exported, name or type(module).__name__)
    net = make_net(writer.message, writer.blobs)
    fork = sorted({layer.type for layer in writer.message.layer} & set(FORK_TYPES))
    if fork:
        listed = ", ".join(f"{type_} ({FORK_TYPES[type_]})" for type_ in fork)
        warnings.warn(f"the net needs layers that BVLC's Caffe lacks: {listed}", CaffeCompatWarning, stacklevel=2)
    flat = [*args, *(kwargs[key] for key in exported.graph_signature.user_inputs if key in kwargs)]
    with torch.no_grad():
        wanted = [value for value in _leaves(module(*args, **kwargs)) if isinstance(value, Tensor)]
        found = net(**dict(zip(inputs, (value.cpu() for value in flat), strict=True)))
    for blob, right in zip(outputs, wanted, strict=True):
        apart = difference(found[blob], right.cpu())
        if not apart <= TOLERANCE:
            raise CaffeCompatError(
                f"the net is not the module: its output {quoted(blob)} differs by {apart:.1e} of its largest "
                f"magnitude; {TOLERANCE:.0e} is allowed",
                hint="does the module give the same twice? Else its values may be too far apart for float32",
            )
        if tell is not None:
            tell(f"output {quoted(blob)} differs by {apart:.1e} of its largest magnitude")
    return net


def _arguments(module: nn.Module, example: Example) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if not isinstance(module, nn.Module):
        raise UsageError(f"expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, Net):
        raise UsageError("it is a Net already", hint="caffecompat.export.export writes it")
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, Mapping):
        # In the order of the signature, in which torch.export takes them.
        order = list(inspect.signature(module.forward).parameters)
        kwargs = dict(
            sorted(example.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
        )
    else:
        args = (example,) if isinstance(example, Tensor) else tuple(example)
    for value in (*args, *kwargs.values()):
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"expected an example of float32 tensors, got {got}", hint="torch.zeros(1, 3, 224, 224)")
    if not args and not kwargs:
        raise UsageError("the example has no tensor", hint="torch.zeros(1, 3, 224, 224)")
    return args, kwargs


def _leaves(value: Any) -> list[Any]:
    leaves: list[Any] = torch.utils._pytree.tree_leaves(value)
    return leaves


def _converted(module: nn.Module, exported: ExportedProgram, name: str) -> tuple[Writer, list[str], list[str]]:
    """What was written, the names of the inputs, and the blob of each output."""
    writer, table = Writer(module, name), converters()
    held = constants(exported)
    fed = list(exported.graph_signature.user_inputs)
    values: dict[Node, Any] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    for node in exported.graph.nodes:
        if node.op == "placeholder" and node.name in held:
            values[node] = Constant(*held[node.name])
        elif node.op == "placeholder":
            blob = writer.input("data" if len(fed) == 1 else node.name, tuple(node.meta["val"].shape))
            inputs.append(blob.name)
            values[node] = blob
        elif node.op == "output":
            outputs = [_output(writer, values[value]) for value in _leaves(node.args[0]) if isinstance(value, Node)]
        else:
            _step(writer, node, values, table)
            continue
        _count(writer, node, values.get(node))
    writer.share()
    return writer, inputs, outputs


def _step(writer: Writer, node: Node, values: dict[Node, Any], table: Mapping[str, Any]) -> None:
    """Convert one operation."""
    if node.target is operator.getitem:
        values[node] = values[node.args[0]][node.args[1]]  # type: ignore[index]
        _count(writer, node, values[node])
        return
    scope = Scope(writer, node, values)
    read = [values[source] for source in node.all_input_nodes if source in values]
    for value in read:
        if isinstance(value, Blob):
            writer.readers[value.name] -= 1
    if all(isinstance(value, Constant) for value in read):
        values[node] = _computed(scope, node, values)
        return
    convert = table.get(scope.operation)
    if convert is None:
        raise scope.error("Caffe has nothing for it")
    made = convert(scope)
    values[node] = made
    _count(writer, node, made)
    if isinstance(made, Blob) and (made.flat or made.shape) != scope.shape and not made.pads:
        raise scope.error(f"it would give shape {made.flat or made.shape} instead of {scope.shape}")


def _computed(scope: Scope, node: Node, values: Mapping[Node, Any]) -> Any:
    """What an operation makes of constants alone."""

    def tensor(source: Node) -> Any:
        return values[source].tensor

    args = torch.fx.node.map_arg(node.args, tensor)
    kwargs = {key: torch.fx.node.map_arg(value, tensor) for key, value in node.kwargs.items() if key != "device"}
    try:
        result = node.target(*args, **kwargs)  # type: ignore[operator]
    except (RuntimeError, ValueError) as error:
        raise scope.error(f"it fails on the module's constants: {next(iter(str(error).splitlines()), '')}") from error
    return Constant(result) if isinstance(result, Tensor) else [Constant(one) for one in result]


def _count(writer: Writer, node: Node, value: object) -> None:
    if isinstance(value, Blob):
        writer.readers[value.name] += len(node.users)


def _output(writer: Writer, value: object) -> str:
    """The blob of an output of the module, which has to be an output of the net: nothing else may read it."""
    if not isinstance(value, Blob):
        raise UsageError("an output of the module does not depend on its inputs, which Caffe cannot say")
    if not any(value.name in layer.bottom and value.name not in layer.top for layer in writer.message.layer):
        maker = next(layer for layer in writer.message.layer if value.name in layer.top)
        if maker.type != "Input":
            return value.name
    return writer.layer(
        "Power",
        [value],
        f"{value.name}.output",
        blobs=(),
        tops=1,
        in_place=False,
        fixed=False,
        params={},
    )[0].name
