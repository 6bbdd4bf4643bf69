"""Sentences of a text, their words as numbers, and the places where one word can be blanked.

A text has one sentence in a line, its words apart by white space, as the files of the Penn Treebank have them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError
from caffecompat.formats.text_file import read_bytes

MAX_BYTES = 1 << 28
# The first indices: where there is no word; the word that is blanked; words beyond the vocabulary.
NOTHING, BLANK, OTHER = 0, 1, 2
SPECIAL = 3

Ints = npt.NDArray[np.int64]


def read_lines(path: str | os.PathLike[str]) -> list[list[str]]:
    """The words of each line of a text; bytes that are no UTF-8 are replaced.

    Raises:
        FormatError: it cannot be read, is longer than 256 MiB, or has no words.
    """
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected a text of at most {MAX_BYTES} bytes", file=path)
    lines = [line.split() for line in data.decode("utf-8", "replace").split("\n")]
    if not any(lines):
        raise FormatError("expected a text with one sentence in a line, got no words", file=path)
    return lines


def vocabulary(lines: Sequence[Sequence[str]], size: int) -> dict[str, int]:
    """The commonest words by their indices, from `SPECIAL` to `size` - 1; of equally common ones the alphabet's first.

    Marks such as <unk> are no words.
    """
    counts = Counter(word for line in lines for word in line)
    words = sorted((word for word in counts if not _is_mark(word)), key=lambda word: (-counts[word], word))
    return {word: index for index, word in enumerate(words[: max(size - SPECIAL, 0)], SPECIAL)}


def _is_mark(word: str) -> bool:
    return word.startswith("<") and word.endswith(">")


@dataclass(frozen=True)
class Sentences:
    """The sentences of a text, of at most some length.

    Attributes:
        words: the indices of all their words, one sentence after the other.
        starts: where each begins in `words`, and where the last ends.
        lines: the line of each, from 1.
    """

    words: Ints
    starts: Ints
    lines: Ints

    def __len__(self) -> int:
        return len(self.lines)

    def sentence(self, number: int) -> Ints:
        """The indices of a sentence's words."""
        return self.words[self.starts[number] : self.starts[number + 1]]


def numbered(lines: Sequence[Sequence[str]], indices: dict[str, int], longest: int) -> Sentences:
    """The sentences of at most `longest` words, two at least, with their words as indices."""
    kept = [(number, line) for number, line in enumerate(lines, 1) if 2 <= len(line) <= longest]
    words = [indices.get(word, OTHER) for _, line in kept for word in line]
    starts = np.cumsum([0, *(len(line) for _, line in kept)])
    return Sentences(np.array(words, np.int64), starts, np.array([number for number, _ in kept], np.int64))


@dataclass(frozen=True)
class Blanks:
    """The places where a word of the vocabulary stands that its sentence has only once, in the order of the words.

    Attributes:
        word: the index of the word.
        sentence: the number of the sentence.
        place: its place in the sentence.
    """

    word: Ints
    sentence: Ints
    place: Ints

    def by_word(self) -> Iterator[tuple[int, Ints]]:
        """Each word, with the numbers of its blanks."""
        words, first = np.unique(self.word, return_index=True)
        for word, numbers in zip(words, np.split(np.arange(len(self.word)), first[1:]), strict=True):
            yield int(word), numbers


def blanks(sentences: Sentences) -> Blanks:
    """All places where a word can be blanked."""
    lengths = np.diff(sentences.starts)
    sentence = np.repeat(np.arange(len(sentences)), lengths)
    place = np.arange(len(sentences.words)) - np.repeat(sentences.starts[:-1], lengths)
    order = np.lexsort((sentence, sentences.words))
    word, sentence, place = sentences.words[order], sentence[order], place[order]
    same = (word[1:] == word[:-1]) & (sentence[1:] == sentence[:-1])
    twice = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    good = (word >= SPECIAL) & ~twice[: len(word)]
    return Blanks(word[good], sentence[good], place[good])
