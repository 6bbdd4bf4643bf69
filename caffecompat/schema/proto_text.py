"""The messages and enums of a .proto file (proto2) as descriptors: what plug-ins state their parameters in.

A small reader of the language, for no compiler is needed at run time. It takes messages and enums in one another,
fields with their defaults, comments, `package` and `option`; not services, groups, maps, oneofs or extensions.
Types of other messages are left as they are written: `plugins` finds what they name.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

from caffecompat.errors import SchemaError, quoted

MAX_DEPTH = 30
LABELS = {
    "optional": FieldDescriptorProto.LABEL_OPTIONAL,
    "required": FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": FieldDescriptorProto.LABEL_REPEATED,
}
SCALARS = {
    "double": FieldDescriptorProto.TYPE_DOUBLE,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "sint32": FieldDescriptorProto.TYPE_SINT32,
    "sint64": FieldDescriptorProto.TYPE_SINT64,
    "fixed32": FieldDescriptorProto.TYPE_FIXED32,
    "fixed64": FieldDescriptorProto.TYPE_FIXED64,
    "sfixed32": FieldDescriptorProto.TYPE_SFIXED32,
    "sfixed64": FieldDescriptorProto.TYPE_SFIXED64,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}

_WORD = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
    r"|(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))|(?P<name>\.?[A-Za-z_][\w.]*|-inf)"
    r"|(?P<sign>[{}\[\]()=;,<>])",
    re.DOTALL,
)


class Definitions(NamedTuple):
    """What stands at the top of a file."""

    messages: list[DescriptorProto]
    enums: list[EnumDescriptorProto]


def read_proto(text: str, file: str | None = None) -> Definitions:
    """The messages and enums of a .proto file.

    Args:
        text: the file's text.
        file: its path, for errors.

    Raises:
        SchemaError: it is not proto2, or has what is not taken here.
    """
    return _Reader(text, file).read()


class _Reader:
    """The words of the text, and the one that is next."""

    def __init__(self, text: str, file: str | None) -> None:
        self._file = file
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._words: list[tuple[str, int]] = []
        self._at = 0
        place = 0
        while place < len(text):
            match = _WORD.match(text, place)
            if match is None:
                raise self._error(f"expected a word, got {quoted(text[place])}", place)
            if match.lastgroup != "skip":
                self._words.append((match.group(), place))
            place = match.end()
        self._words.append(("", len(text)))

    def read(self) -> Definitions:
        found = Definitions([], [])
        while self._word:
            word = self._take()
            if word in ("syntax", "package", "import", "option"):
                if word == "syntax" and "proto3" in self._words[self._at + 1][0]:
                    raise self._error("expected proto2, as Caffe's schema is, got proto3")
                self._skip_statement()
            elif word == "message":
                found.messages.append(self._message(1))
            elif word == "enum":
                found.enums.append(self._enum())
            elif word != ";":
                raise self._refused(word, "a message or an enum")
        return found

    def _message(self, depth: int) -> DescriptorProto:
        if depth > MAX_DEPTH:
            raise self._error(f"messages stand in each other more than {MAX_DEPTH} deep")
        message = DescriptorProto(name=self._name())
        self._expect("{")
        while (word := self._take()) != "}":
            if word == "message":
                message.nested_type.append(self._message(depth + 1))
            elif word == "enum":
                message.enum_type.append(self._enum())
            elif word in ("option", "reserved", "extensions"):
                self._skip_statement()
            elif word in LABELS:
                field = self._field(word)
                if any(field.name == other.name or field.number == other.number for other in message.field):
                    raise self._error(f"{message.name} has a field {field.name} or number {field.number} already")
                message.field.append(field)
            elif word != ";":
                raise self._refused(word, "optional, repeated or required")
        return message

    def _field(self, label: str) -> FieldDescriptorProto:
        type_ = self._name()
        if type_ in ("group", "map"):
            raise self._refused(type_, "the type of a field")
        field = FieldDescriptorProto(label=LABELS[label], name=self._name())
        if type_ in SCALARS:
            field.type = SCALARS[type_]
        else:
            field.type_name = type_
        self._expect("=")
        field.number = self._number()
        if self._word == "[":
            self._take()
            self._options(field)
        self._expect(";")
        return field

    def _options(self, field: FieldDescriptorProto) -> None:
        """`default` and `packed`; others change nothing here."""
        while True:
            name = self._take()
            while self._word not in ("=", ""):
                self._take()
            self._expect("=")
            value = self._take()
            if name == "default":
                field.default_value = self._default(field, value)
            elif name == "packed":
                field.options.packed = value == "true"
            if self._word != ",":
                break
            self._take()
        self._expect("]")

    def _default(self, field: FieldDescriptorProto, value: str) -> str:
        """A default as descriptors write it: whole numbers in decimal, strings without quotes."""
        if value[:1] in "'\"" and value:
            while self._word[:1] in ("'", '"') and self._word:
                value += self._take()
            return "".join(re.sub(r"\\(['\"\\])", r"\1", part[1:-1]) for part in re.findall(_STRING, value))
        if re.fullmatch(r"[-+]?0(?:[xX][0-9a-fA-F]+|[0-7]+)", value) and field.type not in (
            SCALARS["float"],
            SCALARS["double"],
        ):
            digits = value.lstrip("-+")
            base = 16 if digits[:2] in ("0x", "0X") else 8
            return str(int(digits, base) * (-1 if value[0] == "-" else 1))
        return value.lstrip("+")

    def _enum(self) -> EnumDescriptorProto:
        enum = EnumDescriptorProto(name=self._name())
        self._expect("{")
        while (word := self._take()) != "}":
            if word in ("option", "reserved"):
                self._skip_statement()
            elif word != ";":
                self._at -= 1
                name = self._name()
                self._expect("=")
                enum.value.add(name=name, number=self._number(least=-(2**31)))
                if self._word == "[":
                    self._skip_statement()
                else:
                    self._expect(";")
        if not enum.value:
            raise self._error(f"enum {enum.name} has no values")
        return enum

    # --- words

    @property
    def _word(self) -> str:
        return self._words[self._at][0]

    def _take(self) -> str:
        word = self._word
        if not word:
            raise self._error("the text ends where more is expected")
        self._at += 1
        return word

    def _expect(self, sign: str) -> None:
        if self._word != sign:
            raise self._error(f'expected "{sign}", got {quoted(self._word) if self._word else "the end of the text"}')
        self._at += 1

    def _name(self) -> str:
        if not re.match(r"\.?[A-Za-z_]", self._word):
            raise self._error(f"expected a name, got {quoted(self._word) if self._word else 'the end of the text'}")
        return self._take()

    def _number(self, least: int = 1) -> int:
        try:
            number = int(self._word, 0)
        except ValueError:
            number = least - 1
        if not least <= number < 2**31:
            raise self._error(f"expected a number, got {quoted(self._word)}")
        self._at += 1
        return number

    def _skip_statement(self) -> None:
        while self._take() != ";":
            pass

    def _refused(self, word: str, expected: str) -> SchemaError:
        self._at -= 1
        return self._error(
            f"expected {expected}, got {quoted(word)}",
            hint="messages, enums and fields of proto2 are taken; no groups, maps, oneofs, services or extensions",
        )

    def _error(self, message: str, place: int | None = None, hint: str | None = None) -> SchemaError:
        offset = self._words[min(self._at, len(self._words) - 1)][1] if place is None else place
        line = bisect_right(self._starts, offset)
        return SchemaError(message, file=self._file, line=line, column=offset - self._starts[line - 1] + 1, hint=hint)


_STRING = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""")
