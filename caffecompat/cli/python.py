"""`caffecompat python`: scripts that were written for Caffe, as they are."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import dialect_option

if TYPE_CHECKING:
    from caffecompat.legacy.loading import Source


@click.command("python", context_settings={"allow_interspersed_args": False})
@click.option("--py2", "python2", is_flag=True, help="Take the script, and modules beside it, for Python 2's.")
@click.option("--show-translation", is_flag=True, help="Show on stderr which lines of Python 2 become what.")
@dialect_option
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(script: str, arguments: tuple[str, ...], *, python2: bool, show_translation: bool, dialect: str) -> int:
    """Run SCRIPT, which was written for Caffe, as `python SCRIPT ARGUMENTS...` did: `import caffe` works.

    A script of Python 2, and modules of Python 2 beside it, are translated on the fly; no file is touched. What
    Python 3 compiles is taken for Python 2's only where it bears its marks, such as xrange. SCRIPT `-` is standard
    input.
    """
    from caffecompat.graph.spec import DEFAULT_DIALECT
    from caffecompat.legacy.running import run_script

    if dialect != DEFAULT_DIALECT:
        from caffecompat.pycaffe import set_dialect

        set_dialect(dialect)

    return run_script(script, arguments, python2=python2, told=_show if show_translation else lambda source: None)


def _show(source: Source) -> None:
    """The lines that were changed, before and after."""
    old, new = source.text.splitlines(), (source.translation or "").splitlines()
    lines = difflib.unified_diff(old, new, f"{source.name} (Python 2)", f"{source.name} (as it runs)", "", "", 0, "")
    tell("\n".join(lines) or f"{source.name}: Python 2, of which no line had to change")
