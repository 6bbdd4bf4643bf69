"""Recurrent layers."""

# fmt: off

from __future__ import annotations

import torch
from torch import Tensor, nn


def lstm_step(
    cell: Tensor, gates: Tensor, cont: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """The next cell and hidden values; `gates` are input, forget, output, new values."""
    enter, forget, leave, new = gates.chunk(4, -1)
    cell = cont * forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return cell, leave.sigmoid() * cell.tanh()


class LSTM(nn.Module):
    """Caffe's LSTM over (steps, streams, ...): a sequence begins where `cont` is 0.

    The other inputs: a static one (streams, ...), if there is one, and the hidden values
    and the cells to begin with, (1, streams, size); without these they are 0.
    """

    def __init__(self, inputs: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 4 * size)
        self.static = nn.Linear(static, 4 * size, bias=False) if static else None
        self.hidden = nn.Linear(size, 4 * size, bias=False)

    def forward(
        self, x: Tensor, cont: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        gates = self.input(x.reshape(*x.shape[:2], -1))
        if self.static is not None:
            gates = gates + self.static(others[0].reshape(len(others[0]), -1))
            others = others[1:]
        nothing = gates.new_zeros(1, x.shape[1], self.hidden.in_features)
        hidden, cell = others or (nothing, nothing)
        tops = []
        for gate, goes_on in zip(gates, cont[..., None]):
            gate = gate + self.hidden(goes_on * hidden)
            cell, hidden = lstm_step(cell, gate, goes_on)
            tops.append(hidden)
        return torch.cat(tops), hidden, cell


class RNN(nn.Module):
    """Caffe's RNN over (steps, streams, ...): a sequence begins where `cont` is 0.

    The other inputs: a static one (streams, ...), if there is one, and the hidden values
    to begin with, (1, streams, size); without these they are 0.
    """

    def __init__(self, inputs: int, size: int, static: int = 0) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, size)
        self.static = nn.Linear(static, size, bias=False) if static else None
        self.hidden = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size)

    def forward(
        self, x: Tensor, cont: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor]:
        steps = self.input(x.reshape(*x.shape[:2], -1))
        if self.static is not None:
            steps = steps + self.static(others[0].reshape(len(others[0]), -1))
            others = others[1:]
        hidden = others[0] if others else steps.new_zeros(1, *steps.shape[1:])
        tops = []
        for step, goes_on in zip(steps, cont[..., None]):
            hidden = torch.tanh(step + self.hidden(goes_on * hidden))
            tops.append(torch.tanh(self.output(hidden)))
        return torch.cat(tops), hidden
