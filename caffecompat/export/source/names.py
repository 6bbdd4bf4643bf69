"""Names from a prototxt as identifiers that a person could have chosen."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterable

from torch import nn

from caffecompat.export.source import operators

# Longer names are cut.
_MAX = 48
_OTHERS = re.compile(r"[^A-Za-z0-9]+")
_SEPARATOR = re.compile(r"[_/.:\-]")
# What the file uses itself; `l`, `I` and `O` are hard to tell from numbers.
RESERVED = {
    *keyword.kwlist, *keyword.softkwlist, *dir(builtins), "self", "x", "torch", "nn", "F", "math", "sys", "Path",
    "Tensor", "load_file", "load", "main", "numpy", "PREPROCESSING", "SOURCES", "LICENSE", "INPUTS", "l", "I", "O",
}  # fmt: skip
_MODULE = set(dir(nn.Module())) | RESERVED


def attribute(text: str, kind: str, taken: Iterable[str]) -> str:
    """The name of a submodule.

    Args:
        text: the layer's name.
        kind: what to call it where the name says nothing, and what goes before a digit.
        taken: names that it may not have.
    """
    return _unique(_plain(text, kind), _MODULE.union(taken).__contains__)


def variable(text: str, kind: str, taken: Iterable[str]) -> str:
    """The name of a value or a parameter: none that would hide an operator."""
    return _unique(_plain(text, kind), RESERVED.union(taken, operators.names()).__contains__)


# What a net's name says of its prototxt.
_PURPOSES = {"deploy", "train", "test", "val"}


def class_name(text: str, fallback: str, taken: Iterable[str]) -> str:
    """The name of a class."""
    words = [word for word in _OTHERS.split(text[:_MAX]) if word]
    if len(words) > 1 and words[-1].lower() in _PURPOSES:
        words.pop()
    name = "".join(word[0].upper() + word[1:] for word in words)
    if not name or not name[0].isalpha():
        name = fallback + name
    return _unique(name, (RESERVED | set(taken)).__contains__, "")


def _plain(text: str, kind: str) -> str:
    plain = _OTHERS.sub("_", text[:_MAX]).strip("_")
    if not plain:
        return kind
    return (kind if plain.isdigit() else kind + "_") + plain if plain[0].isdigit() else plain


def _unique(name: str, taken: Callable[[str], bool], joint: str = "_") -> str:
    candidate, number = name, 1
    while taken(candidate):
        number += 1
        candidate = f"{name}{joint}{number}"
    return candidate


def beginning(names: Iterable[str]) -> str:
    """The characters that all names begin with."""
    letters = []
    for each in zip(*names, strict=False):
        if len(set(each)) > 1:
            break
        letters.append(each[0])
    return "".join(letters)


def common_prefix(names: Iterable[str]) -> str:
    """What names begin with, up to a separator, that included; "" if nothing."""
    every = list(names)
    prefix = beginning(every)
    if prefix in every and len(set(every)) == 1:
        return prefix
    ends = [match.end() for match in _SEPARATOR.finditer(prefix)]
    if prefix in every:
        rest = [name[len(prefix) :] for name in every if name != prefix]
        if all(_SEPARATOR.match(each) for each in rest):
            return prefix
    return prefix[: ends[-1]] if ends else ""


def unnumbered(text: str) -> str:
    """What follows a number at the beginning of a name: that of one block says nothing of the others."""
    return re.sub(r"^\d+[_/.:\-]+(?=[A-Za-z])", "", text)


def stem(prefix: str) -> str:
    """A prefix without the separator at its end."""
    return prefix.rstrip("_/.:-")


def common_word(names: Iterable[str]) -> str:
    """The letters that names begin with, or else those they end with."""
    every = list(names)
    first = re.match(r"[A-Za-z]*", beginning(every))
    if first is not None and len(first[0]) >= 3:
        return first[0]
    last = beginning([name[::-1] for name in every])[::-1]
    letters = re.search(r"[A-Za-z]*$", last)
    return letters[0] if letters is not None and len(letters[0]) >= 3 else ""
