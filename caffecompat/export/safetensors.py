"""`.safetensors`: eight bytes of length, a JSON header, then the values. Written here, without that package."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from caffecompat.formats import atomic_write
from caffecompat.net import Net

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


def export_safetensors(net: Net, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the net's parameters under the keys of `state_dict()`.

    The format refuses tensors that share memory: the owner of a shared parameter is written, and the entry
    `aliases` of the metadata is a JSON object of the other keys, each with the owner's.
    """
    owned, aliases = split_shared(net.state_dict())
    with atomic_write(path) as file:
        for part in safetensors_bytes(owned, {**metadata, "aliases": json.dumps(aliases)}):
            file.write(part)


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """A file of tensors, in parts.

    Args:
        tensors: by name; each is written by itself, even if it shares memory with another.
        metadata: texts by name.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    end = 0
    for key, tensor in tensors.items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[key] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for tensor in tensors.values():
        yield _bytes(tensor)


def split_shared(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that own their memory, and for each other key the key of the owner with the same values."""
    owned: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[int, tuple[int, ...]], str] = {}
    for key, tensor in state.items():
        owner = seen.setdefault((tensor.data_ptr(), tuple(tensor.shape)), key) if tensor.numel() else key
        if owner == key:
            owned[key] = tensor
        else:
            aliases[key] = owner
    return owned, aliases


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
