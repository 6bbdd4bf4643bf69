"""The drawn detection set in files, as it was when the original made its databases of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lmdb

from tests.support import REFERENCE

SHAPES = REFERENCE / "ssd_training" / "shapes"
NAMES = ("circle", "square", "triangle")


def recorded(split: str, folder: Path) -> dict[bytes, bytes]:
    """The records of the database that the original's convert_annoset wrote."""
    copy = folder / f"recorded_{split}"
    copy.mkdir(exist_ok=True)
    (copy / "data.mdb").write_bytes((SHAPES / f"{split}_lmdb" / "data.mdb").read_bytes())
    with (
        lmdb.open(str(copy), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return dict(cursor)


def write_shapes(folder: Path) -> Path:
    """Draw the set anew: annotations, lists and sizes are the same; an encoder of today may write other images."""
    subprocess.run([sys.executable, str(SHAPES / "make_shapes.py"), str(folder)], check=True)
    return folder
