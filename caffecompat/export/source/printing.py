"""Items as the lines of a class: what `__init__` makes, and what `forward` computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from caffecompat.export.source.item import Item, Value
from caffecompat.export.source.names import variable
from caffecompat.export.source.text import WIDTH, assigned, fitted, literal

_BODY = 2
# How many calls may stand in each other.
_MAX_NESTED = 4
# A statement that reads so many values names each.
_MANY = 3
_TOKEN = re.compile("\x01(\\d+)\x02")
_SLOT = re.compile(r"\{(\d+)\}")
# What only gives a value another shape may stand inside the call that needs it.
_SHAPING = ("flatten", "reshape", "permute")


@dataclass
class _Expression:
    """An expression not assigned yet; values are tokens in its text."""

    text: str
    value: Value
    kind: str
    nested: int
    modules: int

    @property
    def is_postfix(self) -> bool:
        return _is_postfix(self.text)


@dataclass
class _Statement:
    targets: Sequence[Value]
    text: str
    item: Item | None = None


def _is_postfix(text: str) -> bool:
    """Whether it is one call, subscript or name: an operator stands only within brackets."""
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character == " ":
            return False
    return True


class Forward:
    """The body of `forward`.

    Args:
        items: in the order they run.
        attributes: the name of each item's submodule.
        inputs: the names of the parameters, by the value.
        outputs: what is returned.
        name: what to call a value.
        returned: the expression to return, given the names of the outputs.
    """

    def __init__(
        self,
        items: Sequence[Item],
        attributes: Mapping[Item, str],
        inputs: Mapping[Value, str],
        outputs: Sequence[Value],
        name: Callable[[Value], str],
        returned: Callable[[Sequence[str]], str],
    ) -> None:
        self._attributes = attributes
        self._outputs = list(outputs)
        self._name = name
        self._kinds = {value: item.kind for item in items for value in item.outputs}
        self._numbers: dict[Value, int] = {}
        self._values: list[Value] = []
        self._statements: list[_Statement] = []
        self._uses: dict[Value, int] = {}
        for value in (*outputs, *(value for item in items for value in item.inputs)):
            self._uses[value] = self._uses.get(value, 0) + 1
        pending: _Expression | None = None
        for index, item in enumerate(items):
            pending = self._add(item, items[index + 1] if index + 1 < len(items) else None, pending)
        last = pending.text if pending is not None else self._token(self._outputs[0])
        if len(self._outputs) == 1:
            self._statements.append(_Statement((), returned([last])))
        else:
            if pending is not None:
                self._assign(pending)
            self._statements.append(_Statement((), returned([self._token(value) for value in outputs])))
        self._names = self._named(dict(inputs))

    def lines(self) -> list[str]:
        """Its statements, indented."""
        lines = []
        for statement in self._statements:
            text = _TOKEN.sub(lambda match: self._names[self._values[int(match[1])]], statement.text)
            targets = [self._names[value] for value in statement.targets]
            lines.append(assigned(targets, text, _BODY) if targets else fitted(text, _BODY, "return "))
        return lines

    # --- expressions

    def _token(self, value: Value) -> str:
        if value not in self._numbers:
            self._numbers[value] = len(self._values)
            self._values.append(value)
        return f"\x01{self._numbers[value]}\x02"

    def _add(self, item: Item, following: Item | None, pending: _Expression | None) -> _Expression | None:
        """Add an item; what came of it, if it need not be assigned yet."""
        inside = pending if pending is not None and self._takes(item, pending) else None
        if pending is not None and inside is None:
            self._assign(pending)
        text = self._text(item, inside)
        if len(item.outputs) != 1:
            self._statements.append(_Statement(item.outputs, text, item))
            return None
        made = _Expression(
            text,
            item.outputs[0],
            item.kind,
            1 + (inside.nested if inside else 0),
            int(not item.template) + (inside.modules if inside else 0),
        )
        last = following is None and self._outputs == [made.value]
        if self._uses.get(made.value, 0) == 1 and (last or (following is not None and made.value in following.inputs)):
            return made
        self._assign(made)
        return None

    def _assign(self, made: _Expression) -> None:
        self._statements.append(_Statement((made.value,), made.text))

    def _takes(self, item: Item, pending: _Expression) -> bool:
        """Whether the expression before may stand inside an item's."""
        if pending.value not in item.inputs or item.named or "{*}" in item.template:
            return False
        if pending.nested >= _MAX_NESTED or item.shares is not None:
            return False
        if not item.template:
            fine = pending.nested == 1 and (pending.kind in _SHAPING or item.kind == "bn")
        elif _is_call(item.template):
            fine = True
        else:
            fine = pending.is_postfix
        width = len(_TOKEN.sub(lambda match: self._name(self._values[int(match[1])]), self._text(item, pending)))
        target = len(self._name(item.outputs[0])) if item.outputs else 0
        return fine and _BODY * 4 + target + len(" = ") + width <= WIDTH

    def _text(self, item: Item, inside: _Expression | None) -> str:
        texts = [
            inside.text if inside is not None and value is inside.value else self._token(value) for value in item.inputs
        ]
        if not item.template:
            return f"self.{self._attributes[item.shares or item]}({', '.join(texts)})"
        template = item.template.replace("{*}", ", ".join(texts))
        if item.has_module:
            template = template.replace("{self}", f"self.{self._attributes[item]}")
        return _SLOT.sub(lambda match: texts[int(match[1])], template)

    # --- names

    def _named(self, names: dict[Value, str]) -> dict[Value, str]:
        """A name for each value: `x` for what the next statement alone reads."""
        last_use = dict.fromkeys(names, -1)
        for place, statement in enumerate(self._statements):
            for match in _TOKEN.finditer(statement.text):
                last_use[self._values[int(match[1])]] = place
        holder = next((value for value, name in names.items() if name == "x"), None)
        taken = set(names.values()) - {"x"}
        for place, statement in enumerate(self._statements):
            for value in statement.targets:
                free = holder is None or last_use[holder] <= place
                if free and self._is_passing(statement, value, place, last_use):
                    names[value], holder = "x", value
                elif value not in last_use:
                    names[value] = "_"
                else:
                    names[value] = variable(self._name(value), self._kinds.get(value, "value"), taken)
                    taken.add(names[value])
        return names

    def _is_passing(self, statement: _Statement, value: Value, place: int, last_use: Mapping[Value, int]) -> bool:
        """Whether the next statement alone reads a value, and few others: it needs no name of its own."""
        if len(statement.targets) != 1 or last_use.get(value) != place + 1 or statement.text.startswith("["):
            return False
        if value in self._outputs and len(self._outputs) > 1:
            return False
        return len(set(_TOKEN.findall(self._statements[place + 1].text))) < _MANY


def _is_call(template: str) -> bool:
    """Whether its first input is a whole argument of a function."""
    return re.match(r"[A-Za-z_.0-9]+\(\{0\}", template) is not None and _is_postfix(template)


def returned_one(texts: Sequence[str]) -> str:
    """One value, or a tuple of several."""
    return ", ".join(texts)


def returned_by_name(names: Sequence[str]) -> Callable[[Sequence[str]], str]:
    """One value, or several by name."""

    def returned(texts: Sequence[str]) -> str:
        if len(texts) == 1:
            return texts[0]
        return "{" + ", ".join(f"{literal(name)}: {text}" for name, text in zip(names, texts, strict=True)) + "}"

    return returned


def class_lines(
    name: str, docstring: str, parameters: Sequence[str], init: Sequence[str], signature: str, forward: Sequence[str]
) -> str:
    """A class of a module.

    Args:
        name: its name.
        docstring: of one line, without its quotes.
        parameters: those of `__init__`.
        init: the lines of `__init__`, indented.
        signature: that of `forward`, from `def` on.
        forward: its lines, indented.
    """
    begin = fitted(f"def __init__({', '.join(['self', *parameters])}) -> None:", 1)
    lines = [f"class {name}(nn.Module):", f'    """{docstring}"""', "", begin, "        super().__init__()", *init]
    return "\n".join([*lines, "", fitted(signature, 1), *forward])
