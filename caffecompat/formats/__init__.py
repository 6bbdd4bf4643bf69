"""Files in and out: prototxt, caffemodel, HDF5, means; nets and solvers of any age upgraded to V2.

What is named here is imported when it is first used: reading prototxt needs no numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from caffecompat.formats.atomic import atomic_write
    from caffecompat.formats.caffemodel import write_caffemodel
    from caffecompat.formats.hdf5 import write_hdf5
    from caffecompat.formats.mean import read_mean, write_mean
    from caffecompat.formats.nets import parse_net, read_net, read_solver
    from caffecompat.formats.parsed import Node, Parsed, ParsedNet, ParsedSolver, UnknownField
    from caffecompat.formats.prototxt import parse_text, read_text
    from caffecompat.formats.prototxt_writer import save_text, write_text
    from caffecompat.formats.solver_upgrade import upgrade_solver
    from caffecompat.formats.solverstate import SolverState, read_solverstate, write_solverstate
    from caffecompat.formats.upgrade import upgrade_net
    from caffecompat.formats.upgrade_report import upgrade_notes
    from caffecompat.formats.weight_files import read_weights
    from caffecompat.formats.weights import LayerWeights, WeightBlob, Weights

_MODULES = {
    "LayerWeights": "weights",
    "Node": "parsed",
    "Parsed": "parsed",
    "ParsedNet": "parsed",
    "ParsedSolver": "parsed",
    "SolverState": "solverstate",
    "UnknownField": "parsed",
    "WeightBlob": "weights",
    "Weights": "weights",
    "atomic_write": "atomic",
    "parse_net": "nets",
    "parse_text": "prototxt",
    "read_mean": "mean",
    "read_net": "nets",
    "read_solver": "nets",
    "read_solverstate": "solverstate",
    "read_text": "prototxt",
    "read_weights": "weight_files",
    "save_text": "prototxt_writer",
    "upgrade_net": "upgrade",
    "upgrade_notes": "upgrade_report",
    "upgrade_solver": "solver_upgrade",
    "write_caffemodel": "caffemodel",
    "write_hdf5": "hdf5",
    "write_mean": "mean",
    "write_solverstate": "solverstate",
    "write_text": "prototxt_writer",
}

__all__ = [
    "LayerWeights",
    "Node",
    "Parsed",
    "ParsedNet",
    "ParsedSolver",
    "SolverState",
    "UnknownField",
    "WeightBlob",
    "Weights",
    "atomic_write",
    "parse_net",
    "parse_text",
    "read_mean",
    "read_net",
    "read_solver",
    "read_solverstate",
    "read_text",
    "read_weights",
    "save_text",
    "upgrade_net",
    "upgrade_notes",
    "upgrade_solver",
    "write_caffemodel",
    "write_hdf5",
    "write_mean",
    "write_solverstate",
    "write_text",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
