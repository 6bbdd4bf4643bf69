"""Chains and fans: blocks of one class one after the other, or side by side into the same concatenations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import Tensor

from caffecompat.export.source.item import Argument, Item, Make, Value
from caffecompat.export.source.names import beginning, common_word, stem
from caffecompat.export.source.text import Raw
from caffecompat.export.source.uses import count_uses, follows

_CONCAT = "torch.cat([{*}], "


def fold_chains(items: Sequence[Item], outputs: Sequence[Value], classes: Collection[str]) -> list[Item]:
    """Blocks that follow each other, each read by the next alone, as an nn.Sequential."""
    uses = count_uses(items, outputs)
    result: list[Item] = []
    place = 0
    while place < len(items):
        chain = [items[place]]
        if _is_block(items[place], classes):
            for item in items[place + 1 :]:
                if not _is_block(item, classes) or not follows(item, chain[-1], uses):
                    break
                if _made(item).function != _made(chain[0]).function:
                    break
                chain.append(item)
        result.append(
            _joined(chain, "nn.Sequential", f"{chain[0].label}_to_{chain[-1].label}") if chain[1:] else chain[0]
        )
        place += len(chain)
    return result


def fold_fans(items: Sequence[Item], outputs: Sequence[Value], classes: Collection[str]) -> list[Item]:
    """Blocks whose results are read by the same concatenations alone, in their order, as an nn.ModuleList.

    Source of the idea: SSD's predictions from several feature maps.
    """
    result = list(items)
    for name in classes:
        fan = [item for item in result if item.has_module and _made(item).function == name]
        concats = _concats(fan, result, outputs)
        if len(fan) < 3 or concats is None:
            continue
        last = result.index(fan[-1])
        before = set(result[: last + 1])
        if any(concat in before for concat in concats):
            continue
        sources = Value("sources")
        label = common_word([stem(item.label) for item in fan]).lower() or "blocks"
        others = fan[0].inputs[1:]
        given = ", ".join(["source", *(f"{{{place + 1}}}" for place in range(len(others)))])
        loop = f"block({given}) for block, source in zip({{self}}, {{0}})"
        parts = [Value(f"{concat.outputs[0].name}_parts") for concat in concats]
        joined = _joined(fan, "nn.ModuleList", label)
        joined = replace(
            joined,
            inputs=[sources, *others],
            outputs=parts,
            template=f"zip(*({loop}))" if len(parts) > 1 else f"[{loop}]",
        )
        gather = Item("sources", "sources", [item.inputs[0] for item in fan], [sources], "[{*}]")
        replaced = {
            concat: replace(concat, inputs=[part], template=concat.template.replace("[{*}]", "{0}"))
            for concat, part in zip(concats, parts, strict=True)
        }
        kept = [item for item in result[: last + 1] if item not in fan]
        result = [*kept, gather, joined, *(replaced.get(item, item) for item in result[last + 1 :])]
    return result


def _concats(fan: Sequence[Item], items: Sequence[Item], outputs: Sequence[Value]) -> list[Item] | None:
    """For each output of the blocks, the concatenation of all of them; None if there is no such."""
    if not fan or any(item.inputs[1:] != fan[0].inputs[1:] or len(item.outputs) != len(fan[0].outputs) for item in fan):
        return None
    uses = count_uses(items, outputs)
    found = []
    for column in range(len(fan[0].outputs)):
        values = [item.outputs[column] for item in fan]
        concat = next((item for item in items if item.template.startswith(_CONCAT) and item.inputs == values), None)
        if concat is None or any(uses.get(value) != 1 for value in values):
            return None
        found.append(concat)
    made = {value for item in fan for value in item.outputs}
    return None if any(value in made for item in fan for value in item.inputs) else found


def _made(item: Item) -> Make:
    assert item.make is not None
    return item.make


def _is_block(item: Item, classes: Collection[str]) -> bool:
    return item.has_module and item.make is not None and item.make.function in classes


def _joined(blocks: Sequence[Item], container: str, label: str) -> Item:
    texts = [_made(block).text() for block in blocks]
    name = stem(beginning([block.label for block in blocks]))
    if len(set(texts)) == 1 and len(texts) > 2:
        made = f"{texts[0]} for _ in range({len(texts)})"
        raw = [f"*({made})" if container == "nn.Sequential" else f"[{made}]"]
    else:
        raw = texts if container == "nn.Sequential" else [f"[{', '.join(texts)}]"]
    tensors: dict[str, Tensor] = {}
    layers: dict[str, str] = {}
    for place, block in enumerate(blocks):
        tensors.update({f"{place}.{key}": tensor for key, tensor in block.tensors.items()})
        layers.update({layer: f"{place}.{path}".rstrip(".") for layer, path in block.layers.items()})
    return replace(
        blocks[0],
        label=name if len(name) > 2 else label,
        kind="blocks",
        outputs=blocks[-1].outputs,
        make=Make(container, tuple(Argument(Raw(text)) for text in raw)),
        tensors=tensors,
        layers=layers,
        operators=tuple({operator: None for block in blocks for operator in block.operators}),
    )
