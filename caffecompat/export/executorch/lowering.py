"""From an exported program to ExecuTorch's: by XNNPACK, or of portable operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

import torch
from torch.export import ExportedProgram

from caffecompat.errors import UnsupportedError
from caffecompat.export.executorch.runtime import load_executorch, quiet, reason

XNNPACK, PORTABLE = "XNNPACK", "portable"


@dataclass(frozen=True)
class Lowered:
    """A program for ExecuTorch.

    Attributes:
        program: the contents of a `.pte`.
        parts: how many parts XNNPACK runs.
        operators: the portable operators beside them.
    """

    program: bytes
    parts: int
    operators: list[str]


def lower(exported: ExportedProgram, backend: str, texts: Mapping[str, str]) -> Lowered:
    """Make ExecuTorch's program of an exported one, which is used up.

    Args:
        exported: the program.
        backend: `XNNPACK`, which leaves to portable operators what it has not, or `PORTABLE`.
        texts: methods of the program that return a text, by name.

    Raises:
        UnsupportedError: ExecuTorch refuses the program.
    """
    exir = load_executorch()
    partitioners = []
    if backend == XNNPACK:
        module = import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
        partitioners.append(module.XnnpackPartitioner())
    try:
        # Its passes run operators on parameters, which some refuse to differentiate.
        with quiet(), torch.no_grad():
            edge = exir.to_edge_transform_and_lower(exported, partitioner=partitioners, constant_methods=dict(texts))
            manager = edge.to_executorch()
            plan = next(plan for plan in manager.executorch_program.execution_plan if plan.name == "forward")
            operators = sorted({operator.name.removeprefix("aten::") for operator in plan.operators})
            return Lowered(manager.buffer, len(plan.delegates), operators)
    except Exception as error:
        raise UnsupportedError(f"ExecuTorch refuses the net: {reason(error)}") from error
