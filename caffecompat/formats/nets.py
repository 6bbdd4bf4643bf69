"""Nets and solvers from prototxt files of any age, in today's form."""

from __future__ import annotations

import os

from caffecompat.errors import FormatError
from caffecompat.formats.either import NET_FIELDS, SOLVER_FIELDS, message_fields
from caffecompat.formats.parsed import ParsedNet, ParsedSolver
from caffecompat.formats.prototxt import parse_text, read_text
from caffecompat.formats.solver_upgrade import upgrade_solver
from caffecompat.formats.unknown import warn_unknown
from caffecompat.formats.upgrade import upgrade_net
from caffecompat.schema import caffe_pb2

NETS_INSIDE = ("net_param", "train_net_param", "test_net_param")


def parse_net(text: str | bytes, file: str | None = None) -> ParsedNet:
    """A net from prototxt text, upgraded to V2.

    Args:
        text: the prototxt.
        file: the path that errors are to name.

    Raises:
        FormatError: it is not prototxt.
        SchemaError: a value its field cannot hold, or a mixture of old and new forms.
        GraphError: old forms that make no net.
    """
    return upgrade_net(parse_text(text, caffe_pb2.NetParameter, file))


def read_net(path: str | os.PathLike[str]) -> ParsedNet:
    """A net from a prototxt file, upgraded to V2.

    Raises:
        FormatError: the file cannot be read, is not prototxt, or is of the other kind.
        SchemaError: a value its field cannot hold, or a mixture of old and new forms.
        GraphError: old forms that make no net.
    """
    parsed: ParsedNet = read_text(path, caffe_pb2.NetParameter)
    outside = {field.name for field in parsed.unknown if not field.path}
    if not outside.isdisjoint(SOLVER_FIELDS) and not message_fields(parsed.message) & NET_FIELDS:
        raise FormatError("expected a net, got a solver", file=path, hint="give the net that the solver names")
    return upgrade_net(parsed)


def read_solver(path: str | os.PathLike[str]) -> ParsedSolver:
    """A solver from a prototxt file, in today's form; fields that the schema does not know are warned of.

    Raises:
        FormatError: the file cannot be read, is not prototxt, or is of the other kind.
        SchemaError: a value its field cannot hold, or both forms of its type.
        GraphError: a net inside that cannot be upgraded.
    """
    read: ParsedSolver = read_text(path, caffe_pb2.SolverParameter)
    names = {field.name for field in read.unknown if not field.path}
    if not names.isdisjoint(NET_FIELDS) and not message_fields(read.message) & SOLVER_FIELDS:
        raise FormatError("expected a solver, got a net", file=path, hint="give the solver that names it")
    parsed = upgrade_solver(read)
    # Those of nets inside are reported when their graph is built.
    outside = [field for field in parsed.unknown if not field.path or field.path[0] not in NETS_INSIDE]
    warn_unknown(outside, "SolverParameter")
    return parsed
