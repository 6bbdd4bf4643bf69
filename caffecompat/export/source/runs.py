"""Runs: convolutions of one kind one after the other, each with its activation, as a call of one function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace

from caffecompat.export.source.item import Argument, Item, Make, Value
from caffecompat.export.source.names import common_prefix, stem, variable
from caffecompat.export.source.text import fitted, literal
from caffecompat.export.source.uses import count_uses, follows, sharing

ACTIVATIONS = ("relu", "leaky_relu", "relu6", "elu", "sigmoid", "tanh", "swish", "mish", "hardswish", "prelu")
_NUMBERS = ("kernel_size", "stride", "padding", "dilation")
# Lines of the function itself.
_COST = 9


@dataclass(frozen=True)
class _Run:
    start: int
    units: list[list[Item]]

    @property
    def end(self) -> int:
        return self.start + sum(map(len, self.units))


def fold_runs(items: Sequence[Item], outputs: Sequence[Value], taken: set[str]) -> tuple[list[Item], list[str]]:
    """The items with runs in the place of theirs, and the source of the functions that make these.

    Args:
        items: in the order they run.
        outputs: what is read of them in the end.
        taken: names of the file; those of the functions are added.
    """
    kinds: dict[Hashable, list[_Run]] = {}
    for run in _runs(items, outputs):
        kinds.setdefault(_kind(run.units[0]), []).append(run)
    folded: dict[int, tuple[_Run, Item]] = {}
    sources = []
    for runs in kinds.values():
        if sum(2 * len(run.units) - 2 for run in runs) <= _COST:
            continue
        name = variable("_".join(item.kind for item in runs[0].units[0]), "layers", taken)
        taken.add(name)
        usual = {
            role: Counter(_number(run.units[0][0], role) for run in runs).most_common(1)[0][0] for role in _NUMBERS
        }
        varied = [role for role in _NUMBERS if any(_number(run.units[0][0], role) != usual[role] for run in runs)]
        sources.append(_source(name, runs[0].units[0], usual, varied))
        for run in runs:
            folded[run.start] = (run, _item(name, run, usual, varied))
    result: list[Item] = []
    place = 0
    while place < len(items):
        if place in folded:
            run, item = folded[place]
            result.append(item)
            place = run.end
        else:
            result.append(items[place])
            place += 1
    return result, sources


def _runs(items: Sequence[Item], outputs: Sequence[Value]) -> list[_Run]:
    uses, shared = count_uses(items, outputs), sharing(items)
    found: list[_Run] = []
    place = 0
    while place < len(items):
        unit = _unit(items, place, uses, shared)
        if unit is None:
            place += 1
            continue
        run = _Run(place, [unit])
        while True:
            following = _unit(items, run.end, uses, shared)
            last = run.units[-1][-1]
            if following is None or not follows(following[0], last, uses) or not _alike(following, unit):
                break
            run.units.append(following)
        if len(run.units) > 1:
            found.append(run)
        place = run.end
    return found


def _unit(items: Sequence[Item], place: int, uses: dict[Value, int], shared: Collection[Item]) -> list[Item] | None:
    """A convolution at this place with what normalizes and activates it."""
    unit: list[Item] = []
    for item in items[place : place + 3]:
        if item in shared or not item.foldable or item.shares is not None:
            break
        if not unit:
            if item.kind != "conv" or item.make is None or _number(item, "groups") != 1:
                return None
        elif not follows(item, unit[-1], uses) or item.make is None or item.kind not in ("bn", *ACTIVATIONS):
            break
        unit.append(item)
        if item.kind in ACTIVATIONS:
            return unit
    return None


def _number(item: Item, role: str) -> object:
    assert item.make is not None
    return next(argument.value for argument in item.make.arguments if argument.role == role)


def _kind(unit: Sequence[Item]) -> Hashable:
    """What units of one function have in common."""
    parts: list[Hashable] = [unit[0].make.function if unit[0].make else "", "bias" in unit[0].tensors]
    for item in unit[1:]:
        assert item.make is not None
        static = tuple((a.keyword, a.role or literal(a.value)) for a in item.make.arguments)
        parts.append((item.make.function, static, tuple(item.tensors)))
    return tuple(parts)


def _alike(unit: Sequence[Item], other: Sequence[Item]) -> bool:
    numbers = all(_number(unit[0], role) == _number(other[0], role) for role in _NUMBERS)
    return numbers and _kind(unit) == _kind(other)


def _item(name: str, run: _Run, usual: dict[str, object], varied: Sequence[str]) -> Item:
    first, last = run.units[0][0], run.units[-1][-1]
    arguments = [Argument(_number(first, "in_channels"), "", "in_channels")]
    arguments += [Argument(_number(unit[0], "out_channels"), "", "out_channels") for unit in run.units]
    arguments += [Argument(_number(first, role), role, role, usual[role]) for role in varied]
    tensors, layers = {}, {}
    for place, item in enumerate(item for unit in run.units for item in unit):
        tensors.update({f"{place}.{key}": tensor for key, tensor in item.tensors.items()})
        layers.update(dict.fromkeys(item.layers, f"{place}"))
    labels = [unit[0].label for unit in run.units]
    label = stem(common_prefix(labels)) or f"{labels[0]}_to_{labels[-1]}"
    return replace(
        first,
        label=label,
        kind=name,
        outputs=last.outputs,
        make=Make(name, tuple(arguments)),
        tensors=tensors,
        layers=layers,
    )


def _source(name: str, unit: Sequence[Item], usual: dict[str, object], varied: Sequence[str]) -> str:
    layers = []
    for item in unit:
        assert item.make is not None
        texts = []
        for argument in item.make.arguments:
            if argument.role == "in_channels":
                texts.append(argument.text("in_channels"))
            elif argument.role == "out_channels":
                texts.append(argument.text("channels"))
            elif argument.role in varied:
                texts.append(argument.text(argument.role))
            else:
                texts.append(argument.text())
        layers.append(f"{item.make.function}({', '.join(text for text in texts if text is not None)})")
    parameters = ["in_channels: int", "*out_channels: int"]
    for role in varied:
        type_ = "int" if isinstance(usual[role], int) else "tuple[int, ...]"
        parameters.append(f"{role}: {type_} = {literal(usual[role])}")
    words = {"relu": "a ReLU", "prelu": "a PReLU", "bn": "batch normalization"}
    others = " and ".join(words.get(item.kind, f"a {item.kind}") for item in unit[1:])
    return "\n".join(
        [
            fitted(f"def {name}({', '.join(parameters)}) -> nn.Sequential:", 0),
            f'    """Convolutions one after the other, each with {others}."""',
            "    layers: list[nn.Module] = []",
            "    for channels in out_channels:",
            fitted(f"[{', '.join(layers)}]", 2, "layers += "),
            "        in_channels = channels",
            "    return nn.Sequential(*layers)",
        ]
    )
