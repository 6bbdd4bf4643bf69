"""`caffecompat recipes`: what `convert --recipe` can do to a net."""

from __future__ import annotations

import click


@click.command("recipes")
def command() -> None:
    """List the recipes for `convert --recipe NAME`.

    A recipe changes a net's weights or shape. Each is one short Python file; `convert --recipe PATH` runs your own.
    """
    from caffecompat.export.recipes import list_recipes

    for recipe in list_recipes():
        click.echo(f"{recipe.name:<14} {recipe.summary}\n{'':<14} {recipe.path}")
