"""Recurrent layers: LSTM, RNN, and LSTMUnit, one step of an LSTM.

T steps of N independent streams. A `cont` of 0 begins a new sequence at that step.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer

State = tuple[Tensor, ...]


def lstm_step(cell: Tensor, gates: Tensor, cont: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
    """The next cell and hidden values; gates are input, forget, output and the new values, one after the other."""
    enter, forget, leave, new = gates.chunk(4, -1)
    cell = cont * torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
    return cell, torch.sigmoid(leave) * torch.tanh(cell)


@layer("LSTMUnit")
class LSTMUnit(Layer):
    """One step of an LSTM.

    bottoms: cell (1, N, D); gates (1, N, 4 D), before their sigmoids; cont (1, N). tops: cell and hidden (1, N, D).
    """

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        cell, gates, cont = bottoms
        if len(cell) != 3 or cell[0] != 1 or gates != (1, cell[1], 4 * cell[2]) or cont != cell[:2]:
            raise self.error(f"needs shapes (1, N, D), (1, N, 4 D) and (1, N), got {cell}, {gates} and {cont}")
        return cell, cell

    def forward(self, cell: Tensor, gates: Tensor, cont: Tensor) -> tuple[Tensor, Tensor]:
        return lstm_step(cell, gates, cont.unsqueeze(-1))


class Recurrent(Layer):
    """What LSTM and RNN share.

    bottoms: x (T, N, ...); cont (T, N); if wanted a static input (N, ...), the same at every step; with
    `expose_hidden` the state to begin with, each part (1, N, D). tops: (T, N, D); with `expose_hidden` the
    last state.

    Caffe: no gradient goes into the state to begin with, nor comes from the last state. Without
    `expose_hidden` the state carries on from pass to pass where `cont` is 1; it begins as 0. Here it is 0
    again when N changes, and is not carried in a compiled or exported net.
    """

    parts = 1
    gates = 1

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.recurrent_param
        self._size, self._exposed = param.num_output, param.expose_hidden
        self._carried: State = ()
        exposed = self.parts if self._exposed else 0
        self.static = len(bottoms) == 3 + exposed
        if self._size < 1:
            raise self.error(f"num_output must be positive, got {self._size}")
        if len(bottoms) not in (2 + exposed, 3 + exposed) or len(spec.tops) != 1 + exposed:
            raise self.error(
                f"with expose_hidden: {str(self._exposed).lower()} it takes {2 + exposed} bottoms, or {3 + exposed} "
                f"with a static input, and gives {1 + exposed} tops; got {len(bottoms)} and {len(spec.tops)}"
            )
        rows = self.gates * self._size
        self.declare("0", (rows, prod(bottoms[0][2:])), param.weight_filler)
        self.declare("1", (rows,), param.bias_filler)
        if self.static:
            self.declare("2", (rows, prod(bottoms[2][1:])), param.weight_filler)
        self.declare(str(len(self.blob_names)), (rows, self._size), param.weight_filler)

    @abstractmethod
    def step(self, gates: Tensor, state: State, cont: Tensor) -> tuple[Tensor, State]:
        """The top and the state of one step: gates (N, gates * D), parts of the state (N, D), cont (N, 1)."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        x, cont, *others = bottoms
        if len(x) < 2 or cont != x[:2] or not x[0]:
            raise self.error(f"needs x (T, N, ...) and cont (T, N), T at least 1, got shapes {x} and {cont}")
        if self.static and others.pop(0)[:1] != x[1:2]:
            raise self.error(f"the static input must have {x[1]} items, got shape {bottoms[2]}")
        part = (1, x[1], self._size)
        for other in others:
            if other != part:
                raise self.error(f"the state to begin with must have shape {part}, got {other}")
        return ((*x[:2], self._size), *(part for _ in others))

    def forward(self, x: Tensor, cont: Tensor, *others: Tensor) -> Tensor | tuple[Tensor, ...]:
        blobs = self.blobs
        streams = x.shape[1]
        gates = functional.linear(x.flatten(2) if x.ndim > 2 else x.unsqueeze(2), blobs[0], blobs[1])
        if self.static:
            gates = gates + functional.linear(others[0].reshape(streams, -1), blobs[2])
            others = others[1:]
        recurrent = blobs[3 if self.static else 2]
        state = tuple(part.detach().squeeze(0) for part in others) if self._exposed else self._begin(x)
        tops = []
        for gate, begins in zip(gates.unbind(0), cont.unsqueeze(-1).to(x.dtype).unbind(0), strict=True):
            gate = gate + functional.linear(begins * state[0], recurrent)
            top, state = self.step(gate, state, begins)
            tops.append(top)
        if self._exposed:
            return torch.stack(tops), *(part.detach().unsqueeze(0) for part in state)
        if not torch.compiler.is_compiling():
            self._carried = tuple(part.detach() for part in state)
        return torch.stack(tops)

    def forget(self) -> None:
        """Begin the next pass with a state of 0."""
        self._carried = ()

    def _begin(self, x: Tensor) -> State:
        carried = () if torch.compiler.is_compiling() else self._carried
        if carried and carried[0].shape[0] == x.shape[1] and carried[0].device == x.device:
            return carried
        return (x.new_zeros(x.shape[1], self._size),) * self.parts


@layer("LSTM")
class LSTM(Recurrent):
    """Long short-term memory; see `Recurrent`. The state is hidden, cell.

    Blobs, as in Caffe: W_xc (4 D, values of x at a step), b_c (4 D,), W_xc_static (4 D, values of the static
    input) if there is one, W_hc (4 D, D).
    """

    parts = 2
    gates = 4

    def step(self, gates: Tensor, state: State, cont: Tensor) -> tuple[Tensor, State]:
        cell, hidden = lstm_step(state[1], gates, cont)
        return hidden, (hidden, cell)


@layer("RNN")
class RNN(Recurrent):
    """A recurrent layer of tanh with a tanh of its hidden values as top; see `Recurrent`.

    Blobs, as in Caffe: W_xh (D, values of x at a step), b_h (D,), W_xh_static (D, values of the static
    input) if there is one, W_hh (D, D), W_ho (D, D), b_o (D,).
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.recurrent_param
        self.declare(str(len(self.blob_names)), (self._size, self._size), param.weight_filler)
        self.declare(str(len(self.blob_names)), (self._size,), param.bias_filler)

    def step(self, gates: Tensor, state: State, cont: Tensor) -> tuple[Tensor, State]:
        hidden = torch.tanh(gates)
        return torch.tanh(functional.linear(hidden, *self.blobs[-2:])), (hidden,)
