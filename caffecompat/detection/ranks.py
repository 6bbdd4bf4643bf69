"""Places within groups."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_in_group(groups: Tensor) -> Tensor:
    """The place of each entry within its run of equal values: 0, 1, 2, ...

    Args:
        groups: (M,) sorted.

    Returns:
        (M,) int64.
    """
    return torch.arange(groups.shape[0], device=groups.device) - torch.searchsorted(groups, groups)
