"""Databases as the commands open them."""

from __future__ import annotations

from pathlib import Path

import cv2

from caffecompat.data.databases import Database, open_database


def opened(path: Path, backend: str | None) -> Database:
    """The database of a command.

    Args:
        path: its folder.
        backend: the value of --backend: "lmdb", "leveldb" or None.

    Raises:
        CaffeCompatError: there is none, it is another one, it is empty or damaged.
    """
    # OpenCV says on stderr what is wrong with a picture; the error that follows says it with the record's key.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return open_database(path, None if backend is None else "LMDB" if backend == "lmdb" else "LEVELDB")
