"""Prototxt that may be a net or a solver: which of them it is, is told by its fields."""

from __future__ import annotations

import os

from google.protobuf.message import Message

from caffecompat.errors import FormatError
from caffecompat.formats.parsed import ParsedNet, ParsedSolver
from caffecompat.formats.prototxt import read_text
from caffecompat.schema import caffe_pb2

SOLVER_FIELDS = {
    "base_lr",
    "lr_policy",
    "max_iter",
    "net",
    "net_param",
    "solver_type",
    "test_net",
    "train_net",
    "train_net_param",
}
NET_FIELDS = {"force_backward", "input", "input_dim", "input_shape", "layer", "layers"}


def message_fields(message: Message) -> set[str]:
    """The names of the fields that a message has."""
    return {field.name for field, _ in message.ListFields()}


def read_net_or_solver(path: str | os.PathLike[str]) -> ParsedNet | ParsedSolver:
    """The file as what it is, in the form of its age.

    Raises:
        FormatError: it is neither, or no prototxt.
        SchemaError: a value that its field cannot hold.
    """
    net: ParsedNet = read_text(path, caffe_pb2.NetParameter)
    names = [field.name for field in net.unknown if not field.path]
    if message_fields(net.message) & NET_FIELDS:
        return net
    if SOLVER_FIELDS.isdisjoint(names):
        raise FormatError("expected a net or a solver, got a text without the fields of either", file=path)
    solver: ParsedSolver = read_text(path, caffe_pb2.SolverParameter)
    return solver
