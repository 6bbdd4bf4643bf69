"""Running a recipe on a net; see `recipes`."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, FormatError, UsageError, context, quoted
from caffecompat.export.rebuild import blobs_by_name, rebuild
from caffecompat.export.settling import settled
from caffecompat.net import Net
from caffecompat.net.saving import net_message
from caffecompat.schema import caffe_pb2


def apply_recipe(
    net: Net, path: Path, options: Mapping[str, str], preprocessing: Preprocessing
) -> tuple[Net, Preprocessing]:
    """Run a recipe on a net.

    Args:
        net: the net with its parameters; it does not change.
        path: the recipe's file. Its code runs with the caller's rights.
        options: keyword arguments for its `convert`, as text.
        preprocessing: the net's record.

    Returns:
        The new net, and the record that fits it.

    Raises:
        UsageError: the recipe has no such option.
        CaffeCompatError: the file is no recipe, or the recipe refuses the net.
    """
    module = _load(path)
    parameters = list(inspect.signature(module.convert).parameters.values())[2:]
    for option in options:
        if option not in {parameter.name for parameter in parameters}:
            known = ", ".join(parameter.name for parameter in parameters)
            raise UsageError(f"recipe {path.stem} has no option {quoted(option)}", hint=f"options: {known or 'none'}")
    adapt = getattr(module, "preprocessing", None)
    net = settled(net)
    with context(file=path):
        try:
            message, blobs = module.convert(net_message(net), blobs_by_name(net), **options)
            record = adapt(preprocessing) if adapt else preprocessing
        except CaffeCompatError:
            raise
        except Exception as error:
            raise CaffeCompatError(f"the recipe failed: {type(error).__name__}: {error}") from error
        if not isinstance(message, caffe_pb2.NetParameter) or not isinstance(blobs, dict):
            got = f"{type(message).__name__} and {type(blobs).__name__}"
            raise CaffeCompatError(f"expected `convert` to return a NetParameter and a dict, got {got}")
        return rebuild(net, message, blobs), record


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"caffecompat_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FormatError("expected a recipe, a Python file", file=path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise FormatError(f"expected a recipe: {type(error).__name__}: {error}", file=path) from error
    if not callable(getattr(module, "convert", None)):
        raise FormatError(
            "expected a recipe: it has no function `convert`",
            file=path,
            hint="convert(net, weights, **options) takes and returns a NetParameter and {layer name: [blob, ...]}",
        )
    return module
