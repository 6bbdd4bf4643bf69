"""`.pt`: a plain state dict, as `torch.load(path, weights_only=True)` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from caffecompat.formats import atomic_write
from caffecompat.net import Net

METADATA_KEY = "caffecompat"


def export_pt(net: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the net's `state_dict()`; the metadata are `state_dict._metadata["caffecompat"]`.

    `load_state_dict` reads `_metadata` by the names of modules and passes over this entry.
    """
    state = net.state_dict()
    state._metadata[METADATA_KEY] = dict(metadata)  # type: ignore[attr-defined]
    with atomic_write(path) as file:
        torch.save(state, file)
