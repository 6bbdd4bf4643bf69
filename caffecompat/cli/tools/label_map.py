"""`create_label_map`: a label map from lines of names, numbers and display names."""

from __future__ import annotations

import re
from pathlib import Path

from caffecompat.cli.errors import tell
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.formats import atomic_write, write_text
from caffecompat.formats.text_file import read_bytes
from caffecompat.schema import caffe_pb2

MAX_BYTES = 1 << 24
MAX_FIELDS = 3


def write_label_map(names: str, out: str, delimiter: str = " ", background: bool = False) -> None:
    """Write the label map of a file whose lines are `name`, `name label` or `name label display_name`.

    Args:
        names: the file; all its lines have as many fields.
        out: the prototxt to write.
        delimiter: the characters of which each ends a field.
        background: whether `none_of_the_above` comes first, as label 0.

    Raises:
        FormatError: the file cannot be read, or a line is not as it should be.
        UsageError: there is no delimiter.
        CaffeCompatError: the label map cannot be written.
    """
    if not delimiter:
        raise UsageError("--delimiter: expected the characters that end a field, got none")
    data = read_bytes(Path(names), MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected at most {MAX_BYTES} bytes, got more", file=names)
    label_map = caffe_pb2.LabelMap()
    if background:
        label_map.item.add(name="none_of_the_above", label=0, display_name="background")
    expected = 0
    for line, text in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        fields = re.split(f"[{re.escape(delimiter)}]", text)
        expected = expected or len(fields)
        if len(fields) != expected or len(fields) > MAX_FIELDS:
            wanted = expected if expected <= MAX_FIELDS else f"1 to {MAX_FIELDS}"
            raise FormatError(f"expected {wanted} fields, got {len(fields)} in {quoted(text)}", file=names, line=line)
        if len(fields) > 1 and not re.fullmatch(r"-?[0-9]{1,9}", fields[1]):
            raise FormatError(f"expected a label, a whole number; got {quoted(fields[1])}", file=names, line=line)
        label = int(fields[1]) if len(fields) > 1 else len(label_map.item)
        label_map.item.add(name=fields[0], label=label, display_name=fields[-1] if len(fields) > 2 else fields[0])
    with atomic_write(out) as file:
        file.write(write_text(label_map).encode())
    tell(f"Wrote {len(label_map.item)} labels to {out}")
