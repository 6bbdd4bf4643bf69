"""What the tests of commands on databases share: LMDBs by the `lmdb` package, and calling a command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb
from click.testing import CliRunner, Result

from caffecompat.cli.main import main


def call(*arguments: Any, code: int = 0) -> Result:
    """The result of `caffecompat` with these arguments, which is to exit with this status."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stderr or repr(result.exception)
    return result


def write_lmdb(path: Path, records: Iterable[tuple[bytes, bytes]]) -> Path:
    """An LMDB of these records."""
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in records:
            transaction.put(key, value)
    return path


def read_lmdb(path: Path) -> dict[bytes, bytes]:
    """All records of an LMDB."""
    with (
        lmdb.open(str(path), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return dict(cursor)
