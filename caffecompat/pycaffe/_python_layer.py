"""Layer, the base of the users' Python layers, and the module that runs one of them.

Source of the rules: python_layer.hpp and _caffe.cpp of the original.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from caffecompat.blob import Blob, ParameterBlob
from caffecompat.errors import CaffeCompatError, UsageError, quoted
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.layers import base
from caffecompat.legacy.loading import Finder
from caffecompat.pycaffe._installing import install
from caffecompat.schema import caffe_pb2


class PythonLayerError(CaffeCompatError, RuntimeError):
    """A user's Python layer raised an exception; it is the cause (`__cause__`)."""


class BlobVec(list[ParameterBlob]):
    """The parameters of a layer; a Python layer adds its own."""

    def __init__(self, module: base.Layer | None = None) -> None:
        names = () if module is None else module.blob_names
        super().__init__(ParameterBlob(module, index) for index in range(len(names)) if module is not None)
        self._module = module

    def add_blob(self, *shape: int) -> None:
        """Add a parameter of this shape, zeros.

        Raises:
            UsageError: the layer is no Python layer, or is set up already.
        """
        module = self._module
        if not isinstance(module, PythonModule) or module.is_set_up:
            raise UsageError("add_blob is for Python layers, in setup", hint="call it in the layer's setup")
        index = len(module.blob_names)
        module.declare(f"blob{index}", Blob(shape).shape)
        module.set_blob(index, torch.zeros(shape))
        self.append(ParameterBlob(module, index))


class Layer:
    """A layer as pycaffe shows it, and the base of a Python layer.

    A Python layer overrides `setup`, `reshape`, `forward` and `backward`, which get lists of blobs.

    Attributes:
        type: its type.
        blobs: its parameters.
        phase: of a Python layer: 0 for TRAIN, 1 for TEST.
        param_str: of a Python layer: what the prototxt's `python_param` states.
    """

    type: str = "Python"
    blobs: BlobVec
    phase: int
    param_str: str

    def __init__(self, layer_param: caffe_pb2.LayerParameter | None = None) -> None:
        self.blobs = BlobVec()

    def setup(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Called once, before the first `reshape`."""

    def reshape(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Give the tops their shapes; called before each pass."""

    def forward(self, bottom: list[Blob], top: list[Blob]) -> None:
        """Compute the tops' data."""

    def backward(self, top: list[Blob], propagate_down: list[bool], bottom: list[Blob]) -> None:
        """Compute the bottoms' diffs, and add to those of the parameters."""


def layer_of(module: base.Layer) -> Layer:
    """The layer as pycaffe shows it: of a Python layer, the user's own object."""
    if isinstance(module, PythonModule):
        return module.user
    shown = Layer()
    shown.type = module.spec.type
    shown.blobs = BlobVec(module)
    return shown


def find_python_layer(spec: LayerSpec) -> Any:
    """The module class of a user's Python layer; its module is imported, with `import caffe` served by this package.

    Returns:
        None if there is no module of that name.

    Raises:
        PythonLayerError: the import fails.
        UsageError: the module has no such class.
    """
    param = spec.message.python_param
    # Where a real caffe is installed, it is what the module imports.
    with suppress(CaffeCompatError):
        install()
    # Layers of Python 2 are translated, as scripts are.
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        Finder().install()
    try:
        module = importlib.import_module(param.module)
    except ModuleNotFoundError as error:
        if error.name and (param.module + ".").startswith(error.name + "."):
            return None
        raise _failed(spec, f"importing module {quoted(param.module)}", error) from error
    except Exception as error:
        raise _failed(spec, f"importing module {quoted(param.module)}", error) from error
    cls = getattr(module, param.layer, None)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        what = "has no class" if cls is None else "has, but not as a subclass of caffe.Layer,"
        raise spec.error(f"module {quoted(param.module)} {what} {quoted(param.layer)}", kind=UsageError)
    return partial(PythonModule, cls)


class PythonModule(base.Layer):
    """Runs a user's Python layer, on the CPU.

    Attributes:
        user: the user's object.
        is_set_up: whether its `setup` is done.
    """

    def __init__(self, cls: type[Layer], spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.is_set_up = False
        self._bottom = [Blob(shape) for shape in bottoms]
        own = {key.name: blob for key, blob in zip(spec.bottoms, self._bottom, strict=True)}
        # A top of a bottom's name works in place: it is that blob.
        self._top = [own.get(key.name) or Blob() for key in spec.tops]
        self._in_place = any(blob in self._bottom for blob in self._top)
        with self._calling("__init__"):
            self.user = cls(spec.message)
        self.user.blobs = BlobVec(self)
        self.user.param_str = spec.message.python_param.param_str
        self.user.phase = 0 if spec.phase == "TRAIN" else 1
        with self._calling("setup"):
            self.user.setup(self._bottom, self._top)
        self.is_set_up = True

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        for blob, shape in zip(self._bottom, bottoms, strict=True):
            blob.reshape(*shape)
        with self._calling("reshape"):
            self.user.reshape(self._bottom, self._top)
        return tuple(blob.shape for blob in self._top)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        learned = [blob for blob in self.blobs if blob.requires_grad]
        tops = _Run.apply(self, len(bottoms), *bottoms, *learned)  # type: ignore[no-untyped-call]
        return tops if isinstance(tops, tuple) else (tops,)

    def run(self, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The user's `reshape` and `forward` on these values."""
        for blob, bottom in zip(self._bottom, bottoms, strict=True):
            value = bottom.detach().to("cpu", torch.float32)
            blob.take(value.clone() if self._in_place else value)
        with self._calling("reshape"):
            self.user.reshape(self._bottom, self._top)
        with self._calling("forward"):
            self.user.forward(self._bottom, self._top)
        return tuple(blob.tensor.clone() for blob in self._top)

    def run_back(self, gradients: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor]:
        """The user's `backward`: the diffs of the bottoms."""
        for blob, gradient in zip(self._top, gradients, strict=True):
            value = torch.zeros(blob.shape) if gradient is None else gradient.to("cpu", torch.float32)
            blob.take_gradient(value.clone() if self._in_place else value)
        with self._calling("backward"):
            self.user.backward(self._top, list(wanted), self._bottom)
        return [blob.gradient.clone() for blob in self._bottom]

    @contextmanager
    def _calling(self, method: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            name = f"{self.spec.message.python_param.layer}.{method}"
            raise _failed(self.spec, name, error) from error


class _Run(torch.autograd.Function):
    """A pass through a user's layer, with the user's own gradients."""

    @staticmethod
    def forward(ctx: Any, module: PythonModule, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.module, ctx.count, ctx.devices = module, count, [tensor.device for tensor in tensors]
        device = tensors[0].device if tensors else torch.device("cpu")
        return tuple(top.to(device) for top in module.run(tensors[:count]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        found = ctx.module.run_back(gradients, wanted[: ctx.count])
        bottoms = [
            gradient.to(device) if needed else None
            for gradient, needed, device in zip(found, wanted, ctx.devices, strict=False)
        ]
        # The parameters' diffs are the user's to add to.
        return (None, None, *bottoms, *(None for _ in wanted[ctx.count :]))


def _failed(spec: LayerSpec, what: str, error: Exception) -> CaffeCompatError:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return spec.error(f"{what} raised {type(error).__name__}: {error}{where}", kind=PythonLayerError)
