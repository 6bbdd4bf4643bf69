"""The diffs of parameters after an update, for snapshots that keep them (`snapshot_diff`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from caffecompat.solver.updates import Update


def keep_steps(update: Update) -> None:
    """Let each parameter's gradient be, after an update, what the update took from the parameter.

    That is what a diff of the original holds between an update and the next pass.
    """
    before: list[Tensor] = []

    @torch.no_grad()
    def remember(*_: Any) -> None:
        before[:] = [tensor.detach().clone() for tensor in update.order]

    @torch.no_grad()
    def subtract(*_: Any) -> None:
        for tensor, old in zip(update.order, before, strict=True):
            step = old.sub_(tensor)
            if tensor.grad is None:
                tensor.grad = step
            else:
                tensor.grad.copy_(step)

    update.register_step_pre_hook(remember)
    update.register_step_post_hook(subtract)
