"""`caffecompat shim`: a tree in which scripts find Caffe's programs and `caffe` where they look for them."""

from __future__ import annotations

from pathlib import Path

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import dialect_option


@click.command("shim")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@dialect_option
@click.option("--force", is_flag=True, help="Replace what is there already; it is kept as NAME.before-shim.")
def command(folder: Path, dialect: str, force: bool) -> None:
    """Write DIR/build/tools/caffe, convert_imageset and the others, and DIR/python/caffe.

    Scripts that call ./build/tools/caffe, or put python/ on their path, work in that tree. The programs run this
    Python with this caffecompat. DIR/build/tools/python runs scripts as `caffecompat python` does. What is there
    already, and was not written by this command, stays: nothing is written then.
    """
    from caffecompat.cli.tools.tree import write_tree

    written = write_tree(folder, dialect, force)
    tell(f"wrote {len(written)} files below {folder}")
