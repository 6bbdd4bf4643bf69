"""Who reads what: the same for runs, blocks and chains."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.export.source.item import Item, Value


def count_uses(items: Sequence[Item], outputs: Sequence[Value]) -> dict[Value, int]:
    """How often each value is read, being an output included."""
    uses: dict[Value, int] = {}
    for value in (*outputs, *(value for item in items for value in item.inputs)):
        uses[value] = uses.get(value, 0) + 1
    return uses


def follows(item: Item, last: Item, uses: dict[Value, int]) -> bool:
    """Whether an item reads what the last one made, nothing else, and nobody else reads that."""
    return (
        len(item.inputs) == len(last.outputs) == len(item.outputs) == 1
        and item.inputs[0] is last.outputs[0]
        and uses.get(item.inputs[0]) == 1
        and item.foldable
        and item.shares is None
    )


def sharing(items: Sequence[Item]) -> set[Item]:
    """The items whose submodules others call."""
    return {item.shares for item in items if item.shares is not None}
