"""InnerProduct, Embed, Scale, Bias, PReLU and Parameter: layers that hold a matrix or a vector."""

from __future__ import annotations

from caffecompat.export.source.convolving import tensors_of
from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.inner_product import Embed, InnerProduct
from caffecompat.layers.scale import Bias, PReLU, Scale
from caffecompat.layers.selecting import Parameter


@writes(InnerProduct)
def inner_product(layer: InnerProduct, at: Site) -> None:
    source = at.bottoms[0]
    if len(at.shapes[0]) > layer.first_axis + 1:
        source = at.between(at.bottoms[0].name)
        start = layer.first_axis
        module = Make("nn.Flatten", (Argument(start, "", "", 1),))
        at.function("flatten", f"{{0}}.flatten({start or ''})", at.bottoms, [source], module=module)
    tensors = tensors_of(layer, "weight", "bias")
    if layer.transpose:
        tensors["weight"] = tensors["weight"].t().contiguous()
    arguments = [
        Argument(layer.inputs, "", "in_channels"),
        Argument(layer.outputs, "", "out_channels"),
        Argument(layer.bias is not None, "bias", "", True),
    ]
    at.module("fc", "nn.Linear", arguments, tensors, [source])


@writes(Embed)
def embed(layer: Embed, at: Site) -> None:
    index, rows = at.between(), at.between()
    biased = layer.bias is not None
    at.function("index", "{0}.long()", at.bottoms, [index])
    arguments = [Argument(layer.weight.shape[0]), Argument(layer.outputs)]
    tensors = tensors_of(layer, "weight")
    at.module("embed", "nn.Embedding", arguments, tensors, [index], [rows] if biased else None)
    if biased:
        arguments = [Argument((layer.outputs,)), Argument(0, "behind", "", 0)]
        at.module("bias", "Bias", arguments, tensors_of(layer, "bias"), [rows], operators=["Bias"])


@writes(Scale)
def scale(layer: Scale, at: Site) -> None:
    behind = len(at.shapes[0]) - layer.first_axis - len(layer.operand)
    if len(at.bottoms) == 1:
        name = "Scale" if layer.bias is None else "ScaleBias"
        arguments = [Argument(tuple(layer.operand), "", "out_channels"), Argument(behind, "behind", "", 0)]
        at.module("scale", name, arguments, tensors_of(layer, "weight", "bias"), operators=[name])
        return
    x, factor = at.bottoms
    product = at.tops[0] if layer.bias is None else at.between()
    at.function("scale", f"{{0}} * {_spread('{1}', behind)}", [x, factor], [product])
    if layer.bias is not None:
        arguments = [Argument(tuple(layer.operand), "", "out_channels"), Argument(behind, "behind", "", 0)]
        at.module("bias", "Bias", arguments, tensors_of(layer, "bias"), [product], operators=["Bias"])


@writes(Bias)
def bias(layer: Bias, at: Site) -> None:
    behind = len(at.shapes[0]) - layer.first_axis - len(layer.operand)
    if len(at.bottoms) == 1:
        arguments = [Argument(tuple(layer.operand), "", "out_channels"), Argument(behind, "behind", "", 0)]
        at.module("bias", "Bias", arguments, tensors_of(layer, "bias"), operators=["Bias"])
    else:
        at.function("bias", f"{{0}} + {_spread('{1}', behind)}")


def _spread(name: str, behind: int) -> str:
    """With axes of size 1 behind it."""
    return f"{name}[(...,{' None,' * behind})]".replace(",)", ")") if behind else name


@writes(PReLU)
def prelu(layer: PReLU, at: Site) -> None:
    count = Argument(1 if layer.shared else layer.channels, "", "out_channels", 1)
    at.module("prelu", "nn.PReLU", [count], {"weight": layer.weight.reshape(-1)})


@writes(Parameter)
def parameter(layer: Parameter, at: Site) -> None:
    arguments = [Argument(tuple(layer.blobs[0].shape))]
    at.module("parameter", "Constant", arguments, {"value": layer.blobs[0]}, [], operators=["Constant"])
