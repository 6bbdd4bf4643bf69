"""XML, read as untrusted: no entities, no other files, bounded in bytes, elements and depth."""

from __future__ import annotations

import os
from typing import Any, NoReturn
from xml.parsers import expat

from caffecompat.errors import FormatError, quoted
from caffecompat.formats.text_file import read_bytes

# Annotations have some kilobytes.
MAX_BYTES = 1 << 22
MAX_ELEMENTS = 100_000
MAX_DEPTH = 64


class Element:
    """An element: its name, the text in it (that of its children excepted), and its children."""

    __slots__ = ("children", "name", "parts")

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[str] = []
        self.children: list[Element] = []

    @property
    def text(self) -> str:
        """The text, without white space around it."""
        return "".join(self.parts).strip()

    def find(self, name: str) -> Element | None:
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def text_of(self, name: str) -> str | None:
        """The text of the first child of that name; None if there is none."""
        child = self.find(name)
        return None if child is None else child.text


def read_xml(path: str | os.PathLike[str], root: str) -> Element:
    """The root of an XML file.

    Args:
        path: the file.
        root: the name that the root must have.

    Raises:
        FormatError: it cannot be read, is not XML, defines entities, or is larger than annotations are.
    """
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected an annotation of at most {MAX_BYTES} bytes", file=path)
    builder = _Builder(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.EntityDeclHandler = builder.refuse
    parser.UnparsedEntityDeclHandler = builder.refuse
    parser.ExternalEntityRefHandler = builder.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        message = f"not XML: {expat.ErrorString(error.code)}"
        raise FormatError(message, file=path, line=error.lineno, column=error.offset + 1) from None
    except (LookupError, ValueError) as error:
        raise FormatError(f"not XML: {error}", file=path) from None
    found = builder.root
    if found is None or found.name != root:
        got = "none" if found is None else quoted(found.name)
        raise FormatError(f"expected XML with the root {quoted(root)}, got {got}", file=path)
    return found


class _Builder:
    """Takes the parser's events."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.root: Element | None = None
        self._path = path
        self._open: list[Element] = []
        self._count = 0

    def start(self, name: str, _attributes: Any) -> None:
        element = Element(name)
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            bounds = f"{MAX_ELEMENTS} elements, {MAX_DEPTH} deep"
            raise FormatError(f"expected an annotation of at most {bounds}", file=self._path)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].parts.append(data)

    def refuse(self, *_: Any) -> NoReturn:
        hint = "annotations need none; entities are a way to make a small file fill the memory"
        raise FormatError("XML that defines entities is not read", file=self._path, hint=hint)
