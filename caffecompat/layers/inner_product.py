"""InnerProduct and Embed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer


@layer("InnerProduct")
class InnerProduct(Layer):
    """The axes from `axis` on, flattened, times a matrix. Blobs: weight (num_output, inputs), bias (num_output).

    With `transpose` the weight is (inputs, num_output).
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.inner_product_param
        self.first_axis = self.axis(param.axis, len(bottoms[0]))
        self.inputs = math.prod(bottoms[0][self.first_axis :])
        self.outputs = param.num_output
        self.transpose = param.transpose
        if self.outputs < 1:
            raise self.error("num_output is missing or 0", kind=SchemaError)
        shape = (self.inputs, self.outputs) if self.transpose else (self.outputs, self.inputs)
        self.declare("weight", shape, param.weight_filler)
        if param.bias_term:
            self.declare("bias", (self.outputs,), param.bias_filler)
        else:
            self.bias = None

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The axes before `axis`, then num_output.

        Raises:
            ShapeError: the bottom has another number of values to an item than the weights.
        """
        (bottom,) = bottoms
        inputs = math.prod(bottom[self.first_axis :])
        if inputs != self.inputs or len(bottom) <= self.first_axis:
            raise self.error(
                f"expected {self.inputs} values from axis {self.first_axis} on, got {inputs} in the bottom {bottom}",
                hint="an InnerProduct fixes the size of its bottom; `caffecompat convert --recipe` can make it a "
                "Convolution, which does not",
            )
        return ((*bottom[: self.first_axis], self.outputs),)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() > self.first_axis + 1:
            x = x.flatten(self.first_axis)
        return functional.linear(x, self.weight.t() if self.transpose else self.weight, self.bias)


@layer("Embed")
class Embed(Layer):
    """Rows of a table, looked up by number. Blobs: weight (input_dim, num_output), bias (num_output)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.embed_param
        self.outputs = param.num_output
        if self.outputs < 1 or param.input_dim < 1:
            raise self.error("num_output and input_dim are both needed, and not 0", kind=SchemaError)
        self.declare("weight", (param.input_dim, self.outputs), param.weight_filler)
        if param.bias_term:
            self.declare("bias", (self.outputs,), param.bias_filler)
        else:
            self.bias = None

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The bottom's axes, then num_output."""
        return ((*bottoms[0], self.outputs),)

    def forward(self, x: Tensor) -> Tensor:
        rows = functional.embedding(x.long(), self.weight)
        return rows if self.bias is None else rows + self.bias
