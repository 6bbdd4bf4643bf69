"""Errors that are both ours and OpenCV's: scripts that call `cv2.dnn` catch `cv2.error`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2

from caffecompat.errors import CaffeCompatError

# What OpenCV states as the code of an error that it has no other code for (cv::Error::StsError).
STS_ERROR = -2
_BOTH: dict[type[CaffeCompatError], type[CaffeCompatError]] = {}


@contextmanager
def cv2_errors() -> Iterator[None]:
    """Let every `CaffeCompatError` that passes through be a `cv2.error` of the same text as well."""
    try:
        yield
    except CaffeCompatError as error:
        if not isinstance(error, cv2.error):
            error.__class__ = _both(type(error))
            # What OpenCV's own errors have; `file` and `line` are those of the user's file.
            vars(error).update(code=STS_ERROR, err=error.message, func="", msg=str(error))
        raise


def _both(kind: type[CaffeCompatError]) -> type[CaffeCompatError]:
    if kind not in _BOTH:
        _BOTH[kind] = type(kind.__name__, (kind, cv2.error), {"__doc__": kind.__doc__, "__module__": kind.__module__})
    return _BOTH[kind]
