"""The one rule by which names from a prototxt become names that Python and PyTorch accept."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable

_NOT_IN_IDENTIFIERS = re.compile(r"\W", re.ASCII)


def escape(name: str, taken: Callable[[str], bool]) -> str:
    """An identifier that resembles `name` and is not taken.

    Every character that an identifier cannot hold becomes `_`; a leading digit, a keyword or an empty name
    gets a `_`; and what is taken gets `_2`, `_3`, and so on: `inception_3a/1x1` -> `inception_3a_1x1`,
    `type` -> `type_2` (modules have an attribute of that name), a second `relu1` -> `relu1_2`.
    """
    plain = _NOT_IN_IDENTIFIERS.sub("_", name)
    if not plain or plain[0].isdigit():
        plain = "_" + plain
    if keyword.iskeyword(plain):
        plain += "_"
    candidate, number = plain, 1
    while taken(candidate):
        number += 1
        candidate = f"{plain}_{number}"
    return candidate
