"""The words of a prototxt, each with its place, by one regular expression.

The rules are those of protobuf's text format: no word crosses the end of a line, `#` starts a comment,
and a name may contain `+` and `-` after its first letter.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from itertools import accumulate, compress, count, islice
from operator import add

from caffecompat.errors import CaffeCompatError, FormatError, Position, quoted

# A net of a thousand layers takes some 500 KiB and 80,000 words. These bounds keep hostile files from filling the
# memory and the time: a word takes up to 60 bytes and its node 130, an empty layer some 800.
MAX_BYTES = 4 << 20
MAX_WORDS = 500_000

# A quoted string that is not closed runs to the end of its line, and the reader finds no quote at its end.
_WORD = re.compile(
    r"""(
    [a-zA-Z_][0-9a-zA-Z_+-]*
    | [:{}]
    | [0-9+-][0-9a-zA-Z_.+-]*
    | "[^"\n\\]*(?:\\.[^"\n\\]*)*"?
    | '[^'\n\\]*(?:\\.[^'\n\\]*)*'?
    | \.[0-9][0-9a-zA-Z_.+-]*
    | \#[^\n]*
    | [^\x00-\x7f\s]+
    | \S
    )""",
    re.VERBOSE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HEAD = 4096

WEIGHTS_HINT = "a file of weights goes beside the prototxt, not in its place"


class Tokens:
    """The words of a text, with "" twice after the last of them.

    Attributes:
        words: the words, without comments.
        offsets: where each of them starts in the text, from 0.
        line_starts: where each line starts in the text, from 0.
        file: the path of the text, or None.
    """

    __slots__ = ("file", "line_starts", "offsets", "words")

    def __init__(self, text: str, file: str | None = None) -> None:
        self.file = file
        if text.count("\n") > MAX_WORDS:
            raise FormatError(f"a prototxt of more than {MAX_WORDS:,} lines is not read", file=file)
        # Gap, word, gap, word, ..., gap.
        pieces = _WORD.split(text, MAX_WORDS)
        self.words: list[str] = pieces[1::2]
        self.offsets = array("L", islice(accumulate(map(len, pieces)), 0, None, 2))
        self.line_starts = list(map(add, accumulate(map(len, text.split("\n")), initial=0), count()))
        if len(self.words) == MAX_WORDS:
            raise self.error(MAX_WORDS - 1, f"a prototxt of more than {MAX_WORDS:,} words is not read")
        end = len(text.rstrip())
        self.words += ["", ""]
        self.offsets[-1:] = array("L", [end, end])
        if "#" in text:
            self._drop_comments()

    def _drop_comments(self) -> None:
        keep = [word[:1] != "#" for word in self.words]
        self.words = list(compress(self.words, keep))
        self.offsets = array("L", compress(self.offsets, keep))

    def place(self, index: int) -> tuple[int, int]:
        """Line and column of a word, from 1."""
        offset = self.offsets[index]
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def position(self, index: int) -> Position:
        """The place of a word."""
        return Position(self.file, *self.place(index))

    def shown(self, index: int) -> str:
        """A word as an error quotes it."""
        word = self.words[index]
        return quoted(word) if word else "the end of the text"

    def error(
        self, index: int, message: str, *, hint: str | None = None, kind: type[CaffeCompatError] = FormatError
    ) -> CaffeCompatError:
        """An error at a word."""
        line, column = self.place(index)
        return kind(message, file=self.file, line=line, column=column, hint=hint)


def nature(text: str) -> str | None:
    """What a text is if it is no text, or None; a guess, to be asked when it did not parse."""
    head = text[:_HEAD]
    if head[:1] != "\0" == head[1:2] or head[:1] == "\0" != head[1:2]:
        return "UTF-16"
    if head.startswith("\udc89HDF"):
        return "an HDF5 file"
    # A few stray bytes are a fault of a text, at their place.
    return "a binary file" if len(_CONTROL.findall(head)) > 1 + len(head) / 50 else None


def utf16_error(file: str | None) -> FormatError:
    """The error for text in UTF-16."""
    return FormatError("this looks like UTF-16, expected UTF-8", file=file, hint="save the file as UTF-8")


def decode(text: str | bytes, file: str | None = None) -> str:
    """The text of a file, without its byte order mark.

    Bytes that are not UTF-8, as in comments written in Latin-1, become lone surrogates: they are no fault
    where nobody reads them.

    Raises:
        FormatError: it is too long, or starts with the byte order mark of UTF-16.
    """
    if len(text) > MAX_BYTES:
        raise FormatError(f"a prototxt of more than {MAX_BYTES >> 20} MiB is not read", file=file, hint=WEIGHTS_HINT)
    if isinstance(text, bytes):
        if text.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise utf16_error(file)
        text = text.decode("utf-8", "surrogateescape")
    return text.removeprefix("\ufeff")
