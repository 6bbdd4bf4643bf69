"""Blocks: items that come several times in the same structure, as a class of their own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from caffecompat.export.source.block_source import block_source
from caffecompat.export.source.item import CHANNELS, Argument, Item, Make, Value
from caffecompat.export.source.names import (
    attribute,
    class_name,
    common_prefix,
    common_word,
    stem,
    unnumbered,
    variable,
)
from caffecompat.export.source.runs import ACTIVATIONS
from caffecompat.export.source.text import literal
from caffecompat.export.source.uses import count_uses, sharing

_MAX_LENGTH = 48
# Longer nets stay as they are: nobody reads them, and looking would take long.
_MAX_ITEMS = 3000
_MAX_INPUTS, _MAX_OUTPUTS = 3, 3
# A block ends well where its branches come together.
_JOINING = ("add", "concat")
# Lines of a class that are no item's, and those that a block takes where it is used.
_COST, _LEFT = 7, 2


@dataclass(frozen=True)
class Found:
    """A structure, where it comes, and how many lines it saves."""

    starts: tuple[int, ...]
    length: int
    gain: float


def fold_blocks(items: list[Item], outputs: Sequence[Value], taken: set[str]) -> tuple[list[Item], list[str]]:
    """The items with blocks in the place of theirs, and the source of the classes.

    Args:
        items: in the order they run.
        outputs: what is read of them in the end.
        taken: names of the file; those of the classes are added.
    """
    sources: list[str] = []
    while len(items) <= _MAX_ITEMS:
        found = _best(items, outputs)
        if found is None:
            break
        blocks = [items[start : start + found.length] for start in found.starts]
        folded, source = _fold(items, blocks, outputs, taken)
        sources.append(source)
        replaced = dict(zip(found.starts, folded, strict=True))
        result: list[Item] = []
        place = 0
        while place < len(items):
            if place in replaced:
                result.append(replaced[place])
                place += found.length
            else:
                result.append(items[place])
                place += 1
        items = result
    return items, sources


def _cost(item: Item) -> float:
    return 2.0 if item.has_module else 0.5


def _best(items: Sequence[Item], outputs: Sequence[Value]) -> Found | None:
    uses, shared = count_uses(items, outputs), sharing(items)
    numbers: dict[Hashable, int] = {}
    kinds = [numbers.setdefault(item.structure(), len(numbers)) for item in items]
    usable = [item.foldable and item.shares is None and item not in shared for item in items]
    best: Found | None = None
    for length in range(2, min(_MAX_LENGTH, len(items) // 2) + 1):
        alike: dict[tuple[int, ...], list[int]] = {}
        for start in range(len(items) - length + 1):
            if usable[start] and usable[start + length - 1]:
                alike.setdefault(tuple(kinds[start : start + length]), []).append(start)
        for starts in alike.values():
            if len(starts) > 1 and all(usable[starts[0] : starts[0] + length]):
                best = _better(best, _structured(items, starts, length, uses))
    return best


def _better(best: Found | None, found: Found | None) -> Found | None:
    return found if best is None or (found is not None and found.gain > best.gain) else best


def _structured(items: Sequence[Item], starts: Sequence[int], length: int, uses: dict[Value, int]) -> Found | None:
    """The places, of those with the same kinds of items, that are wired alike and do not overlap."""
    first = items[starts[0] : starts[0] + length]
    inner = [item.kind for item in first if item.is_block]
    cost = sum(map(_cost, first))
    if len(inner) > len(set(inner)):
        # Blocks that follow each other are a chain, no block.
        return None
    if (cost - _LEFT) * len(starts) <= cost + _COST:
        return None
    wired: dict[Hashable, list[int]] = {}
    for start in starts:
        block = items[start : start + length]
        wiring = _wiring(block, uses)
        if wiring is not None:
            places = wired.setdefault(wiring, [])
            if not places or start >= places[-1] + length:
                places.append(start)
    best: Found | None = None
    for places in wired.values():
        if len(places) < 2:
            continue
        gain = (cost - _LEFT) * len(places) - cost - _COST
        if gain <= 0:
            continue
        # A block begins with a submodule rather than with the normalization or the activation of what is before.
        begun = 0.8 if first[0].kind in ("bn", *ACTIVATIONS) else 1.0
        # Where branches come together twice, two blocks follow each other.
        joints = max(1, sum(item.kind in _JOINING for item in first))
        named = all(_prefix(items[start : start + length]) for start in places)
        entries, exits = _ends(items[places[0] : places[0] + length], uses)
        joined = any(item.kind in _JOINING for item in first[-2:])
        gain *= (
            (1.5 if joined else 1.0)
            * begun
            / joints
            * (1.0 if named else 0.6)
            * (1.0 if len(entries) == 1 else 0.8)
            * (1.0 if len(exits) == 1 else 0.9)
        )
        best = _better(best, Found(tuple(places), length, gain))
    return best


def _ends(block: Sequence[Item], uses: dict[Value, int]) -> tuple[list[Value], list[Value]]:
    """What a block reads from outside, and what outside reads of it."""
    own = {value: 0 for item in block for value in item.outputs}
    entries: list[Value] = []
    for item in block:
        for value in item.inputs:
            if value in own:
                own[value] += 1
            elif value not in entries:
                entries.append(value)
    return entries, [value for value, count in own.items() if uses.get(value, 0) > count]


def _wiring(block: Sequence[Item], uses: dict[Value, int]) -> Hashable | None:
    entries, exits = _ends(block, uses)
    if not 1 <= len(entries) <= _MAX_INPUTS or not 1 <= len(exits) <= _MAX_OUTPUTS:
        return None
    made = [value for item in block for value in item.outputs]
    place = {value: index for index, value in enumerate([*entries, *made])}
    reads = tuple(tuple(place[value] for value in item.inputs) for item in block)
    return (reads, tuple(place[value] for value in exits))


def _labels(block: Sequence[Item]) -> list[str]:
    own = [item.label for item in block if item.has_module and item.kind != "bn"]
    return own or [item.label for item in block]


def _prefix(block: Sequence[Item]) -> str:
    return common_prefix(_labels(block))


def _fold(
    items: Sequence[Item], blocks: Sequence[Sequence[Item]], outputs: Sequence[Value], taken: set[str]
) -> tuple[list[Item], str]:
    uses = count_uses(items, outputs)
    prefixes = [_prefix(block) for block in blocks]
    stems = [stem(prefix) for prefix in prefixes]
    word = common_word(stems) if all(stems) else ""
    name = class_name(word if len(word) > 4 else f"{word}_block", "Block", taken)
    taken.add(name)
    attributes = _attributes(blocks, prefixes)
    parameters, texts, passed = _parameters(blocks, attributes)
    folded = []
    for number, (block, values) in enumerate(zip(blocks, passed, strict=True)):
        entries, exits = _ends(block, uses)
        tensors, layers = {}, {}
        for item, attr in zip(block, attributes, strict=True):
            tensors.update({f"{attr}.{key}": tensor for key, tensor in item.tensors.items()})
            layers.update({layer: f"{attr}.{path}".rstrip(".") for layer, path in item.layers.items()})
        folded.append(
            Item(
                stems[number] or f"{name.lower()}{number + 1}",
                word.lower() or "block",
                entries,
                exits,
                make=Make(name, tuple(values)),
                tensors=tensors,
                layers=layers,
                operators=tuple({operator: None for item in block for operator in item.operators}),
                is_block=True,
            )
        )
    entries, exits = _ends(blocks[0], uses)
    source = block_source(name, blocks[0], attributes, parameters, texts, entries, exits, prefixes[0])
    return folded, source


def _attributes(blocks: Sequence[Sequence[Item]], prefixes: Sequence[str]) -> list[str]:
    """The names of the submodules of a block: what follows the prefix in the layers' names, if it is always that."""
    rest = [
        [item.label[len(prefix) :] if item.label.startswith(prefix) else "" for item in block if item.has_module]
        for block, prefix in zip(blocks, prefixes, strict=True)
    ]
    alike = all(each == rest[0] for each in rest)
    names: list[str] = []
    suffixes = iter(rest[0])
    kinds = [item.kind for item in blocks[0] if item.has_module]
    for item in blocks[0]:
        if not item.has_module:
            names.append("")
            continue
        suffix = unnumbered(next(suffixes))
        text = suffix if alike and suffix else item.kind
        if text == item.kind and kinds.count(item.kind) > 1 and not (alike and suffix):
            text = f"{item.kind}{sum(name.startswith(item.kind) for name in names) + 1}"
        names.append(attribute(text, item.kind, names))
    return names


def _parameters(
    blocks: Sequence[Sequence[Item]], attributes: Sequence[str]
) -> tuple[list[str], dict[tuple[int, int], str], list[list[Argument]]]:
    """What blocks differ in.

    Returns:
        The parameters of `__init__`; for the arguments of the items that are parameters, by the place of the item and
        of the argument, which; what each block passes.
    """
    found: dict[Hashable, str] = {}
    names: list[str] = []
    texts: dict[tuple[int, int], str] = {}
    passed: list[tuple[Argument, list[object]]] = []
    kinds: list[type] = []
    for place, item in enumerate(blocks[0]):
        if not item.has_module or item.make is None:
            continue
        for index, argument in enumerate(item.make.arguments):
            values = [_argument(block[place], index).value for block in blocks]
            if not argument.role or all(value == values[0] for value in values):
                continue
            group = "channels" if argument.role in CHANNELS else argument.role
            key = (group, tuple(map(str, values)))
            if key not in found:
                found[key] = _parameter_name(argument, attributes[place], names)
                names.append(found[key])
                passed.append((argument, values))
                kinds.append(type(values[0]))
            texts[place, index] = found[key]
    order = sorted(range(len(names)), key=lambda each: passed[each][0].keyword != "")
    parameters = [_declared(names[each], *passed[each]) for each in order]
    each_block = [
        [
            Argument(passed[each][1][number], names[each] if passed[each][0].keyword else "", passed[each][0].role,
                     passed[each][0].default if passed[each][0].keyword else ...)
            for each in order
        ]
        for number in range(len(blocks))
    ]  # fmt: skip
    return parameters, texts, each_block


def _argument(item: Item, index: int) -> Argument:
    assert item.make is not None
    return item.make.arguments[index]


def _parameter_name(argument: Argument, attr: str, taken: Sequence[str]) -> str:
    role = argument.role
    if role == "in_channels":
        return variable("in_channels" if "in_channels" not in taken else f"{attr}_in", "in_channels", taken)
    if role == "out_channels":
        return variable(attr, "out_channels", taken)
    return variable(role if role not in taken else f"{attr}_{role}", role, taken)


def _declared(name: str, argument: Argument, values: Sequence[object]) -> str:
    types = {_type(value) for value in values}
    if (argument.keyword and argument.default is None) or None in values:
        types.discard("None")
    type_ = " | ".join(sorted(types))
    if None in values or (argument.keyword and argument.default is None):
        type_ += " | None"
    if not argument.keyword or argument.default is ...:
        return f"{name}: {type_}"
    return f"{name}: {type_} = {literal(argument.default)}"


def _type(value: object) -> str:
    if isinstance(value, tuple):
        return f"tuple[{'int' if all(isinstance(each, int) for each in value) else 'float'}, ...]"
    return "None" if value is None else type(value).__name__
