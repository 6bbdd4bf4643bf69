"""The class of a block as source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffecompat.export.source.item import Item, Value
from caffecompat.export.source.names import variable
from caffecompat.export.source.printing import Forward, class_lines, returned_one
from caffecompat.export.source.text import fitted

_WORDS = {
    "conv": ("a convolution", "convolutions"),
    "deconv": ("a transposed convolution", "transposed convolutions"),
    "fc": ("a linear layer", "linear layers"),
    "bn": ("batch normalization", "batch normalizations"),
    "priorbox": ("prior boxes", "prior boxes"),
    "prelu": ("a PReLU", "PReLUs"),
}
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine"}
_LAST = {"add": "added to what is beside them", "concat": "joined"}


def block_source(
    name: str,
    block: Sequence[Item],
    attributes: Sequence[str],
    parameters: Sequence[str],
    texts: Mapping[tuple[int, int], str],
    entries: Sequence[Value],
    exits: Sequence[Value],
    prefix: str,
) -> str:
    """The class of a block.

    Args:
        name: its name.
        block: the items of the first one.
        attributes: the names of their submodules.
        parameters: those of `__init__`, with their types.
        texts: the arguments of items that are parameters, by the places of the item and the argument.
        entries: what it reads.
        exits: what it gives.
        prefix: what the names of its layers begin with.
    """
    init = []
    for place, item in enumerate(block):
        if item.has_module and item.make is not None:
            arguments = [argument.text(texts.get((place, index))) for index, argument in enumerate(item.make.arguments)]
            made = f"{item.make.function}({', '.join(text for text in arguments if text is not None)})"
            init.append(fitted(made, 2, f"self.{attributes[place]} = "))
    taken = {"x"}
    inputs: dict[Value, str] = {}
    for value in entries:
        inputs[value] = variable(value.name, "other", taken) if inputs else "x"
        taken.add(inputs[value])
    named = dict(zip(block, attributes, strict=True))
    makers = {value: item for item in block for value in item.outputs}

    def called(value: Value) -> str:
        if value in inputs:
            return inputs[value]
        rest = value.name[len(prefix) :] if value.name.startswith(prefix) else ""
        return variable(rest or named[makers[value]] or makers[value].kind, makers[value].kind, ())

    forward = Forward(block, named, inputs, exits, called, returned_one).lines()
    types = ["Tensor"] * len(exits)
    result = types[0] if len(types) == 1 else f"tuple[{', '.join(types)}]"
    signature = f"def forward(self, {', '.join(f'{each}: Tensor' for each in inputs.values())}) -> {result}:"
    return class_lines(name, _described(block), parameters, init, signature, forward)


def _described(block: Sequence[Item]) -> str:
    modules = [item.kind for item in block if item.has_module]
    parts = []
    for kind in dict.fromkeys(modules):
        count = modules.count(kind)
        one, many = _WORDS.get(kind, (f"one {kind}", kind))
        parts.append(one if count == 1 else f"{_NUMBERS.get(count, str(count))} {many}")
    text = ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1] if parts else "a step"
    ends = [_LAST[item.kind] for item in block[-2:] if item.kind in _LAST]
    if ends:
        text += f", {ends[-1]}"
    return text[0].upper() + text[1:] + "."
