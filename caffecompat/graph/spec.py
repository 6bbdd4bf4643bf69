"""Graph: the layers of one phase, joined by blobs, each checked and with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

from google.protobuf.message import Message

from caffecompat.errors import CaffeCompatError, FormatError, GraphError, Position, SchemaError, located
from caffecompat.formats.parsed import UnknownField
from caffecompat.formats.paths import find
from caffecompat.schema import LayerType, caffe_pb2, layer_type
from caffecompat.schema.plugins import module_of, parameters

Phase = Literal["TRAIN", "TEST"]
Dialect = Literal["ssd", "bvlc"]
DEFAULT_DIALECT: Dialect = "ssd"
Shape = tuple[int, ...]
ErrorKind = type[CaffeCompatError]


class BlobKey(NamedTuple):
    """A blob at one point of the net: a layer that works in place makes the next version of a name."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class ParamRef:
    """One `param { ... }` of a layer.

    Attributes:
        name: the name by which it is shared, or "".
        lr_mult: multiplies the learning rate; of a shared parameter, what its owner and sharers agree on.
        decay_mult: multiplies the weight decay.
        permissive: sharers need only have as many values, not the same shape.
        owner: (index of the layer, index of the blob) that owns the values, or None if this one does.
    """

    name: str = ""
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    permissive: bool = False
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class LayerSpec:
    """One layer of a Graph.

    Attributes:
        index: its place among the layers of the graph.
        name: its name in the prototxt; several layers may have the same one.
        type: its type, as in `schema.LAYER_TYPES`.
        bottoms: the blobs it reads.
        tops: the blobs it makes.
        message: its LayerParameter.
        phase: the phase it runs in: what its own `phase` field says, else the phase of the graph.
        dialect: the Caffe whose rules count where two differ.
        position: where it stands, if it was read from a text.
        loss_weights: one for each top; 0 for what is no loss.
        params: one for each `param { ... }`; blobs beyond them take `ParamRef()`.
        unknown: fields within the layer that the schema does not know.
        root: the folder that relative paths in it start from; None is the working directory, as in Caffe.
    """

    index: int
    name: str
    type: str
    bottoms: tuple[BlobKey, ...]
    tops: tuple[BlobKey, ...]
    message: caffe_pb2.LayerParameter
    phase: Phase = "TEST"
    dialect: Dialect = "ssd"
    position: Position | None = None
    loss_weights: tuple[float, ...] = ()
    params: tuple[ParamRef, ...] = ()
    unknown: tuple[UnknownField, ...] = field(default=(), compare=False)
    root: str | None = None

    @property
    def row(self) -> LayerType:
        """Its row of the table of layer types."""
        return layer_type(self.type)

    def param(self, index: int) -> ParamRef:
        """The `param { ... }` of blob `index`; Caffe's defaults where the prototxt states none."""
        return self.params[index] if index < len(self.params) else ParamRef()

    @property
    def file(self) -> str | None:
        """The file that it stands in."""
        return None if self.position is None else self.position.file

    def find(self, name: str, what: str) -> Path:
        """The path of a file that the layer names: see `formats.paths.find`.

        Raises:
            FormatError: nothing is there.
        """
        try:
            return find(name, what, root=self.root, beside=self.file)
        except FormatError as error:
            raise self.locate(error) from None

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled, the message travels as bytes, to be read when the plug-in that adds its fields is imported.
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["message"] = self.message.SerializePartialToString()
        return _unpickled, (type(self), module_of(self.type), values)

    def error(self, message: str, *, hint: str | None = None, kind: ErrorKind = GraphError) -> CaffeCompatError:
        """An error of this layer: `raise spec.error("...")` names its file, line and name."""
        return self.locate(kind(message, hint=hint))

    def locate(self, error: CaffeCompatError) -> CaffeCompatError:
        """`error`, with this layer's file, line and name where it lacks them."""
        return located(error, self.position, self.name)


def _unpickled(cls: type[LayerSpec], plugin: str | None, values: dict[str, Any]) -> LayerSpec:
    if plugin is not None:
        import_module(plugin)
    message = caffe_pb2.LayerParameter.FromString(values.pop("message"))
    return cls(message=message, **values)


@dataclass(frozen=True)
class Graph:
    """The layers of a net in one phase.

    Attributes:
        name: the net's name.
        layers: in the order they run.
        inputs: the tops of the Input layers and of the data layers, in order.
        outputs: the tops that no layer reads, alphabetical as Caffe numbers them.
        phase: "TRAIN" or "TEST".
        dialect: "ssd" or "bvlc".
        message: the filtered and upgraded NetParameter it was made from; not to be changed.
        force_backward: every blob gets a gradient.
        file: the prototxt's path, or None.
        last: the last version of each blob's name: what a user means by the name.
        root: the folder that relative paths in it start from; None is the working directory, as in Caffe.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    inputs: tuple[BlobKey, ...]
    outputs: tuple[BlobKey, ...]
    phase: Phase
    dialect: Dialect
    message: caffe_pb2.NetParameter
    force_backward: bool = False
    file: str | None = None
    last: dict[str, BlobKey] = field(default_factory=dict)
    root: str | None = None


def message_param(spec: LayerSpec) -> Message | None:
    """The message of the layer type's own parameters, with its defaults where the prototxt has none.

    Raises:
        SchemaError: a required field is missing.
    """
    if not spec.row.param:
        return None
    message = parameters(spec.message, spec.row.param)
    if not message.IsInitialized():
        missing = message.FindInitializationErrors()  # type: ignore[attr-defined]
        raise spec.error(f"{spec.row.param}.{missing[0]} is missing", kind=SchemaError)
    return message
