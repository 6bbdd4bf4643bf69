"""Engine "compile": the trunk compiled by torch.compile, its weights frozen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.graph.spec import BlobKey
from caffecompat.net import Net


class CompileEngine(ProgramEngine):
    """The net by inductor; needs a C++ compiler where it is made. Each number of images is compiled for."""

    name = "compile"
    batches = False

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`; compiles, which takes long."""
        half = self.precision == "bfloat16"
        example = tuple(torch.zeros(trunk.blob_shapes[key]) for key in trunk.graph.inputs)
        with _refusals(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.export.export(_Trunk(trunk), example, strict=False)
            compiled = torch.compile(traced.module(), options={"freezing": True})

        def program(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            values = tuple(inputs[key.name].float() for key in trunk.graph.inputs)
            with _refusals(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
                found = compiled(*values)
            return {key.name: value.float() for key, value in zip(trunk.graph.outputs, found, strict=True)}

        # It compiles in its first pass.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program(dict(zip((key.name for key in trunk.graph.inputs), example, strict=True)))
        return program


class _Trunk(nn.Module):
    """A net with its inputs and outputs in order."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        graph = self.net.graph
        env: dict[BlobKey, Tensor] = dict(zip(graph.inputs, inputs, strict=True))
        self.net.run(env, keep=frozenset(graph.outputs))
        return tuple(env[key] for key in graph.outputs)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except CaffeCompatError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = "it needs a C++ compiler, such as g++; or take another engine"
        raise UnsupportedError(f"torch.compile refuses the net: {reason}", hint=hint) from error
