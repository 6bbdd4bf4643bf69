"""What an operation of a traced module reads and makes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from caffecompat.graph.spec import Shape


@dataclass(frozen=True, eq=False)
class Blob:
    """A blob of the net in the making.

    Attributes:
        name: its name.
        shape: its shape in Caffe.
        flat: the shape that it has in the module, where an InnerProduct is all that reads it: it flattens by itself.
        pads: zeros that are yet to be put around it, where only convolutions read it: before and behind each of its
            last axes, the first of these first.
    """

    name: str
    shape: Shape
    flat: Shape | None = None
    pads: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the inputs.

    Attributes:
        tensor: its values.
        source: its name in the module's `state_dict()`, or None if it was computed.
    """

    tensor: Tensor
    source: str | None = None


Value = Blob | Constant
