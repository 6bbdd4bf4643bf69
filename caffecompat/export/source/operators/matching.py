"""Matching networks."""

# fmt: off

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from caffecompat.export.source.operators.recurring import lstm_step


def in_episodes(rows: Tensor, episodes: int) -> Tensor:
    """Rows (episodes * count, ...) as (episodes, count, values)."""
    return rows.reshape(episodes, len(rows) // episodes, -1)


def match(
    queries: Tensor,
    support: Tensor,
    labels: Tensor,
    *,
    ways: int,
    episodes: int = 1,
    scale: float = 1.0,
) -> Tensor:
    """How likely each class is for each query, by attention over the support set."""
    queries, support = (
        F.normalize(in_episodes(rows, episodes), dim=-1) for rows in (queries, support)
    )
    attention = (scale * queries @ support.mT).softmax(-1)
    classes = F.one_hot(labels.long().reshape(episodes, -1), ways)
    return (attention @ classes.to(attention)).flatten(0, 1)


class SupportContext(nn.Module):
    """A bidirectional LSTM over each support set, added to its members."""

    def __init__(self, size: int, episodes: int = 1) -> None:
        super().__init__()
        self.input = nn.ModuleList(nn.Linear(size, 4 * size) for _ in range(2))
        self.hidden = nn.ModuleList(
            nn.Linear(size, 4 * size, bias=False) for _ in range(2)
        )
        self.episodes = episodes

    def forward(self, support: Tensor) -> Tensor:
        x = in_episodes(support, self.episodes).transpose(0, 1)
        top = x
        for backward, (enter, again) in enumerate(zip(self.input, self.hidden)):
            hidden = cell = x.new_zeros(x.shape[1:])
            seen = []
            for gates in enter(x.flip(0) if backward else x):
                cell, hidden = lstm_step(cell, gates + again(hidden))
                seen.append(hidden)
            top = top + torch.stack(seen[::-1] if backward else seen)
        return top.transpose(0, 1).reshape(support.shape)


class QueryContext(nn.Module):
    """An LSTM that reads the support set by attention, `steps` times."""

    def __init__(self, size: int, steps: int = 5, episodes: int = 1) -> None:
        super().__init__()
        self.input = nn.Linear(size, 4 * size)
        self.hidden = nn.Linear(2 * size, 4 * size, bias=False)
        self.steps, self.episodes = steps, episodes

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        x, members = (in_episodes(rows, self.episodes) for rows in (queries, support))
        fixed = self.input(x)
        hidden = cell = torch.zeros_like(x)
        for _ in range(self.steps):
            read = (hidden @ members.mT).softmax(-1) @ members
            gates = fixed + self.hidden(torch.cat([hidden, read], -1))
            cell, left = lstm_step(cell, gates)
            hidden = left + x
        return hidden.reshape(queries.shape)
