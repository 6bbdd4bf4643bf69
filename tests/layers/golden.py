"""Recorded answers of the original Caffe for small nets, and how a net of ours compares to them.

`reference/make_layers.py` recorded them and describes the keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from caffecompat import Net
from caffecompat.formats import parse_net
from caffecompat.graph import Graph, build_graph
from tests.support import REFERENCE

# Folder of tests/reference -> the dialect its cases were recorded with.
FOLDERS = {"layers": "ssd", "layers_bvlc": "bvlc", "dilation_identity": "ssd"}


@dataclass(frozen=True)
class Case:
    """One recorded net: `record` has the keys that make_layers.py describes."""

    path: Path
    dialect: str
    record: dict[str, np.ndarray] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path.parent.name}-{self.name}"

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def images(self) -> bool:
        """Whether an input has the four axes of images."""
        return any(value.ndim == 4 for value in self.part("in").values())

    @property
    def types(self) -> set[str]:
        return {spec.type for spec in self.graph().layers}

    def graph(self) -> Graph:
        text = str(self.record["prototxt"])
        return build_graph(parse_net(text), str(self.record["phase"]), dialect=self.dialect)

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays under `prefix/`, by the rest of their keys."""
        return {key[len(prefix) + 1 :]: value for key, value in self.record.items() if key.startswith(prefix + "/")}

    @property
    def has_gradients(self) -> bool:
        """The original skips the backward pass of a net that has no loss and no force_backward: it left zeros."""
        graph = self.graph()
        return graph.force_backward or any(any(spec.loss_weights) for spec in graph.layers)


def cases() -> list[Case]:
    found = []
    for folder, dialect in FOLDERS.items():
        for path in sorted((REFERENCE / folder).glob("*.npz")):
            with np.load(path) as record:
                found.append(Case(path, dialect, dict(record)))
    return found


def run(
    case: Case, memory_format: torch.memory_format = torch.contiguous_format, device: str = "cpu"
) -> dict[str, Tensor]:
    """What our net gives for every recorded key, and under `shape/<blob>` the shapes it announced and gave."""
    inputs = {name: torch.from_numpy(value.copy()).to(device) for name, value in case.part("in").items()}
    inputs = {name: x.to(memory_format=memory_format) if x.dim() == 4 else x for name, x in inputs.items()}
    net = Net(case.graph(), {name: x.shape for name, x in inputs.items()})
    for key, value in case.part("param").items():
        layer, index = key.rsplit("/", 1)
        net.layer(layer).give(int(index), torch.from_numpy(value.copy()))
    net.fill()
    net.to(device)
    net.keep = "all"
    for name, x in inputs.items():
        x.requires_grad_(f"grad_in/{name}" in case.record)
    outputs = net(**inputs)
    found = {f"out/{name}": net.blobs[name] for name in case.part("out")}
    for key in case.part("after"):
        layer, index = key.rsplit("/", 1)
        found[f"after/{key}"] = net.layer(layer).blobs[int(index)]
    if "loss" in case.record:
        found["loss"] = net.loss(outputs)
    if case.has_gradients:
        found |= _gradients(case, net, outputs, inputs)
    for name, key in net.graph.last.items():
        found[f"shape/{name}"] = torch.tensor([net.blob_shapes[key], net.blobs[name].shape])
    return {key: value.detach().cpu() for key, value in found.items()}


def _gradients(case: Case, net: Net, outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    leaves = {f"grad_in/{name}": inputs.get(name, net.blobs[name]) for name in case.part("grad_in")}
    for key in case.part("grad_param"):
        layer, index = key.rsplit("/", 1)
        leaves[f"grad_param/{key}"] = net.layer(layer).blobs[int(index)]
    terms = [
        (net.blobs[name] * torch.from_numpy(value).to(net.blobs[name].device)).sum()
        for name, value in case.part("topdiff").items()
    ]
    if any(any(spec.loss_weights) for spec in net.graph.layers):
        terms.append(net.loss(outputs))
    total = torch.stack(terms).sum() if terms else torch.zeros(())
    wanted = [leaf for leaf in leaves.values() if leaf.requires_grad] if total.requires_grad else []
    found = torch.autograd.grad(total, wanted, allow_unused=True) if wanted else ()
    gradients = {id(leaf): gradient for leaf, gradient in zip(wanted, found, strict=True)}
    none = {key: gradients.get(id(leaf)) for key, leaf in leaves.items()}
    return {key: torch.zeros_like(leaves[key]) if value is None else value for key, value in none.items()}


def differences(case: Case, found: dict[str, Tensor]) -> dict[str, str]:
    """The keys that differ by more than 1e-5 + 1e-4 of the recorded value, and how; nan equals nan."""
    wrong = {}
    for key, ours in found.items():
        if key.startswith("shape/"):
            announced, given = ours.tolist()
            most = announced
            if "Filter" in case.types:  # as many items as are selected, at most those announced
                most = [min(announced[0], given[0]), *announced[1:]]
            elif "DetectionOutput" in case.types and key == "shape/y":  # rows are known only after a pass
                most = [1, 1, given[2], 7]
            if given != most:
                wrong[key] = f"shapes() says {announced}, forward gives {given}"
            continue
        theirs = case.record[key]
        if tuple(ours.shape) != theirs.shape:
            wrong[key] = f"shape {tuple(ours.shape)}, recorded {theirs.shape}"
            continue
        same = np.isclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5, equal_nan=True)
        if not same.all():
            place = np.unravel_index(np.argmin(same), same.shape)
            wrong[key] = f"{(~same).sum()} of {same.size}, first at {place}: {ours.numpy()[place]}, {theirs[place]}"
    return wrong
