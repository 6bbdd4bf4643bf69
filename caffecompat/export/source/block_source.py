"""The class of a block as source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from caffecompat.export.source.item import Item, Value
from caffecompat.export.source.names import common_prefix, unnumbered, variable
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
        inputs[value] = variable(_within(value.name, prefix), "other", taken) if inputs else "x"
        taken.add(inputs[value])
    named = dict(zip(block, attributes, strict=True))
    makers = {value: item for item in block for value in item.outputs}

    def called(value: Value) -> str:
        if value in inputs:
            return inputs[value]
        maker = makers[value]
        if len(maker.outputs) > 1:
            shared = common_prefix([each.name for each in maker.outputs])
            return variable(value.name.removeprefix(shared), maker.kind, ())
        rest = unnumbered(value.name.removeprefix(prefix))
        if prefix and rest not in ("", value.name) and not rest[0].isdigit():
            return variable(rest, maker.kind, ())
        while not named[maker] and len(maker.inputs) == 1 and maker.inputs[0] in makers:
            maker = makers[maker.inputs[0]]
        return variable(named[maker] or maker.kind, maker.kind, ())

    forward = Forward(block, named, inputs, exits, called, returned_one).lines()
    types = ["Tensor"] * len(exits)
    result = types[0] if len(types) == 1 else f"tuple[{', '.join(types)}]"
    signature = f"def forward(self, {', '.join(f'{each}: Tensor' for each in inputs.values())}) -> {result}:"
    return class_lines(name, _described(block, entries), parameters, init, signature, forward)


def _within(blob: str, prefix: str) -> str:
    """What a blob from outside is called in a block: nothing of the first one's number or of another one's name."""
    rest = blob.removeprefix(prefix)
    foreign = rest == blob and common_prefix([blob, prefix])
    return "other" if foreign or rest[:1].isdigit() else rest


def _described(block: Sequence[Item], entries: Sequence[Value]) -> str:
    kinds = [item.make.function if item.is_block and item.make else item.kind for item in block if item.has_module]
    parts = []
    for kind in dict.fromkeys(kinds):
        count = kinds.count(kind)
        one, many = _WORDS.get(kind, (f"a {kind}", f"{kind}s"))
        parts.append(one if count == 1 else f"{_NUMBERS.get(count, str(count))} {many}")
    text = ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1] if parts else "a step"
    if any(item.kind == "add" and set(item.inputs) & set(entries) for item in block):
        text += ", with a shortcut"
    elif block[-1].kind == "concat":
        text += ", joined"
    return text[0].upper() + text[1:] + "."
