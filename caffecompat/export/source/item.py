"""Items: what a net's source is made of before it is text."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from caffecompat.export.source.text import literal

# Roles of numbers that count channels: where several are equal in all blocks, they are one parameter.
CHANNELS = frozenset({"in_channels", "out_channels", "groups"})


@dataclass(eq=False)
class Value:
    """A tensor that flows through the net; `name` is its blob's."""

    name: str


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor.

    Attributes:
        value: what is passed.
        keyword: by which keyword, or "".
        role: what it is, where blocks may differ in it; "" where it belongs to their structure.
        default: it is left out where it is this.
    """

    value: object
    keyword: str = ""
    role: str = ""
    default: object = ...

    def text(self, value: str | None = None) -> str | None:
        """As source, with another text for its value if given; None if it is left out."""
        if value is None:
            if self.value == self.default:
                return None
            value = literal(self.value)
        return f"{self.keyword}={value}" if self.keyword else value


@dataclass
class Make:
    """How a submodule is made: a class or function, and its arguments."""

    function: str
    arguments: tuple[Argument, ...] = ()

    def text(self) -> str:
        """The call, on one line."""
        texts = (argument.text() for argument in self.arguments)
        return f"{self.function}({', '.join(text for text in texts if text is not None)})"


@dataclass(eq=False)
class Item:
    """One step of `forward`, and the submodule that it needs.

    Attributes:
        label: the layer's name.
        kind: a short word for it, as a name begins where the label says nothing.
        inputs: what it reads.
        outputs: what it makes.
        template: the expression, `{0}` for the first input, `{*}` for all, `{self}` for the submodule; "" calls that.
        make: how its submodule is made; of an item with a template only where it stands in an nn.Sequential.
        tensors: the submodule's parameters and buffers.
        layers: of each layer of Caffe in it, where in the submodule its parameters are.
        shares: the item whose submodule it calls.
        operators: functions of `operators` that it needs.
        named: its inputs must be plain names.
        foldable: it may become part of a run or a block.
        is_block: it is one, folded.
    """

    label: str
    kind: str
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    template: str = ""
    make: Make | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    shares: Item | None = None
    operators: tuple[str, ...] = ()
    named: bool = False
    foldable: bool = True
    is_block: bool = False

    @property
    def has_module(self) -> bool:
        """Whether it has a submodule of its own."""
        return (not self.template or "{self}" in self.template) and self.shares is None

    @property
    def is_light(self) -> bool:
        """Whether it is a plain function, that may stand around the expression before it."""
        return bool(self.template)

    def structure(self) -> Hashable:
        """What is alike in items that differ in channels and the like alone."""
        if not self.has_module or self.make is None:
            return (self.template, self.shares is None or id(self), len(self.inputs))
        static = tuple(
            (a.keyword, literal(a.value) if not a.role or a.role == "kernel_size" else a.role)
            for a in self.make.arguments
        )
        shapes = tuple((name, tensor.dim()) for name, tensor in self.tensors.items())
        return (self.make.function, static, shapes, len(self.inputs), len(self.outputs))
