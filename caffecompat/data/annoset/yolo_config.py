"""data.yaml of YOLO: the few keys of it that say where images are and what classes are called.

Of YAML that is understood which such files use: `key: value`, lists and maps in one line or in indented ones, quotes
and comments. Nothing else is, and nothing in a file is run.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caffecompat.errors import FormatError, quoted
from caffecompat.formats.text_file import read_bytes

MAX_BYTES = 1 << 20
_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:(?:\s+(.*))?")
_ITEM = re.compile(r"\s*-\s+(.*)")
_PAIR = re.compile(r"\s*(\d{1,7})\s*:\s+(.*)")
_SCALAR = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,\[\]{}#]*[^,\[\]{}#\s]|)\s*""")
_CLOSING = {"[": "]", "{": "}"}


_SPLIT_KEYS = ("train", "val", "valid", "test")
_KEYS = (*_SPLIT_KEYS, "path", "names")


@dataclass(frozen=True)
class YoloConfig:
    """What a data.yaml says.

    Attributes:
        file: the file.
        path: the folder that names start from, as it stands there.
        splits: the folders or lists of train, val and test.
        names: of the classes.
    """

    file: Path
    path: str
    splits: dict[str, Sequence[str]]
    names: Sequence[str]


def read_config(path: Path) -> YoloConfig:
    """Read a data.yaml.

    Raises:
        FormatError: it cannot be read, or uses more of YAML than is understood.
    """
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected a data.yaml of at most {MAX_BYTES} bytes", file=path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("expected a data.yaml, in UTF-8", file=path) from None
    values = _values(text, path)
    splits = {"val" if key == "valid" else key: value for key, value in values.items() if key in _SPLIT_KEYS and value}
    base = values.get("path", [""])
    return YoloConfig(path, base[0] if base else "", splits, tuple(values.get("names", ())))


def _values(text: str, path: Path) -> dict[str, Sequence[str]]:
    """The values of the keys that count, each as a list."""
    found: dict[str, Sequence[str]] = {}
    lines = deque(enumerate(text.splitlines(), 1))
    while lines:
        number, raw = lines.popleft()
        line = _bare(raw)
        if not line.strip() or line.startswith(("---", "%")):
            continue
        key = _KEY.fullmatch(line)
        if key is None:
            if line[0] in " \t-":
                continue
            raise _fault("expected `key: value`", line, path, number)
        value = (key[2] or "").strip()
        if key[1] not in _KEYS:
            continue
        if value.startswith(("[", "{")):
            found[key[1]] = _flow(_whole(value, lines), path, number)
        elif value:
            found[key[1]] = [] if value in ("null", "~") else [_scalar(value, path, number)]
        else:
            found[key[1]] = _block(lines, path)
    return found


def _bare(line: str) -> str:
    """A line without its comment."""
    quote = ""
    for place, sign in enumerate(line) if "#" in line else ():
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line.rstrip()


def _whole(value: str, lines: deque[tuple[int, str]]) -> str:
    """A list or map that may go on in the lines that follow; they are taken out of `lines`."""
    opening, closing = value[0], _CLOSING[value[0]]
    parts, depth = [value], value.count(opening) - value.count(closing)
    while depth > 0 and lines:
        parts.append(_bare(lines.popleft()[1]).strip())
        depth += parts[-1].count(opening) - parts[-1].count(closing)
    return " ".join(parts).strip()


def _block(lines: deque[tuple[int, str]], path: Path) -> list[str]:
    """The items or numbered pairs of the lines that follow; they are taken out of `lines`."""
    pairs: dict[int, str] = {}
    while lines:
        number, raw = lines[0]
        line = _bare(raw)
        if not line.strip():
            lines.popleft()
            continue
        item, pair = _ITEM.fullmatch(line), _PAIR.fullmatch(line)
        if item is None and (pair is None or not line[0].isspace()):
            if line[0].isspace():
                raise _fault("expected `- name` or `0: name`", line, path, number)
            break
        lines.popleft()
        text = item[1] if item is not None else pair[2] if pair is not None else ""
        place = int(pair[1]) if item is None and pair is not None else len(pairs)
        pairs[place] = _scalar(text, path, number)
    return _in_order(pairs, path)


def _in_order(pairs: dict[int, str], path: Path) -> list[str]:
    if sorted(pairs) != list(range(len(pairs))):
        raise FormatError("expected classes numbered from 0, none left out", file=path)
    return [pairs[number] for number in range(len(pairs))]


def _flow(value: str, path: Path, line: int) -> list[str]:
    """The items of `[a, b]`, or the values of `{0: a, 1: b}`."""
    closing = _CLOSING[value[0]]
    if not value.endswith(closing):
        raise _fault(f"expected a {closing} at its end", value, path, line)
    inner = value[1:-1]
    items: list[str] = []
    at = 0
    while at < len(inner) and inner[at:].strip():
        match = _SCALAR.match(inner, at)
        end = match.end() if match else at
        if match is None or (end < len(inner) and inner[end] != ","):
            raise _fault("expected names apart by commas", value, path, line)
        items.append(match[1])
        at = end + 1
    if closing == "]":
        return [_scalar(item, path, line) for item in items]
    pairs: dict[int, str] = {}
    for item in items:
        pair = _PAIR.fullmatch(item)
        if pair is None:
            raise _fault("expected pairs such as `0: name`", value, path, line)
        pairs[int(pair[1])] = _scalar(pair[2], path, line)
    return _in_order(pairs, path)


def _scalar(text: str, path: Path, line: int) -> str:
    """A value without its quotes."""
    text = text.strip()
    match = _SCALAR.fullmatch(text)
    if match is None or text[:1] in ("&", "*", "!", "|", ">"):
        raise _fault("expected a simple value", text, path, line)
    if text[:1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text[1:-1].replace("''", "'") if text[:1] == "'" else text


def _fault(expected: str, text: str, path: Path, line: int) -> FormatError:
    hint = "of YAML only keys with values, lists and numbered maps are understood here; or give --classes and a folder"
    return FormatError(f"{expected}, got {quoted(text.strip())}", file=path, line=line, hint=hint)
