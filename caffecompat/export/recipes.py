"""Recipes: files that change a net's weights or shape, found by name or path; `applying` runs them.

A recipe is a Python file with a docstring (what it makes, its source) and `convert(net, weights, **options)`,
which takes and returns a NetParameter and `{layer name: [blob, ...]}`. It may have
`preprocessing(record)`, which returns the record that fits the new net.

The recipes that come with caffecompat lie in `converters/` of a checkout; an installed package has them beside
it, in its metadata folder (`extra_metadata/converters`).
"""

from __future__ import annotations

import ast
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import caffecompat
from caffecompat.errors import UsageError, did_you_mean, quoted


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
    trees = {path: ast.parse(path.read_bytes()) for path in paths}
    return [Recipe(path.stem, path, _summary(tree)) for path, tree in trees.items() if _converts(tree)]


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


def _converts(tree: ast.Module) -> bool:
    """Whether a file has the function of a recipe; others there are programs of their own."""
    return any(isinstance(node, ast.FunctionDef) and node.name == "convert" for node in tree.body)


def _summary(tree: ast.Module) -> str:
    """The first line of a file's docstring."""
    return (ast.get_docstring(tree) or "").partition("\n")[0]
