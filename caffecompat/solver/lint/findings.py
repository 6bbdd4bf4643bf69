"""What a check says: a finding of a rule, at a place in a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from caffecompat.errors import CaffeCompatError, Position, presentable, printable, shown
from caffecompat.graph.spec import LayerSpec

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """Something to say about a file.

    Attributes:
        rule: the name of the rule.
        severity: "error" where a run would fail or be worth nothing, "warning" for what is doubtful, "info".
        message: what was found, one sentence.
        file: the file, if there is one.
        line: the line in it, from 1.
        layer: the layer.
        hint: the way out.
    """

    rule: str
    severity: Severity
    message: str
    file: str | None = None
    line: int | None = None
    layer: str | None = None
    hint: str | None = None

    def text(self) -> str:
        """`file:line: severity: layer "x": message [rule]`, and the hint on a line of its own."""
        place = None if self.file is None else printable(self.file)
        parts = [":".join(str(part) for part in (place, self.line) if part is not None), self.severity]
        parts += [f'layer "{shown(self.layer)}"'] if self.layer is not None else []
        text = f"{': '.join(part for part in parts if part)}: {presentable(self.message)} [{self.rule}]"
        return f"{text}\n  {presentable(self.hint)}" if self.hint else text

    def as_json(self) -> dict[str, Any]:
        """The attributes, as JSON holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Rule:
    """A rule that files are checked against.

    Attributes:
        name: by which it is ignored.
        severity: of its findings.
        reason: why it is one, in a line.
    """

    name: str
    severity: Severity
    reason: str

    def at(
        self, position: Position | None, message: str, *, layer: str | None = None, hint: str | None = None
    ) -> Finding:
        """A finding at a place in a text."""
        file, line = (None, None) if position is None else (position.file, position.line)
        return Finding(self.name, self.severity, message, file, line, layer, hint)

    def on(self, spec: LayerSpec, message: str, hint: str | None = None) -> Finding:
        """A finding about a layer."""
        return self.at(spec.position, message, layer=spec.name, hint=hint)

    def in_file(self, file: object, message: str) -> Finding:
        """A finding about a file as a whole."""
        return Finding(self.name, self.severity, message, str(file))

    def of(self, error: CaffeCompatError) -> Finding:
        """What a run would say of it."""
        return Finding(self.name, self.severity, error.message, error.file, error.line, error.layer, error.hint)
