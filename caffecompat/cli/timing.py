"""How long each layer of a net takes, forward and backward."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from caffecompat.graph.spec import BlobKey, LayerSpec, Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net
from caffecompat.net.executor import Env

PIXEL_RANGE = 255.0
# (item, label, instance, xmin, ymin, xmax, ymax, difficult)
BOX = (0.0, 1.0, 0.0, 0.1, 0.1, 0.6, 0.6, 0.0)
SEED = 1


@dataclass
class Times:
    """Seconds, added up over `passes` passes.

    Attributes:
        forward: of each layer.
        backward: of each layer; 0 for one that needs none.
        forward_pass: of all layers, with what lies between them.
        backward_pass: likewise.
        passes: how many passes there were.
    """

    forward: list[float]
    backward: list[float]
    forward_pass: float = 0.0
    backward_pass: float = 0.0
    passes: int = 0


@dataclass
class _Done:
    """What the backward pass of a layer needs: its bottoms cut from the net, and its tops."""

    bottoms: tuple[Tensor, ...]
    tops: tuple[Tensor, ...] = ()


@dataclass
class Timer:
    """Passes of a net, layer by layer, each with a graph of gradients of its own. (Caffe: `time` in tools/caffe.cpp.).

    Attributes:
        net: the net.
        fed: the tops of data layers that do not read, and of Input layers.
        device: where the net is.
        times: what was measured so far.
    """

    net: Net
    fed: Env
    device: torch.device
    times: Times = field(init=False)

    def __post_init__(self) -> None:
        self._done: dict[int, _Done] = {}
        self._start = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget what was measured."""
        count = len(self.net.layers)
        self.times = Times([0.0] * count, [0.0] * count)

    def run(self) -> float:
        """One pass forward and backward; its loss."""
        start = self._now()
        env = dict(self.fed)
        self.net.run(env, hooks=self)
        middle = self._now()
        loss, diffs = self._losses(env)
        turn = self._now()
        for index in range(len(self.net.layers) - 1, -1, -1):
            self._backward(index, diffs)
        end = self._now()
        self._done.clear()
        self.times.forward_pass += middle - start
        self.times.backward_pass += end - turn
        self.times.passes += 1
        return loss

    # --- between the executor and a layer

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Cut the bottoms from the layers before, and start the clock."""
        cut = tuple(blob.detach().requires_grad_(blob.requires_grad) for blob in bottoms)
        self._done[index] = _Done(cut)
        self._start = self._now()
        return cut

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Stop the clock."""
        self.times.forward[index] += self._now() - self._start
        self._done[index].tops = tops
        return tops

    def _losses(self, env: Env) -> tuple[float, dict[BlobKey, Tensor]]:
        """The loss, and the gradients that the backward pass starts with."""
        total, diffs = 0.0, {}
        for spec in self.net.graph.layers:
            for weight, key in zip(spec.loss_weights, spec.tops, strict=False):
                if weight:
                    total += weight * float(env[key].detach().sum())
                    diffs[key] = torch.full_like(env[key], weight)
        return total, diffs

    def _backward(self, index: int, diffs: dict[BlobKey, Tensor]) -> None:
        """The gradients of a layer's bottoms and parameters, if anything asks for them."""
        done = self._done.get(index)
        if done is None:
            return
        layer = self.net.layers[index]
        asked = [
            (top, diffs[key])
            for key, top in zip(layer.spec.tops, done.tops, strict=True)
            if key in diffs and top.requires_grad
        ]
        wanted = [(key, blob) for key, blob in zip(layer.spec.bottoms, done.bottoms, strict=True) if blob.requires_grad]
        learned = [blob for blob in layer.blobs if blob.requires_grad]
        inputs = [blob for _, blob in wanted] + learned
        if not asked or not inputs:
            return
        start = self._now()
        gradients = torch.autograd.grad(
            [top for top, _ in asked], inputs, [diff for _, diff in asked], allow_unused=True
        )
        self.times.backward[index] += self._now() - start
        for (key, _), gradient in zip(wanted, gradients, strict=False):
            if gradient is not None:
                diffs[key] = diffs[key] + gradient if key in diffs else gradient

    def _now(self) -> float:
        """The time when all that was begun on the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def made_up(net: Net) -> Env:
    """Values for what nothing reads: pixels for blobs of four axes, boxes where they are meant, else zeros.

    Zeros are valid class numbers, whatever the number of classes.
    """
    generator = torch.Generator().manual_seed(SEED)
    fed = [
        (spec, index, net.blob_shapes[key])
        for spec, layer in zip(net.graph.layers, net.layers, strict=True)
        if isinstance(layer, DataLayer) and layer.reader is None and spec.type != "DummyData"
        for index, key in enumerate(spec.tops)
    ]
    size = next((shape[2:] for _, _, shape in fed if len(shape) == 4), (1, 1))
    return {spec.tops[index]: _values(spec, index, shape, size, generator) for spec, index, shape in fed}


def _values(spec: LayerSpec, top: int, shape: Shape, size: Shape, generator: torch.Generator) -> Tensor:
    if spec.type == "AnnotatedData" and top == 1:
        return torch.tensor(BOX).repeat(*shape[:-1], 1)
    if spec.tops[top].name == "im_info" and len(shape) == 2:
        return torch.tensor((*size, 1, *[1] * shape[1])[: shape[1]], dtype=torch.float32).repeat(shape[0], 1)
    if len(shape) == 4 and (top == 0 or spec.type == "Input"):
        return torch.rand(shape, generator=generator) * PIXEL_RANGE
    return torch.zeros(shape)
