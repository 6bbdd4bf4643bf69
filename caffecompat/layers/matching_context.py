"""Full-context embeddings of matching networks: members and queries seen in the light of the whole support set.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, appendix A. LSTMs have no peepholes; their gates
are in Caffe's order: input, forget, output, new values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape
from caffecompat.layers.matching import per_episode
from caffecompat.layers.plugins import layer
from caffecompat.layers.recurrent import lstm_step
from caffecompat.schema.caffe_pb2 import FillerParameter


@dataclass
class FullContextParameter:
    """How embeddings get their context.

    Attributes:
        episodes: of how many episodes the bottoms hold the rows, one after the other.
        steps: how often a query reads the support set: the paper's K.
        weight_filler: fills the weights.
        bias_filler: fills the biases.
    """

    episodes: int = 1
    steps: int = 5
    weight_filler: FillerParameter | None = None
    bias_filler: FillerParameter | None = None


class _Context(Layer):
    """What both layers share."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param: Any = self.message
        self.episodes: int = param.episodes
        if self.episodes < 1:
            raise self.error(f"episodes must be positive, got {self.episodes}")
        self.size = prod(bottoms[0][1:])

    def declare_lstm(self, hidden: int) -> None:
        """Declare the next three blobs: weights of the input and bias, weights of `hidden` values."""
        param: Any = self.message
        first = len(self.blob_names)
        rows = 4 * self.size
        self.declare(str(first), (rows, self.size), param.weight_filler)
        self.declare(str(first + 1), (rows,), param.bias_filler)
        self.declare(str(first + 2), (rows, hidden), param.weight_filler)

    def in_episodes(self, rows: Tensor) -> Tensor:
        """(episodes * n, ...) as (episodes, n, D)."""
        return rows.reshape(self.episodes, -1, self.size)


@layer("SupportContext", param="full_context_param", message=FullContextParameter)
class SupportContext(_Context):
    """g(x_i, S): a bidirectional LSTM over the support set, in its order, added to the embeddings (appendix A.2).

    bottom and top: (episodes * S, ...). Blobs, D the values of a row: W_x (4 D, D), b (4 D,), W_h (4 D, D) of the LSTM
    that begins with the first member, then those of the one that begins with the last.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.declare_lstm(self.size)
        self.declare_lstm(self.size)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        if not bottoms[0]:
            raise self.error("expected the rows of a support set, got a single value")
        per_episode(self, bottoms[0][0], self.episodes, "members of support sets")
        return bottoms

    def forward(self, support: Tensor) -> Tensor:
        x = self.in_episodes(support).transpose(0, 1)
        forth, forth_bias, forth_hidden, back, back_bias, back_hidden = self.blobs
        # Both directions at once: (members, 2, episodes, 4 D).
        gates = torch.stack([functional.linear(x, forth, forth_bias), functional.linear(x.flip(0), back, back_bias)], 1)
        recurrent = torch.stack([forth_hidden, back_hidden]).transpose(1, 2)
        hidden = cell = gates.new_zeros(2, self.episodes, self.size)
        seen = []
        for gate in gates.unbind(0):
            cell, hidden = lstm_step(cell, gate + hidden @ recurrent)
            seen.append(hidden)
        states = torch.stack(seen)
        whole = states[:, 0] + states[:, 1].flip(0) + x
        return whole.transpose(0, 1).reshape(support.shape)


@layer("QueryContext", param="full_context_param", bottoms=2)
class QueryContext(_Context):
    """f(query, S): an LSTM that reads the support set by attention, `steps` times (appendix A.1, equations 3 to 6).

    At each step r is the sum of the members of S, weighted by the softmax of their products with h; the LSTM takes the
    query's embedding as input and [h, r] as hidden values, and the query's embedding is added to what it gives. h and
    the cell begin as 0.

    bottoms: queries (episodes * Q, ...); support (episodes * S, ...), the top of SupportContext. top: as the queries.
    Blobs, D the values of a row: W_x (4 D, D), b (4 D,), W_hr (4 D, 2 D).
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param: Any = self.message
        self.steps: int = param.steps
        if self.steps < 1:
            raise self.error(f"steps must be positive, got {self.steps}")
        self.declare_lstm(2 * self.size)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        queries, support = bottoms
        if not queries or not support or prod(queries[1:]) != prod(support[1:]):
            raise self.error(f"queries and support must have as many values in a row, got {queries} and {support}")
        per_episode(self, queries[0], self.episodes, "queries")
        per_episode(self, support[0], self.episodes, "members of support sets")
        return (queries,)

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        x, members = self.in_episodes(queries), self.in_episodes(support)
        weight, bias, recurrent = self.blobs
        fixed = functional.linear(x, weight, bias)
        hidden = cell = x.new_zeros(x.shape)
        for _ in range(self.steps):
            read = (hidden @ members.transpose(1, 2)).softmax(-1) @ members
            gates = fixed + functional.linear(torch.cat([hidden, read], -1), recurrent)
            cell, left = lstm_step(cell, gates)
            hidden = left + x
        return hidden.reshape(queries.shape)
