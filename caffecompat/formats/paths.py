"""Where the files lie that prototxts name."""

from __future__ import annotations

import os
from pathlib import Path

from caffecompat.errors import FormatError, quoted


def find(name: str, what: str, *, root: str | os.PathLike[str] | None = None, beside: str | None = None) -> Path:
    """The path of a file or folder that a prototxt names.

    Caffe takes a relative path from the working directory. Where nothing is there, it is looked for from the folder
    of the file that names it too.

    Args:
        name: the path as the prototxt has it.
        what: what it is, for the error: "source", "mean_file".
        root: the folder to take in the place of the working directory.
        beside: the file that names it, or None.

    Raises:
        FormatError: nothing is there; it names the places.
    """
    places = [Path(root or ".")]
    if beside is not None:
        places.append(Path(beside).parent)
    if "\0" in name or not name:
        raise FormatError(f"expected a path as {what}, got {quoted(name)}")
    for place in places:
        path = place / name
        try:
            if path.exists():
                return path
        except OSError as error:
            raise FormatError(f"cannot look for {what} {quoted(name)}: {error.strerror}") from error
    tried = " and ".join(dict.fromkeys(str(place.resolve()) for place in places))
    raise FormatError(
        f"{what} {quoted(name)} is not there",
        hint=f"looked for in {tried}; relative paths start in the working directory, or where --root says"
        if not Path(name).is_absolute()
        else None,
    )
