"""The reader of prototxt's words: it binds them to a message and notes where each field stands.

It does not recurse: what is open stands on a stack.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping

from google.protobuf.message import Message

from caffecompat.formats import prototxt_errors as errors
from caffecompat.formats import scalars
from caffecompat.formats.fields import UNKNOWN, Field, fields_of
from caffecompat.formats.parsed import NO_FIELDS, Node, UnknownField
from caffecompat.formats.tokens import Tokens

# Protobuf's own limit for binary messages. The schema's deepest message is at depth 6.
MAX_DEPTH = 100

_CLOSING = {"{": "}", "<": ">"}
_QUOTES = ("'", '"')
_SEPARATORS = (",", ";")
_NAME = re.compile("[a-zA-Z_]")
_VALUE = re.compile(r"""["']|[-+.]?[0-9a-zA-Z_]""")
_new_node = tuple.__new__


class Frame:
    """A message that is open.

    Attributes:
        field: the field it is the value of; `UNKNOWN` if the schema does not know that.
        index: how many fields of this name stand before it.
        start: the word of its name.
        closing: the word that ends it.
        listed: it is an element of a list `[...]`.
        message: what is being filled, or None within an unknown field.
        table: the fields of its type.
        nodes: the places of the fields so far.
    """

    __slots__ = ("closing", "field", "index", "listed", "message", "nodes", "start", "table")

    def __init__(
        self,
        field: Field,
        message: Message | None,
        closing: str = "",
        listed: bool = False,
        start: int = 0,
        index: int = 0,
    ) -> None:
        self.field = field
        self.message = message
        self.table: Mapping[str, Field] = fields_of(message.DESCRIPTOR) if message is not None else {}
        self.nodes: dict[str, list[Node]] = {}
        self.closing = closing
        self.listed = listed
        self.start = start
        self.index = index


class Reader:
    """Every method takes the index of a word and returns the index of the word after what it read."""

    def __init__(self, tokens: Tokens, message: Message) -> None:
        self.tokens = tokens
        self.words = tokens.words
        self.offsets = tokens.offsets
        self.line_starts = tokens.line_starts
        self.frame = Frame(UNKNOWN, message)
        self.stack: list[Frame] = []
        self.unknown: list[UnknownField] = []
        # The lines of the unknown field that is being read, the word of its name, and the stack's height there.
        self.lines: list[str] = []
        self.unknown_start = 0
        self.unknown_depth = 0

    def read(self) -> Node:
        """Read the whole text."""
        words = self.words
        put = self.put
        at = 0
        while True:
            frame = self.frame
            table = frame.table
            # The short way for `name: value`, which is nearly all of a net; what is not so simple goes the long way.
            while (field := table.get(words[at])) is not None and field.plain is not None and words[at + 1] == ":":
                try:
                    value = field.plain(words[at + 2])
                except ValueError:
                    break
                following = words[at + 3]
                if following[:1] in _QUOTES:
                    break
                put(field, value, at + 2, at)
                at += 4 if following in _SEPARATORS else 3
            word = words[at]
            if field is not None:
                at = self.read_field(at, field)
            elif word != frame.closing:
                at = self.read_unknown(at)
            elif word:
                at = self.close(at)
            else:
                return Node(1, 1, frame.nodes)

    def read_field(self, start: int, field: Field) -> int:
        """`name: value`, `name { ... }` or `name: [...]`, and the separator after it."""
        words = self.words
        at = start + 1
        colon = words[at] == ":"
        if colon:
            at += 1
        word = words[at]
        if word in _CLOSING:
            return self.open(start, at, field, start)
        if word == "[" and field.repeated:
            if field.message is None and not colon and field is not UNKNOWN:
                raise errors.no_colon(self.tokens, start, at, field)
            if words[at + 1] != "]":
                return self.read_element(start, at + 1, field)
            if field is UNKNOWN:
                self.emit(f"{words[start]}: []")
            return self.end_field(at + 2)
        if not colon:
            raise errors.no_colon(self.tokens, start, at, field)
        return self.end_field(self.read_scalar(at, field, start, start))

    def end_field(self, at: int) -> int:
        """The separator that may stand after a field."""
        if self.lines and self.frame.message is not None:
            self.keep_unknown()
        word = self.words[at]
        return at + 1 if word in _SEPARATORS else at

    def read_element(self, start: int, at: int, field: Field) -> int:
        """An element of a list, and all after it up to a message."""
        while self.words[at] not in _CLOSING:
            at = self.read_scalar(at, field, start, at)
            if self.words[at] != ",":
                return self.end_list(start, at, field)
            at += 1
        return self.open(start, at, field, at, listed=True)

    def end_list(self, start: int, at: int, field: Field) -> int:
        """What stands after an element of a list."""
        word = self.words[at]
        if word == ",":
            return self.read_element(start, at + 1, field)
        if word != "]":
            raise errors.no_list_end(self.tokens, start, at)
        return self.end_field(at + 1)

    def read_scalar(self, at: int, field: Field, start: int, place: int) -> int:
        """A value; its node is placed at the word `place`."""
        word = self.words[at]
        end = at + 1
        value: object
        try:
            if field is UNKNOWN:
                return self.read_unknown_scalar(at, start)
            if field.quoted is not None:
                value, end = self.read_string(at, field.quoted)
            elif field.convert is None:
                raise ValueError
            else:
                if word == "-":
                    word += self.words[end]
                    end += 1
                value = field.convert(word)
        except ValueError as error:
            raise errors.wrong_value(self.tokens, at, field, error) from None
        self.put(field, value, at, place)
        return end

    def read_string(self, at: int, kind: type) -> tuple[str | bytes, int]:
        """A string, which may stand in several pieces."""
        pieces = [scalars.string_bytes(self.words[at])]
        at += 1
        while self.words[at][:1] in _QUOTES:
            pieces.append(scalars.string_bytes(self.words[at]))
            at += 1
        value = b"".join(pieces)
        return (value.decode() if kind is str else value), at

    def put(self, field: Field, value: object, at: int, place: int) -> None:
        """Give a field of the open message the value that was read from the word `at`."""
        frame = self.frame
        name = field.name
        offset = self.offsets[place]
        line = bisect_right(self.line_starts, offset)
        node = _new_node(Node, (line, offset - self.line_starts[line - 1] + 1, NO_FIELDS))
        siblings = frame.nodes.get(name)
        if siblings is None:
            frame.nodes[name] = [node]
        elif field.repeated:
            siblings.append(node)
        else:
            raise errors.second_time(self.tokens, place, field, siblings[0])
        try:
            if field.repeated:
                getattr(frame.message, name).append(value)
            else:
                setattr(frame.message, name, value)
        except (ValueError, TypeError) as error:
            raise errors.wrong_value(self.tokens, at, field, error) from None

    def open(self, start: int, at: int, field: Field, place: int, *, listed: bool = False) -> int:
        """The brace that starts a message."""
        if len(self.stack) >= MAX_DEPTH:
            raise self.tokens.error(at, f"messages stand in each other more than {MAX_DEPTH} deep")
        closing = _CLOSING[self.words[at]]
        parent = self.frame
        if field is UNKNOWN:
            self.emit(f"{self.words[start]} {{")
            frame = Frame(field, None, closing, listed, start)
        elif field.message is None:
            raise errors.wrong_value(self.tokens, at, field, None)
        else:
            message = field.of(parent.message)
            siblings = parent.nodes.setdefault(field.name, [])
            if field.repeated:
                message = message.add()
            elif siblings:
                raise errors.second_time(self.tokens, place, field, siblings[0])
            else:
                message.SetInParent()
            frame = Frame(field, message, closing, listed, start, len(siblings))
            siblings.append(Node(*self.tokens.place(place), frame.nodes))
        self.stack.append(parent)
        self.frame = frame
        return at + 1

    def close(self, at: int) -> int:
        """The brace that ends a message."""
        frame = self.frame
        self.frame = self.stack.pop()
        if frame.message is None:
            self.emit("}")
        return self.end_list(frame.start, at + 1, frame.field) if frame.listed else self.end_field(at + 1)

    def read_unknown(self, at: int) -> int:
        """A field that the schema does not know, or a word that is no field."""
        word = self.words[at]
        if not _NAME.match(word):
            opened = self.frame.start if self.stack else None
            raise errors.no_field(self.tokens, at, opened, self.frame.closing)
        if self.frame.message is not None:
            self.unknown_start, self.unknown_depth = at, len(self.stack)
        return self.read_field(at, UNKNOWN)

    def read_unknown_scalar(self, at: int, start: int) -> int:
        """A value of an unknown field, kept as it is written."""
        words = self.words
        end = at + 1
        value = words[at]
        if value[:1] in _QUOTES:
            while words[end][:1] in _QUOTES:
                end += 1
            for word in words[at:end]:
                scalars.string_bytes(word)
            # Bytes that are not UTF-8 are written as escapes.
            value = " ".join(words[at:end]).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        elif value == "-":
            value += words[end]
            end += 1
        if not _VALUE.match(value):
            raise ValueError
        self.emit(f"{words[start]}: {value}")
        return end

    def emit(self, line: str) -> None:
        """Keep a line of an unknown field."""
        self.lines.append("  " * (len(self.stack) - self.unknown_depth) + line)

    def keep_unknown(self) -> None:
        """The unknown field that was being read is complete."""
        frames = [*self.stack, self.frame]
        path = tuple(part for frame in frames[1:] for part in (frame.field.name, frame.index))
        start = self.unknown_start
        self.unknown.append(UnknownField(path, self.words[start], "\n".join(self.lines), self.tokens.position(start)))
        self.lines = []
