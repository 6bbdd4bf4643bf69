"""What a text file becomes: a message, and beside it the places of its fields and the fields not known.

Messages carry no attributes, so these travel beside: through upgrade and filtering to the errors that
name a line, and to the writers, which emit unknown fields again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from caffecompat.errors import Position
from caffecompat.schema import caffe_pb2

M = TypeVar("M", bound=Message)

# The way from the root to a field: names, each followed by the index among the fields of that name,
# such as ("layer", 3, "convolution_param", 0).
Path = tuple[str | int, ...]

# Shared by all fields that are no messages: there are thousands of them in a net.
NO_FIELDS: Mapping[str, list[Node]] = MappingProxyType({})


class Node(NamedTuple):
    """The place of a field, and if it is a message, the places of its own fields, by name, in order."""

    line: int
    column: int
    fields: Mapping[str, list[Node]] = NO_FIELDS

    def find(self, *path: str | int) -> Node:
        """The node at a path below this one; where the path leaves the text, the last node on it."""
        node = self
        for name, index in zip(path[::2], path[1::2], strict=True):
            nodes = node.fields.get(str(name), [])
            if not isinstance(index, int) or index >= len(nodes):
                return node
            node = nodes[index]
        return node


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field that the schema does not know.

    Attributes:
        path: the message it stands in.
        name: its name.
        text: the whole field as prototxt, to be written again.
        position: where it stands.
    """

    path: Path
    name: str
    text: str
    position: Position


@dataclass(frozen=True)
class Parsed(Generic[M]):
    """A message read from prototxt.

    Attributes:
        message: the fields that the schema knows.
        root: the places of the fields.
        unknown: the fields that the schema does not know, in the order of the text.
        file: the path it was read from, or None for text from memory.
    """

    message: M
    root: Node = field(default_factory=lambda: Node(1, 1))
    unknown: tuple[UnknownField, ...] = ()
    file: str | None = None

    def position(self, *path: str | int) -> Position:
        """The place of the field at `path`, or of the nearest message around it."""
        node = self.root.find(*path)
        return Position(self.file, node.line, node.column)


ParsedNet = Parsed[caffe_pb2.NetParameter]
ParsedSolver = Parsed[caffe_pb2.SolverParameter]
