"""JSON, read as untrusted: what its values must be, and errors that say where they are not."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from caffecompat.errors import FormatError, quoted
from caffecompat.formats.text_file import read_bytes

KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number"}


def decoder() -> json.JSONDecoder:
    """A decoder that takes no NaN and no Infinity, which JSON has not."""
    return json.JSONDecoder(parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read_json(path: str | os.PathLike[str], limit: int) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        limit: how many bytes it may have.

    Raises:
        FormatError: it cannot be read, is larger, or no JSON.
    """
    return parse_json(read_text(path, limit), path)


def parse_json(text: str, path: str | os.PathLike[str]) -> Any:
    """The value of a JSON text.

    Raises:
        FormatError: it is no JSON; it names `path`.
    """
    try:
        return decoder().decode(text)
    except (ValueError, RecursionError) as error:
        raise not_json(error, path) from None


def read_text(path: str | os.PathLike[str], limit: int) -> str:
    """The text of a JSON file.

    Raises:
        FormatError: it cannot be read, has more than `limit` bytes, or is no UTF-8.
    """
    data = read_bytes(path, limit)
    if len(data) > limit:
        raise FormatError(f"expected JSON of at most {limit:,} bytes", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("expected JSON, in UTF-8", file=path) from None


def not_json(error: Exception, path: str | os.PathLike[str]) -> FormatError:
    """What to say of a fault that the decoder found."""
    if isinstance(error, json.JSONDecodeError):
        return FormatError(f"not JSON: {error.msg}", file=path, line=error.lineno, column=error.colno)
    if isinstance(error, RecursionError):
        return FormatError("JSON that is nested too deeply", file=path)
    return FormatError(f"not JSON: {error}", file=path)


def taken(holder: Any, key: str, kind: type, where: str, path: str | os.PathLike[str]) -> Any:
    """The value of a key, of this kind; a number may be whole.

    Raises:
        FormatError: there is none, or it is of another kind.
    """
    value = holder.get(key) if isinstance(holder, dict) else None
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or isinstance(value, bool):
        place = f"{where}: " if where else ""
        got = "none" if value is None else quoted(value)
        raise FormatError(f"{place}expected {KINDS[kind]} as {quoted(key)}, got {got}", file=path)
    return value


def number(value: Any, what: str, path: str | os.PathLike[str]) -> float:
    """A number.

    Raises:
        FormatError: it is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise FormatError(f"{what}: expected a number, got {quoted(value)}", file=path)
