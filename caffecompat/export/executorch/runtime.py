"""ExecuTorch, imported and run so that it keeps quiet, and a program that it runs."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, BinaryIO

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, UnsupportedError


def load_executorch() -> Any:
    """The module executorch.exir, with the runtime and XNNPACK's partitioner imported too.

    Raises:
        UnsupportedError: it is not installed, or does not fit the PyTorch that is.
    """
    try:
        with quiet():
            for name in ("executorch.runtime", "executorch.backends.xnnpack.partition.xnnpack_partitioner"):
                import_module(name)
            return import_module("executorch.exir")
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            "ExecuTorch needs the package executorch, which is not installed",
            hint="pip install 'caffecompat[executorch]'",
        ) from error
    except (ImportError, OSError) as error:
        raise UnsupportedError(
            f"the package executorch cannot be imported: {reason(error)}",
            hint=f"install a version that is made for PyTorch {torch.__version__}",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Let nobody warn or log for a while: what executorch and torchao say of themselves helps no user.

    The logging of the program is afterwards as it was: executorch sets it up when it is imported.
    """
    root = logging.getLogger()
    disabled, handlers, level = root.manager.disable, list(root.handlers), root.level
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _unprinted() -> Iterator[BinaryIO]:
    """What is printed on standard error meanwhile, by this process, goes into a file: ExecuTorch logs there in C++."""
    with tempfile.TemporaryFile() as file:
        try:
            saved = os.dup(2)
        except OSError:  # it is closed
            yield file
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield file
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def reason(error: BaseException) -> str:
    """The first line of what an error says, or of what caused it: what stands around tells of executorch's insides."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0]


class Session:
    """A program in ExecuTorch's runtime.

    Raises:
        CaffeCompatError: it refuses the program, here or when it runs.
    """

    def __init__(self, program: bytes) -> None:
        """Load a program.

        Args:
            program: the contents of a `.pte`.
        """
        load_executorch()
        with _refused("refuses the program"):
            runtime = import_module("executorch.runtime").Runtime.get()
            self._program = runtime.load_program(program)
            self._method = self._program.load_method("forward")

    @property
    def texts(self) -> dict[str, str]:
        """What the program says of itself."""
        with _refused("cannot read the program"):
            names = sorted(self._program.method_names - {"forward"})
            return {name: self._program.load_method(name).execute([])[0] for name in names}

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The outputs in order."""
        with _refused("cannot run the program"):
            return list(self._method.execute([value.contiguous() for value in inputs]))


@contextmanager
def _refused(doing: str) -> Iterator[None]:
    """What the runtime raises becomes an error of ours, with the first of what it printed: that names the cause."""
    with quiet(), _unprinted() as printed:
        try:
            yield
        except Exception as error:
            printed.seek(0)
            said = printed.read().decode(errors="replace").splitlines()
            cause = next((line for line in said if "cpuinfo" not in line and line.strip()), reason(error))
            raise CaffeCompatError(f"ExecuTorch {doing}: {cause.strip()}") from error
