"""PyTorch's settings of a GPU's precision, which can be set where there is none."""

from __future__ import annotations

import pytest
import torch

from caffecompat.net.precision import gpu_precision, keep_float32
from tests.solver.tiny import tiny

CUDA = torch.device("cuda")


def settings():
    return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


@pytest.fixture(autouse=True)
def as_installed():
    before = settings()
    torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = "tf32", "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize(("tf32", "expected"), [(False, "ieee"), (True, "tf32")])
def test_it_holds_within_and_not_afterwards(tf32, expected):
    with gpu_precision(CUDA, tf32=tf32):
        assert settings() == (expected, expected)
    assert settings() == ("tf32", "ieee")


def failing():
    with gpu_precision(CUDA):
        raise ZeroDivisionError


def test_an_error_changes_it_back():
    with pytest.raises(ZeroDivisionError):
        failing()
    assert settings() == ("tf32", "ieee")


def test_elsewhere_nothing_changes():
    with gpu_precision(torch.device("cpu")):
        assert settings() == ("tf32", "ieee")
    keep_float32(torch.device("cpu"))
    assert settings() == ("tf32", "ieee")


def test_a_program_keeps_float32():
    keep_float32(CUDA)
    assert settings() == ("ieee", "ieee")


def test_on_the_cpu_tf32_is_float32(tmp_path):
    losses = []
    for precision in ("float32", "tf32"):
        solver = tiny(tmp_path / "x", precision=precision)
        losses.append([solver.step(1) for _ in range(3)])
    assert losses[0] == losses[1]
