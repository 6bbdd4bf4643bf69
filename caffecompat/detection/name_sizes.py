"""The files that `name_size_file` names: what the images of a database are called, and how large they are.

Source of the rules: detection_output_layer.cpp of the SSD branch, and its tool get_image_size, which writes them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from caffecompat.errors import FormatError, context, quoted
from caffecompat.formats.text_file import read_bytes

MAX_BYTES = 1 << 28
MAX_SIZE = 2**31 - 1
_HINT = "each line is: name height width, as get_image_size writes them"
_PARTS = 3


@dataclass(frozen=True)
class NameSizes:
    """The images of a database, in its order.

    Attributes:
        names: what each is called; bytes that are no UTF-8 are kept as surrogates.
        sizes: the (height, width) of each, in pixels.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.names)


def read_name_sizes(path: str | os.PathLike[str]) -> NameSizes:
    """The lines `name height width` of a file; empty ones are passed over.

    The original stops reading, without a word, at the first line that is none.

    Raises:
        FormatError: the file cannot be read, has no lines, or one that is no name with two sizes of at least 1.
    """
    with context(file=path, hint=_HINT):
        data = read_bytes(path, MAX_BYTES)
        if len(data) > MAX_BYTES:
            raise FormatError(f"name_size_file: expected at most {MAX_BYTES} bytes, got more")
        names, sizes = [], []
        for number, line in enumerate(data.split(b"\n"), 1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != _PARTS or not all(_is_size(part) for part in parts[1:]):
                text = line[:200].decode("utf-8", "replace").strip()
                raise FormatError(
                    f"name_size_file: expected a name, a height and a width, got {quoted(text)}", line=number
                )
            names.append(parts[0].decode("utf-8", "surrogateescape"))
            sizes.append((int(parts[1]), int(parts[2])))
        if not names:
            raise FormatError("name_size_file: expected lines, got none")
    return NameSizes(tuple(names), tuple(sizes))


def _is_size(text: bytes) -> bool:
    # bytes.isdigit knows the ten ASCII digits only.
    return text.isdigit() and len(text) <= len(str(MAX_SIZE)) and 1 <= int(text) <= MAX_SIZE
