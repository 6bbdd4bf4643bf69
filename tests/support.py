"""What all tests share: where the recorded answers and the files that may not be committed lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parent / "reference"
SHARED = Path(os.environ.get("CAFFECOMPAT_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_file(name: str) -> Path:
    """A file or folder beside the checkout that may not be committed; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs shared/{name}, which is not here")
    return path
