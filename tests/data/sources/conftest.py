from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.records import picture, raw, write_lmdb


@pytest.fixture
def bytes_db(tmp_path) -> Path:
    """Ten records of bytes, 3x9x11, labels 0, 10, 20, ..."""
    records = [(b"%04d" % n, raw(picture(n).transpose(2, 0, 1), 10 * n)) for n in range(10)]
    return write_lmdb(tmp_path / "db", records)
