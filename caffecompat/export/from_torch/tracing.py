"""A module as a graph of ATen operations, by torch.export: it sees functions as well as modules."""

from __future__ import annotations

import inspect
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from caffecompat.errors import UnsupportedError, UsageError, quoted

_CALL = re.compile(r"@\d+$")
_CULPRIT = "The following call raised this error:"
_LINE = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def _lrn(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return functional.local_response_norm(x, size, alpha, beta, k)


# PyTorch composes it of nine operations, which nobody would know for a layer of Caffe.
torch.library.define("caffecompat::lrn", "(Tensor input, int size, float alpha, float beta, float k) -> Tensor")
torch.library.impl("caffecompat::lrn", "CompositeExplicitAutograd", _lrn)
torch.library.register_fake("caffecompat::lrn", lambda x, size, alpha, beta, k: torch.empty_like(x))


class _Whole(TorchFunctionMode):
    """Keeps functions that Caffe has a layer for from being taken apart."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is functional.local_response_norm:
            bound = inspect.signature(function).bind(*args, **(kwargs or {}))
            bound.apply_defaults()
            given = bound.arguments
            numbers = (float(given[name]) for name in ("alpha", "beta", "k"))
            return torch.ops.caffecompat.lrn(given["input"], given["size"], *numbers)
        return function(*args, **(kwargs or {}))


def trace(module: nn.Module, args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> ExportedProgram:
    """The operations of a pass, none of which works in place.

    Raises:
        UsageError: the module is in training, or a parameter is not float32.
        UnsupportedError: torch.export cannot follow the module.
    """
    for name, part in module.named_modules():
        if part.training:
            where = f"its {quoted(name)}" if name else "it"
            raise UsageError(f"only a module in evaluation can be converted; {where} is in training", hint=_EVAL)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UsageError(f"expected float32, {quoted(name)} is {tensor.dtype}", hint="call module.float() first")
    try:
        with torch.no_grad(), warnings.catch_warnings(), _silent(), _Whole():
            warnings.simplefilter("ignore")  # torch about itself
            exported = torch.export.export(module, args, dict(kwargs), strict=False)
            program: ExportedProgram = exported.run_decompositions({})
            return program
    except Exception as error:
        if isinstance(error, GuardOnDataDependentSymNode):
            reason = "a branch depends on values of the input, or so does a number that Python takes out of a tensor"
        else:
            first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            reason = f"{type(error).__name__}: {first}"
        # Torch tells where in the module it was, after where in its own code.
        found = _LINE.findall(str(error).rpartition(_CULPRIT)[2]) if _CULPRIT in str(error) else []
        file, line = found[-1] if found else (None, None)
        raise UnsupportedError(
            f"torch.export cannot follow the module: {reason}",
            file=file,
            line=None if line is None else int(line),
            hint="what a pass does may depend on the shapes of its inputs, not on their values",
        ) from error


_EVAL = "call module.eval() first"


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing of torch's log, and no graphs on stderr, which it prints before it fails: the error says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def constants(exported: ExportedProgram) -> dict[str, tuple[Tensor, str]]:
    """The tensors that the program holds, each with its name in the module, by the name of their node."""
    signature = exported.graph_signature
    held: dict[str, Any] = {**exported.state_dict, **exported.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {node: (held[name].detach().cpu(), name) for node, name in names.items()}


def home(node: Node) -> tuple[str, str]:
    """The path of the innermost module that an operation belongs to, and the full name of its class."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return _CALL.sub("", path), name


def place(node: Node) -> tuple[str, int] | None:
    """The file and line of the module's code that an operation comes from: the last not of PyTorch's own modules."""
    found = _LINE.findall(node.meta.get("stack_trace") or "")
    own = [(file, int(line)) for file, line in found if "/torch/nn/" not in file.replace("\\", "/")]
    return own[-1] if own else None


def operation(node: Node) -> str:
    """The name of an operation, without namespace and overload."""
    schema = getattr(node.target, "_schema", None)
    return str(node.target) if schema is None else str(schema.name).split("::")[-1]
