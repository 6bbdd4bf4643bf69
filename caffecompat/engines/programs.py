"""What engines have in common that hand the trunk of a net to another program."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from caffecompat.engines.base import Engine, Settings
from caffecompat.engines.parts import Parts, cut
from caffecompat.export.fusing import fuse
from caffecompat.graph.spec import Shape
from caffecompat.net import Net

# The outputs of a trunk by name, of its inputs by name.
Program = Callable[[dict[str, Tensor]], dict[str, Tensor]]
# For so many sets of shapes what was built is kept.
MAX_PROGRAMS = 3


class ProgramEngine(Engine):
    """An engine that builds a program for each set of shapes; `net` is fused and cut for it first.

    Attributes:
        batches: a program may take other numbers of images than it was built for.
    """

    batches = True

    def __init__(self, net: Net, settings: Settings) -> None:
        super().__init__(net, settings)
        self.settings = settings
        self._fused = fuse(net, verify=False)
        self._programs: OrderedDict[tuple[object, ...], tuple[Parts, Program | None]] = OrderedDict()
        self._built(self.input_shapes)

    @abstractmethod
    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """The program for a trunk, for inputs of the shapes that it was built for.

        Args:
            trunk: the net.
            any_batch: it is to take other numbers of images too, if the net does.

        Raises:
            UnsupportedError: a layer has no form there; it names the layer.
        """

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `Engine.run`."""
        with torch.inference_mode(), _threads(self.settings.threads):
            parts, program = self._built({name: tuple(value.shape) for name, value in inputs.items()})
            return parts.finish(inputs, {} if program is None else program(inputs))

    def _built(self, shapes: dict[str, Shape]) -> tuple[Parts, Program | None]:
        # Pictures of the same size in another number share a program, that of the example aside.
        exact = shapes == self.input_shapes
        first = 1 if self.batches else 0
        key = (exact, *(shapes[name][first:] for name in self.input_shapes))
        if key not in self._programs:
            parts = cut(self._fused, shapes)
            program = None if parts.trunk is None else self.build(parts.trunk, any_batch=not exact)
            self._programs[key] = parts, program
            while len(self._programs) > MAX_PROGRAMS:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for PyTorch for a while."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
