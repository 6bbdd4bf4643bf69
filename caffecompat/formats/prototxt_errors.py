"""What the reader of prototxt says when a text is wrong: what was expected, what came, and the way out."""

from __future__ import annotations

from caffecompat.errors import CaffeCompatError, FormatError, SchemaError, did_you_mean, quoted
from caffecompat.formats.fields import UNKNOWN, Field
from caffecompat.formats.parsed import Node
from caffecompat.formats.tokens import WEIGHTS_HINT, Tokens, nature, utf16_error

_FORM = "a field is `name: value` or `name { ... }`"


def no_colon(tokens: Tokens, start: int, at: int, field: Field) -> CaffeCompatError:
    """Neither a colon nor a brace follows the name at the word `start`."""
    expected = '"{"' if field.message is not None else '":"'
    if field is UNKNOWN:
        expected = '":" or "{"'
    return tokens.error(at, f"expected {expected} after {tokens.words[start]}, got {tokens.shown(at)}", hint=_FORM)


def no_field(tokens: Tokens, at: int, opened: int | None, closing: str) -> CaffeCompatError:
    """Where a field or the end of the message should stand, something else does.

    Args:
        tokens: the text.
        at: the word that stands there.
        opened: the word of the open message's name, or None for the whole text.
        closing: the word that would end the message.
    """
    word = tokens.words[at]
    if opened is None:
        if word in ("}", ">"):
            return tokens.error(at, f'a "{word}" too many: no message is open here')
        return tokens.error(at, f"expected the name of a field, got {tokens.shown(at)}", hint=_FORM)
    line, column = tokens.place(opened)
    hint = f'the "{"{" if closing == "}" else "<"}" of {tokens.words[opened]} is at line {line}, column {column}'
    expected = f'"{closing}"' if not word or word in ("}", ">") else f'the name of a field or "{closing}"'
    return tokens.error(at, f"expected {expected}, got {tokens.shown(at)}", hint=hint)


def no_list_end(tokens: Tokens, start: int, at: int) -> CaffeCompatError:
    """Neither a comma nor a bracket follows an element of the list of the field at the word `start`."""
    return tokens.error(at, f'expected "," or "]" in the list {tokens.words[start]}, got {tokens.shown(at)}')


def second_time(tokens: Tokens, at: int, field: Field, first: Node) -> CaffeCompatError:
    """A field that may stand once stands again; `first` is the place of the first."""
    return tokens.error(
        at,
        f"{field.name} of {field.owner} may stand once, got it a second time; "
        f"the first is at line {first.line}, column {first.column}",
        kind=SchemaError,
        hint="remove one of the two",
    )


def wrong_value(tokens: Tokens, at: int, field: Field, reason: object) -> CaffeCompatError:
    """The field cannot hold the value at the word `at`."""
    word = tokens.words[at]
    kind: type[CaffeCompatError] = SchemaError
    if not word or word in (":", ",", ";", "}", ">", "]") or field is UNKNOWN:
        kind = FormatError
    subject = f"{field.name} of {field.owner} takes" if field.name else "expected"
    message = f"{subject} {field.takes}, got {tokens.shown(at)}"
    hint: str | None = str(reason) if reason else None
    if field.quoted and word[:1] in ("'", '"'):
        # Bytes that are not UTF-8 stand as lone surrogates; what they raise differs between protobuf's runtimes.
        broken = isinstance(reason, UnicodeError) or any("\ud800" <= char <= "\udfff" for char in word)
        fault = "a string that is not UTF-8" if broken else reason
        message = f"{field.name} of {field.owner}: {fault} in {quoted(word)}"
        hint = "save the file as UTF-8" if broken else None
    elif field.quoted and word[:1].isalnum():
        hint = f'put it in quotes: "{word}"' if len(word) < 100 else "put it in quotes"
    elif field.names:
        hint = _names_hint(word, field.names)
    elif word[:1] in ("'", '"') and field is not UNKNOWN:
        hint = "write it without quotes"
    return tokens.error(at, message, kind=kind, hint=hint)


def _names_hint(word: str, names: tuple[str, ...]) -> str:
    plain = word.strip("'\"")
    guess = did_you_mean(plain, names) or did_you_mean(plain.upper(), names)
    listed = "one of " + ", ".join(names)
    return f"{guess} It takes {listed}" if guess else f"it takes {listed}"


def not_prototxt(text: str, file: str | None) -> FormatError | None:
    """What the text is if it is no text at all; asked only when it did not parse."""
    kind = nature(text)
    if kind is None:
        return None
    if kind == "UTF-16":
        return utf16_error(file)
    return FormatError(f"expected a prototxt, got {kind}", file=file, hint=WEIGHTS_HINT)
