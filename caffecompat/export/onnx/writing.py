"""The model as ONNX's message, and in files: whole or not at all, also where the weights need a file of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

import caffecompat
from caffecompat.errors import CaffeCompatError
from caffecompat.export.drafting import take_name
from caffecompat.export.onnx.model import Model
from caffecompat.export.onnx.options import MAX_BYTES
from caffecompat.export.onnx.values import Value
from caffecompat.export.sampling import Array
from caffecompat.formats import atomic_write

_ALIGNMENT = 4096
# Smaller initializers stay in the model.
_MIN_EXTERNAL = 1024


@contextmanager
def written(
    model: Model, name: str, path: Path, metadata: Mapping[str, str], max_bytes: int = MAX_BYTES
) -> Iterator[tuple[Path, list[Path]]]:
    """Write a model under a temporary name; at the end of the block it takes its own.

    Weights that do not fit into one message go into a file beside it, `<name>.onnx.data`, which takes its name first.

    Args:
        model: the model.
        name: the graph's name.
        path: where to.
        metadata: texts by name.
        max_bytes: weights of more bytes go into a file of their own.

    Yields:
        Where it lies meanwhile, to be checked there, and the files that there will be.

    Raises:
        CaffeCompatError: a file cannot be written.
    """
    external = sum(array.nbytes for array in model.initializers.values()) > max_bytes
    data = path.with_name(path.name + ".data")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}.", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            proto = model_proto(model, name, metadata, Path(folder) / data.name if external else None)
            with atomic_write(draft) as file:
                file.write(proto.SerializeToString())
            yield draft, [path, data] if external else [path]
            if external:
                take_name(Path(folder) / data.name, data)
            take_name(draft, path)
    except OSError as error:
        hint = "its folder does not exist: make it first, or give another one" if not path.parent.is_dir() else None
        raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path, hint=hint) from error


def model_proto(model: Model, name: str, metadata: Mapping[str, str], data: Path | None = None) -> ModelProto:
    """The model as a message.

    Args:
        model: the model.
        name: the graph's name.
        metadata: texts by name, the model's `metadata_props`.
        data: the file for the values of its initializers; None to keep them in the message.
    """
    graph = helper.make_graph(
        [node.proto() for node in model.nodes],
        name or "net",
        [_info(value, model) for value in model.inputs],
        [_info(value, model) for value in model.outputs],
        _inline(model) if data is None else _beside(model, data),
    )
    opset = helper.make_opsetid("", model.opset)
    proto = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="caffecompat",
        producer_version=caffecompat.__version__,
    )
    helper.set_model_props(proto, dict(metadata))
    return proto


def _info(value: Value, model: Model) -> ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.dtype, model.sizes[value.name])


def _tensor(name: str, array: Array) -> TensorProto:
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    return TensorProto(name=name, dims=array.shape, data_type=dtype)


def _inline(model: Model) -> list[TensorProto]:
    tensors = []
    for name, array in model.initializers.items():
        tensor = _tensor(name, array)
        tensor.raw_data = array.tobytes()
        tensors.append(tensor)
    return tensors


def _beside(model: Model, data: Path) -> list[TensorProto]:
    """The tensors with their values in a file, each at a page's beginning."""
    tensors = []
    with atomic_write(data) as file:
        for name, array in model.initializers.items():
            tensor = _tensor(name, array)
            if array.nbytes < _MIN_EXTERNAL:
                tensor.raw_data = array.tobytes()
            else:
                file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                place = {"location": data.name, "offset": str(file.tell()), "length": str(array.nbytes)}
                file.write(array.reshape(-1).view(np.uint8).data)
                tensor.data_location = TensorProto.EXTERNAL
                for key, text in place.items():
                    tensor.external_data.add(key=key, value=text)
            tensors.append(tensor)
    return tensors
