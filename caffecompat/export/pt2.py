"""`.pt2`: an exported program. `torch.export.load(path).module()` runs it without caffecompat."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from caffecompat.data.embedding import Embedded
from caffecompat.detection.nms import nms_by_rank
from caffecompat.errors import UnsupportedError, UsageError, did_you_mean, quoted
from caffecompat.formats import atomic_write
from caffecompat.net import Net

if TYPE_CHECKING:
    from caffecompat.data.preprocessing import Preprocessing

MAX_STEPS = 1000


def export_pt2(
    net: Net,
    path: Path,
    *,
    example: Mapping[str, Tensor] | None = None,
    dynamic_batch: bool = True,
    embed: Preprocessing | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bool:
    """Write a net as an exported program: keyword arguments and results by the names of the blobs.

    The net is exported as it computes in evaluation; it does not change.

    Args:
        net: the net, its parameters filled.
        path: where to; replaced whole.
        example: inputs to trace with, by name; those left out are zeros of the shape the net was built for.
        dynamic_batch: let the number of images vary, where the net does not fix it.
        embed: the preprocessing to put into the graph: the picture's input is then uint8 (N, H, W, 3), R, G, B.
        metadata: texts by name; `torch.export.load(path, extra_files={name: ""})` reads them.

    Returns:
        Whether the number of images may vary.

    Raises:
        UsageError: `example` names no input.
        UnsupportedError: a layer cannot be exported, or a recurrent one has more than 1000 time steps.
    """
    check_steps(net)
    program = _Program(net, embed)
    inputs = program.example(example or {})
    with evaluation(net), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec")  # torch about itself
        exported = _trace(program, inputs, dynamic=True) if dynamic_batch else None
        dynamic = exported is not None
        if exported is None:
            exported = _trace(program, inputs, dynamic=False)
        assert exported is not None
        exported = exported.run_decompositions({torch.ops.caffecompat.nms.default: nms_by_rank})
        _strip(exported.graph_module)
    with atomic_write(path) as file:
        torch.export.save(exported, file, extra_files=dict(metadata or {}))
    return dynamic


def check_steps(net: Net) -> None:
    """An exported program has every time step of a recurrent layer written out.

    Raises:
        UnsupportedError: there are more than 1000.
    """
    for layer in net.layers:
        steps = net.blob_shapes[layer.spec.bottoms[0]][0] if layer.spec.type in ("RNN", "LSTM") else 0
        if steps > MAX_STEPS:
            raise layer.error(
                f"{steps} time steps are too many for an exported program, which has each; {MAX_STEPS} are possible",
                hint="build the net for fewer, or convert to .safetensors or .pt",
                kind=UnsupportedError,
            )


class _Program(nn.Module):
    """A net, perhaps behind its preprocessing, whose `forward` has the inputs as named arguments."""

    def __init__(self, net: Net, embed: Preprocessing | None) -> None:
        super().__init__()
        self.net = net
        self.embedded = None if embed is None else Embedded(embed, nn.Identity())
        self.picture = None if embed is None else embed.input
        keywords = {name: keyword for keyword, name in net.input_names.items()}
        self.keywords = {name: keywords.get(name, name) for name in net.inputs}

        def forward(**inputs: Tensor) -> dict[str, Tensor]:
            return self._run(inputs)

        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in self.keywords.values()]
        )
        self.forward = forward

    def _run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.embedded is not None and self.picture is not None:
            keyword = self.keywords[self.picture]
            inputs = {**inputs, keyword: self.embedded.prepare(inputs[keyword])}
        outputs: dict[str, Tensor] = self.net(**inputs)
        return outputs

    def example(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs to trace with, by keyword."""
        for name in given:
            if name not in self.keywords:
                hint = did_you_mean(name, self.keywords)
                raise UsageError(f"example has {quoted(name)}, which is no input of the net", hint=hint)
        inputs = {}
        for key in self.net.graph.inputs:
            shape = self.net.blob_shapes[key]
            value = torch.zeros(shape)
            if key.name == self.picture:
                value = torch.zeros(shape[0], *shape[2:], 3, dtype=torch.uint8)
            inputs[self.keywords[key.name]] = given.get(key.name, value)
        return inputs


@contextmanager
def evaluation(net: Net) -> Iterator[None]:
    """The net in evaluation mode for a while."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _trace(program: _Program, inputs: dict[str, Tensor], *, dynamic: bool) -> ExportedProgram | None:
    """The exported program; None if the number of images was to vary and the net fixes it.

    Raises:
        UnsupportedError: the net cannot be traced.
    """
    shapes: dict[str, dict[int, object]] | None = None
    if dynamic:
        batches = {value.shape[0] for value in inputs.values() if value.dim()}
        if len(batches) != 1:
            return None
        # An example of one image would count as "always one".
        inputs = {name: torch.cat([value, value]) if value.dim() else value for name, value in inputs.items()}
        shapes = {name: {0: Dim.AUTO} if value.dim() else {} for name, value in inputs.items()}
    try:
        exported = torch.export.export(program, (), inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        if dynamic:
            return None
        reason = (str(error).splitlines() or [""])[0]
        raise UnsupportedError(f"torch.export refuses the net: {type(error).__name__}: {reason}") from error
    return exported if not dynamic or _varies(exported) else None


def _strip(module: torch.fx.GraphModule) -> None:
    """Drop what tells where each node came from: paths of this machine, and more text than all the rest."""
    for graph in (part for part in module.modules() if isinstance(part, torch.fx.GraphModule)):
        for node in graph.graph.nodes:
            for key in ("stack_trace", "from_node", "source_fn_stack", "nn_module_stack", "torch_fn"):
                node.meta.pop(key, None)


def _varies(exported: ExportedProgram) -> bool:
    """Whether the first size of every input was left open: a symbol that stands for one number is not."""
    names = set(exported.graph_signature.user_inputs)
    sizes = [node.meta["val"].shape for node in exported.graph.nodes if node.op == "placeholder" and node.name in names]
    firsts = [size[0] for size in sizes if len(size)]
    return all(isinstance(first, torch.SymInt) and first.node.maybe_as_int() is None for first in firsts)
