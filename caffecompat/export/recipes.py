"""Recipes: files that change a net's weights or shape, found by name or path and run.

A recipe is a Python file with a docstring (what it makes, its source) and `convert(net, weights, **options)`,
which takes and returns a NetParameter and `{layer name: [blob, ...]}`. It may have
`preprocessing(record)`, which returns the record that fits the new net.

The recipes that come with caffecompat lie in `converters/` of a checkout; an installed package has them beside
it, in its metadata folder (`extra_metadata/converters`).
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, FormatError, UsageError, context, did_you_mean, quoted
from caffecompat.export.rebuild import blobs_by_name, net_message, rebuild
from caffecompat.net import Net


@dataclass(frozen=True)
class Recipe:
    """A recipe: its name, its file, and the first line of what it says of itself."""

    name: str
    path: Path
    summary: str


def recipes_folder() -> Path | None:
    """Where the recipes that come with caffecompat lie, or None if this installation lacks them."""
    checkout = Path(caffecompat.__file__).resolve().parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "converters").is_dir():
        return checkout / "converters"
    try:
        files = importlib.metadata.files("caffecompat") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.parts[-3:-1] == ("extra_metadata", "converters"):
            return Path(str(file.locate())).parent
    return None


def list_recipes() -> list[Recipe]:
    """The recipes that come with caffecompat, by name."""
    folder = recipes_folder()
    paths = sorted(folder.glob("*.py")) if folder else []
    return [Recipe(path.stem, path, _summary(path)) for path in paths]


def find_recipe(name: str) -> Path:
    """The file of a recipe, given its name or its path.

    Raises:
        UsageError: there is no such recipe.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UsageError(f"no recipe at {quoted(name)}")
        return Path(name)
    known = {recipe.name: recipe.path for recipe in list_recipes()}
    if name not in known:
        hint = did_you_mean(name, known) or f"recipes: {', '.join(known) or 'none'}; or the path of a .py file"
        raise UsageError(f"no recipe {quoted(name)}", hint=hint)
    return known[name]


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
    with context(file=path):
        try:
            message, blobs = module.convert(net_message(net), blobs_by_name(net), **options)
            record = adapt(preprocessing) if adapt else preprocessing
        except CaffeCompatError:
            raise
        except Exception as error:
            raise CaffeCompatError(f"the recipe failed: {type(error).__name__}: {error}") from error
    return rebuild(net, message, blobs), record


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"caffecompat_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FormatError("expected a recipe, a Python file", file=path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ValueError, ImportError) as error:
        raise FormatError(f"expected a recipe, a Python file: {error}", file=path) from error
    if not callable(getattr(module, "convert", None)):
        raise FormatError(
            "expected a recipe: it has no function `convert`",
            file=path,
            hint="convert(net, weights, **options) takes and returns a NetParameter and {layer name: [blob, ...]}",
        )
    return module


def _summary(path: Path) -> str:
    """The first line of a file's docstring, without running it."""
    docstring = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return docstring.partition("\n")[0]
