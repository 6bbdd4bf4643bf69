"""Files as Python 2 opened them: bytes and text were one, and nothing had to be decoded."""

from __future__ import annotations

import io
import os
import pickle
from typing import IO, Any

# Bytes that are no UTF-8 survive reading and writing.
TEXT = {"encoding": "utf-8", "errors": "surrogateescape"}


class _BytesOrText(io.BufferedWriter):
    """A binary file to which text may be written."""

    def write(self, data: Any) -> int:
        """Write bytes, or text as UTF-8."""
        return super().write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def open2(path: Any, mode: str = "r", buffering: int = -1, **options: Any) -> IO[Any]:
    """`open(name, mode, buffering)`; the "U" of modes is the rule by now."""
    mode = mode.replace("U", "") or "r"
    mode = mode if mode[0] in "rwax" else "r" + mode
    if "b" not in mode:
        return open(path, mode, buffering or 1, **{**TEXT, **options})
    if mode.replace("b", "") in ("w", "a"):
        return _BytesOrText(io.FileIO(path, mode.replace("b", "")), buffering if buffering > 0 else 8192)
    return open(path, mode, buffering, **options)


def fdopen2(descriptor: int, mode: str = "r", buffering: int = -1) -> IO[Any]:
    """`os.fdopen`; text cannot do without a buffer in Python 3, and is then written line by line."""
    return os.fdopen(descriptor, mode.replace("U", "") or "r", 1 if buffering == 0 and "b" not in mode else buffering)


def binary(file: Any) -> Any:
    """The binary file below one that was opened as text, as it was good enough for bytes."""
    return getattr(file, "buffer", file)


def load(file: Any, **options: Any) -> Any:
    """`pickle.load`, also of files that Python 2 wrote: its strings become text, arrays stay what they are."""
    return pickle.load(binary(file), **{"encoding": "latin1", **options})


def loads(data: Any, **options: Any) -> Any:
    """`pickle.loads`; see `load`."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    return pickle.loads(raw, **{"encoding": "latin1", **options})


def dump(value: Any, file: Any, protocol: int = 0) -> None:
    """`pickle.dump`, in a protocol that Python 2 reads."""
    pickle.dump(value, binary(file), _readable(protocol))


def dumps(value: Any, protocol: int = 0) -> bytes:
    """`pickle.dumps`; see `dump`."""
    return pickle.dumps(value, _readable(protocol))


def _readable(protocol: int) -> int:
    return 2 if protocol < 0 or protocol > 2 else protocol


class StringIO2(io.StringIO):
    """`StringIO.StringIO`: bytes are taken as well, and kept byte by byte."""

    def __init__(self, value: Any = "") -> None:
        super().__init__(_text(value), newline="")

    def write(self, value: Any) -> int:
        """Write text or bytes."""
        return super().write(_text(value))


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
