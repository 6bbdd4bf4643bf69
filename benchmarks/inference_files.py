"""What the programs of inference.py load: one net's Caffe files, and its hand-written equal as a module and as ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_nets import CASES, Case
from multibox import CLASSES
from safetensors.torch import save_file
from torch import Tensor, nn

import caffecompat
from caffecompat.export import export
from caffecompat.formats import read_net, save_text
from caffecompat.layers.base import Layer
from caffecompat.net import Net

# Of SSD300's drawn heads: how far scores spread, and how much likelier the background is. Some 4,000 of the 174,640
# reach the threshold of 0.01 then, ten times as many as on a usual photograph.
SPREAD, BACKGROUND = 1.5, 11.0
OPSET = 17


def cases(tile: int | None) -> dict[str, Case]:
    """The nets; dilation8 on a tile of this side, if one is given."""
    if tile is None:
        return CASES
    return {**CASES, "dilation8": replace(CASES["dilation8"], shape=(3, tile, tile))}


def write_prototxt(case: Case, source: Path, path: Path) -> None:
    """The published net for one pass of the case: its input's shape, and no layers behind the last."""
    net = read_net(source).message
    shape = net.layer[0].input_param.shape[0]
    assert net.layer[0].type == "Input"
    shape.dim[:] = [case.batch, *case.shape]
    if case.last:
        place = [layer.name for layer in net.layer].index(case.last)
        del net.layer[place + 1 :]
    for layer in net.layer:
        # Rows are returned, not written to the authors' folders.
        if layer.type == "DetectionOutput":
            layer.detection_output_param.ClearField("save_output_param")
    save_text(path, net)


def draw(net: Net) -> None:
    """Parameters that keep values of the same size from layer to layer; published nets have none to give."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in net.layers:
            for value in layer.blobs:
                if value.dim() > 1:
                    value.normal_(0, (2 / value[0].numel()) ** 0.5)
                elif layer.spec.type == "Normalize":
                    value.fill_(20)
                else:
                    value.normal_(0, 0.1)
            if layer.spec.name.endswith("_mbox_conf"):
                draw_scores(layer)


def draw_scores(layer: Layer) -> None:
    """Scores as a trained detector's: most places are background."""
    weight, bias = layer.blobs
    weight.mul_(SPREAD)
    bias[::CLASSES] += BACKGROUND


def write_peer(case: Case, blobs: Iterable[Tensor], example: Tensor, state: Path, onnx: Path) -> None:
    """The hand-written module's parameters, and the module as PyTorch exports it."""
    model = case.model()
    values = list(blobs)
    keys = list(model.state_dict())
    assert len(keys) == len(values), (len(keys), len(values))
    own = {key: value.detach().reshape(model.state_dict()[key].shape) for key, value in zip(keys, values, strict=True)}
    model.load_state_dict(own)
    save_file({key: value.clone() for key, value in own.items()}, state)
    names = ["boxes", "scores"] if case.detects else list(case.outputs)
    export_onnx(model.eval(), example, onnx, names)


def export_onnx(model: nn.Module, example: Tensor, path: Path, names: list[str]) -> None:
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter that needs no further package is deprecated.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, opset_version=OPSET, input_names=["data"], output_names=names
        )


def make_files(
    name: str, case: Case, shared: Path, folder: Path, given: Path | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The files of a net in `folder`; it sees the array of `given`, or noise.

    Returns:
        What every program's job says of the net, and its outputs by blob name, of the plain Net.
    """
    prototxt, weights = folder / "deploy.prototxt", folder / "net.caffemodel"
    state, onnx, seen = folder / "peer.safetensors", folder / "peer.onnx", folder / "example.npy"
    write_prototxt(case, shared / case.prototxt, prototxt)
    if case.weights:
        weights = shared / case.weights
        net = caffecompat.load(prototxt, weights)
    else:
        net = caffecompat.load(prototxt)
        draw(net)
        export(net, weights)
    example = torch.randn(case.batch, *case.shape, generator=torch.Generator().manual_seed(2))
    if given is not None:
        example = torch.from_numpy(np.load(given)).float()
    np.save(seen, example.numpy())
    write_peer(case, (blob for layer in net.layers for blob in layer.blobs), example, state, onnx)
    with torch.inference_mode():
        expected = {blob: value.numpy() for blob, value in net(data=example).items()}
    job = {
        "net": name,
        "prototxt": str(prototxt),
        "weights": str(weights),
        "state": str(state),
        "onnx": str(onnx),
        "example": str(seen),
        "outputs": list(case.outputs),
        "detects": case.detects,
    }
    return job, expected
