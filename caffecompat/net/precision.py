"""What float32 means on an NVIDIA GPU.

Caffe computed in float32. PyTorch, unless it is told otherwise, rounds what cuDNN's convolutions multiply to TF32,
which keeps 10 of float32's 23 bits: three digits. What runs nets here tells it otherwise, unless TF32 is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def gpu_precision(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Let passes on a GPU compute in float32, or in TF32; as it was before afterwards.

    Args:
        device: where they compute; on any other than an NVIDIA GPU nothing changes.
        tf32: round what convolutions and matrix products multiply to TF32.
    """
    if device.type != "cuda":
        yield
        return
    convolutions, products = _convolutions(), torch.backends.cuda.matmul
    before = convolutions.fp32_precision, products.fp32_precision
    convolutions.fp32_precision = "tf32" if tf32 else "ieee"
    if tf32:
        products.fp32_precision = "tf32"
    try:
        yield
    finally:
        convolutions.fp32_precision, products.fp32_precision = before


def keep_float32(device: torch.device) -> None:
    """Let all that this process computes on a GPU be in float32: for programs, which decide it for themselves."""
    if device.type == "cuda":
        _convolutions().fp32_precision = "ieee"


def _convolutions() -> Any:
    """The settings of cuDNN's convolutions, which the annotations of torch lack."""
    return torch.backends.cudnn.conv  # type: ignore[attr-defined]
