"""One family of errors: every fault that a user's files or arguments can cause is a `CaffeCompatError`.

An error says what was expected and what came, names the file, the line and the layer where these are
known, and tells the way out. Code deep inside need not know the file: whoever does adds it on the way up
(`with errors.context(file=path): ...`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

MAX_QUOTED = 60
MAX_MESSAGE = 1000
E = TypeVar("E", bound="CaffeCompatError")


class CaffeCompatError(Exception):
    """A fault of the input. `message` is one sentence, `hint` the way out; the places may be unknown.

    Whatever a file puts into the message or the hint, they stay printable and of bounded length.

    Args:
        message: what is wrong, with the values quoted.
        file: the file it is in.
        line: line in that file, from 1.
        column: column in that line, from 1.
        layer: the name of the layer it belongs to.
        hint: what to do about it.

    Attributes:
        told: another process says it; the command line of this one stays quiet.
    """

    told = False

    def __init__(
        self,
        message: str,
        *,
        file: object = None,
        line: int | None = None,
        column: int | None = None,
        layer: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = _bounded(printable(message))
        super().__init__(self.message)
        self.file = None if file is None else str(file)
        self.line = line
        self.column = column
        self.layer = layer
        self.hint = None if hint is None else presentable(hint)

    def add_context(
        self,
        *,
        file: object = None,
        line: int | None = None,
        column: int | None = None,
        layer: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Fill in what is not known yet; what is known stays. A line is taken only with its file."""
        if self.line is None and (file is None or self.file in (None, str(file))):
            self.line, self.column = line, column
        if self.file is None and file is not None:
            self.file = str(file)
        if self.layer is None:
            self.layer = layer
        if self.hint is None and hint is not None:
            self.hint = presentable(hint)

    def __str__(self) -> str:
        file = None if self.file is None else printable(self.file)
        place = ":".join(str(part) for part in (file, self.line, self.column) if part is not None)
        layer = f'layer "{shown(self.layer)}"' if self.layer is not None else ""
        text = ": ".join(part for part in (place, layer, self.message) if part)
        return f"{text}\n  {self.hint}" if self.hint else text


class FormatError(CaffeCompatError):
    """A file is not what it should be: syntax, truncation, a lying length."""


class SchemaError(CaffeCompatError):
    """A field or a layer type that is not known, or a value that its field cannot hold."""


class GraphError(CaffeCompatError):
    """The layers do not make a net: an unknown bottom, a top made twice, a wrong number of blobs."""


class ShapeError(CaffeCompatError):
    """The shape of a blob does not fit a layer, or the shape of an input is not known."""


class WeightsError(CaffeCompatError):
    """Weights do not fit the net: another shape, another number of blobs."""


class UnsupportedError(CaffeCompatError):
    """What is asked is understood, but not done here."""


class UsageError(CaffeCompatError):
    """An argument makes no sense; the command line exits with 2 for it."""


class WorkerError(CaffeCompatError):
    """Another of the processes that train together has ended, and this one with it."""


class CaffeCompatWarning(UserWarning):
    """Something in the input was ignored or replaced, and the result may differ from what is expected."""


@dataclass(frozen=True)
class Position:
    """A place in a text file; line and column count from 1."""

    file: str | None
    line: int
    column: int

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


def located(error: E, position: Position | None, layer: str | None = None) -> E:
    """Give an error this place and layer where it has none, and return it, to be raised."""
    if position is not None and error.file in (None, position.file):
        error.add_context(file=position.file, line=position.line, column=position.column)
    error.add_context(layer=layer)
    return error


@contextmanager
def context(
    *,
    file: object = None,
    line: int | None = None,
    column: int | None = None,
    layer: str | None = None,
    hint: str | None = None,
) -> Iterator[None]:
    """Add what is known here to any `CaffeCompatError` that passes through."""
    try:
        yield
    except CaffeCompatError as error:
        error.add_context(file=file, line=line, column=column, layer=layer, hint=hint)
        raise


def quoted(value: object) -> str:
    """A value from a file as an error quotes it: short, printable, on one line."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."


def printable(text: str) -> str:
    """`text` with its control characters escaped: nothing that a file holds reaches a terminal as a command."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def presentable(text: str) -> str:
    """`text` of several lines as a terminal may show it: printable, its middle left out if it is very long."""
    return _bounded("\n".join(map(printable, text.split("\n"))))


def shown(name: str) -> str:
    """A name from a file as a table or a message shows it: without quotes, short, printable, on one line."""
    text = printable(name)
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."


def _bounded(text: str) -> str:
    """`text`, its middle left out if it is very long."""
    half = (MAX_MESSAGE - 5) // 2
    return text if len(text) <= MAX_MESSAGE else f"{text[:half]} ... {text[-half:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """`did you mean "x"?`, or None if nothing known resembles `name`."""
    close = difflib.get_close_matches(name[:MAX_QUOTED], list(known), n=1, cutoff=0.7)
    return f'did you mean "{close[0]}"?' if close else None
