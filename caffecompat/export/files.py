"""`export`: the one way from a Net to a file of any format."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.data.record import ORIGIN
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.export.caffe import export_caffemodel, export_hdf5, export_prototxt
from caffecompat.export.compared import COMPARED, Asked
from caffecompat.export.pt import export_pt
from caffecompat.export.safetensors import export_safetensors
from caffecompat.export.settling import on_cpu, settled
from caffecompat.export.suffixes import OPTIONS, check_target
from caffecompat.formats import atomic_write
from caffecompat.net import Net

_PARAMETERS: dict[str, Callable[[Net, Path, Mapping[str, str]], None]] = {
    ".safetensors": export_safetensors,
    ".pt": export_pt,
    ".caffemodel": export_caffemodel,
    ".caffemodel.h5": export_hdf5,
    ".prototxt": export_prototxt,
}
# A program on a phone finds it more easily beside the .pte than in it.
_RECORD_BESIDE = (".caffemodel", ".caffemodel.h5", ".pte")


def export(
    net: Net,
    path: str | os.PathLike[str],
    *,
    preprocessing: Preprocessing | None = None,
    embed_preprocessing: bool = False,
    sources: Sequence[str | os.PathLike[str]] = (),
    example: Mapping[str, Tensor] | None = None,
    dynamic_batch: bool = True,
    dynamic_size: bool = False,
    opset: int | None = None,
    half: bool = False,
    verify: bool = True,
    license: str = "",
    tell: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write a net to a file, replacing the file whole if it exists.

    The preprocessing, the version of caffecompat, the SHA-256 of the sources and the licence go with it: as metadata
    in `.pt2`, `.onnx`, `.xml`, `.pte`, `.safetensors` and `.pt`, as constants in `.py`, as comments in `.prototxt`.
    `.caffemodel` and `.caffemodel.h5` have no place for them: they have a file beside them,
    `<name>.preprocessing.json`, which a `.pte` gets too.

    Args:
        net: the net; it does not change.
        path: where to; its suffix, one of `SUFFIXES`, is the format.
        preprocessing: what turns a picture into the net's input; None means what the net's prototxt says.
        embed_preprocessing: put channel order, mean and scale into the graph of a `.pt2`: its input is then
            uint8 (N, height, width, 3) in the order R, G, B.
        sources: the files that the net came from, to be recorded by name and SHA-256.
        example: inputs to trace `.pt2` with, by name; None means zeros of the shapes the net was built for.
        dynamic_batch: let the number of images in a `.pt2`, `.onnx` or `.xml` vary, where the net does not fix it.
        dynamic_size: let the height and width of pictures in an `.onnx` or `.xml` vary.
        opset: the version of the operators in an `.onnx`; None means 17.
        half: float16 weights and activations in an `.onnx`, float16 weights in an `.xml`; inputs and outputs stay
            float32.
        verify: compare what ONNX Runtime makes of an `.onnx`, OpenVINO of an `.xml`, ExecuTorch of a `.pte`, or a
            process without this package of a `.py`, with the net, before it is written.
        license: the licence of the net and its weights, as text, to be recorded.
        tell: is called with what was found by verifying.

    Returns:
        The files written.

    Raises:
        UsageError: the suffix is none of `SUFFIXES`, or the format cannot embed preprocessing or has no such option.
        CaffeCompatError: the file cannot be written, or the net does not fit the format.
    """
    path = Path(path)
    defaults = {"dynamic_size": dynamic_size, "opset": opset is not None, "half": half, "verify": not verify}
    suffix = check_target(path, embed_preprocessing, [name for name, changed in defaults.items() if changed])
    net = on_cpu(settled(net))
    record = net.preprocessing if preprocessing is None else preprocessing
    metadata = {
        "caffecompat_version": caffecompat.__version__,
        "preprocessing": record.to_json(),
        "preprocessing_embedded": json.dumps(embed_preprocessing),
        "sources": json.dumps({Path(source).name: sha256(source) for source in sources}),
        "license": license or "not stated",
    }
    if suffix == ".pt2":
        from caffecompat.export.pt2 import export_pt2

        varies = export_pt2(
            net,
            path,
            example=example,
            dynamic_batch=dynamic_batch,
            embed=record if embed_preprocessing else None,
            metadata=metadata,
        )
        written = [path]
    elif suffix in COMPARED:
        asked = Asked(dynamic_batch, dynamic_size, opset, half, verify)
        written, varies = COMPARED[suffix](net, path, asked, metadata, tell)
    else:
        _PARAMETERS[suffix](net, path, metadata)
        written, varies = [path], True
    if dynamic_batch and not varies and suffix in OPTIONS["dynamic_batch"]:
        images = ", ".join(str(net.blob_shapes[key][0]) for key in net.graph.inputs if net.blob_shapes[key])
        warnings.warn(
            f"{path}: the net fixes the number of images: it takes {images}", CaffeCompatWarning, stacklevel=2
        )
    if suffix in _RECORD_BESIDE:
        beside = path.with_name(path.name[: -len(suffix)] + ".preprocessing.json")
        with atomic_write(beside) as file:
            file.write(_record_beside(metadata).encode() + b"\n")
        written.append(beside)
    return written


def _record_beside(metadata: Mapping[str, str]) -> str:
    """The JSON of a file beside an export: the record, and where the net came from; `data.record` describes it."""
    origin = {**metadata, "sources": json.loads(metadata["sources"])}
    return json.dumps({**json.loads(metadata["preprocessing"]), **{key: origin[key] for key in ORIGIN}})


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        CaffeCompatError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            return digest.hexdigest()
    except OSError as error:
        raise CaffeCompatError(f"cannot read: {error.strerror or error}", file=path) from error
