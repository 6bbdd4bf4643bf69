"""What "auto" chose, and other findings, kept on disk: one small file for each net, example and set of versions.

They lie in the folder that CAFFECOMPAT_CACHE names; else in caffecompat/engines of the user's folder for such files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from caffecompat.engines.accuracy import Accuracy
from caffecompat.engines.base import Settings
from caffecompat.engines.registry import ENGINES
from caffecompat.engines.report import Report, Trial
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import atomic_write
from caffecompat.net import Net
from caffecompat.net.saving import net_blobs, net_message

_PACKAGES = ("caffecompat", "torch", "onnxruntime", "openvino", "opencv-python-headless", "opencv-python")
# A choice has some hundred bytes, ranges some ten thousand.
_MAX_BYTES = 1 << 22
_log = logging.getLogger(__name__)


def folder() -> Path:
    """Where all is kept."""
    given = os.environ.get("CAFFECOMPAT_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "caffecompat" / "engines"


def key_of(net: Net, settings: Settings) -> str:
    """What a choice hangs on, as a hash.

    That is: layers, parameters, shapes, precision, what int8 is calibrated and measured with, threads, versions, the
    processor.

    Raises:
        FormatError: a file to calibrate with cannot be read.
    """
    digest = hashlib.sha256(net_message(net).SerializeToString(deterministic=True))
    for blobs in net_blobs(net):
        for blob in blobs:
            digest.update(str(blob.shape).encode())
            digest.update(blob.data if blob.flags.c_contiguous else blob.tobytes())
    given = {
        "shapes": settings.shapes,
        "precision": settings.precision,
        "calibration": settings.calibration and settings.calibration.stamp(),
        "threads": settings.threads,
        "dialect": net.graph.dialect,
        "engines": sorted(ENGINES),
        "versions": {package: _version(package) for package in _PACKAGES},
        "processor": [torch.backends.cpu.get_cpu_capability(), os.cpu_count()],
    }
    digest.update(json.dumps(given, sort_keys=True).encode())
    return digest.hexdigest()


def recall(key: str) -> Report | None:
    """The choice kept under a key; None if there is none, or the file is not one of ours."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = read_kept(key)
        trials = tuple(Trial(**trial) for trial in found["trials"])
        accuracy = None if found["accuracy"] is None else Accuracy(**found["accuracy"])
        report = Report(found["chosen"], found["precision"], found["threads"], trials, cached=True, accuracy=accuracy)
        return report if report.chosen in ENGINES else None
    return None


def keep(key: str, report: Report) -> None:
    """Keep a choice; where it cannot be written, the next one measures again."""
    values = {
        "chosen": report.chosen,
        "precision": report.precision,
        "threads": report.threads,
        "trials": [vars(trial) for trial in report.trials],
        "accuracy": report.accuracy and vars(report.accuracy),
    }
    write_kept(key, values, "the choice of an engine")


def read_kept(key: str) -> Any:
    """What is kept under a key, as JSON holds it.

    Raises:
        OSError: there is nothing.
        ValueError: it is no JSON, or too large to be of ours.
    """
    path = _path(key)
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"{path} is too large")
    return json.loads(path.read_bytes())


def write_kept(key: str, values: object, what: str) -> None:
    """Keep values under a key; that they cannot be kept is a warning of the log, which calls them `what`."""
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps(values, indent=1).encode())
    except (OSError, CaffeCompatError) as error:
        _log.warning("%s cannot be kept: %s", what, error)


def _path(key: str) -> Path:
    return folder() / f"{key}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
