"""What runs on an NVIDIA GPU gives what the CPU gives, and what the original gave. Without a GPU all is skipped."""

from __future__ import annotations

import pytest
import torch

from caffecompat.net.precision import gpu_precision


@pytest.fixture(autouse=True)
def torch_as_installed():
    """PyTorch's own setting of convolutions, TF32, before each test and after it, whatever a command sets."""
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "tf32"
    yield
    convolutions.fp32_precision = before


@pytest.fixture
def exact():
    """What docs/python.md tells a program of one's own to set."""
    with gpu_precision(torch.device("cuda")):
        yield
