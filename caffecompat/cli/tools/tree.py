"""The files of `caffecompat shim`: launchers where Caffe's build left its programs, and a package `caffe`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from caffecompat.cli.tools.table import TOOLS
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.formats import atomic_write
from caffecompat.graph.spec import DEFAULT_DIALECT
from caffecompat.legacy.drop_in import SHIM_MARK

SAVED = ".before-shim"
# Commands whose options include --dialect.
_WITH_DIALECT = frozenset({"convert_imageset", "extract_features"})
# Python 2 reads it too, to be told what is wrong.
_PACKAGE = '''\
"""{mark}: `import caffe` gives caffecompat's drop-in."""

import sys

try:
    from caffecompat.pycaffe import install
except (ImportError, SyntaxError) as error:
    raise ImportError("run this script with " + {python!r} + ", which has caffecompat (" + str(error) + ")")

install()
import caffecompat.pycaffe

caffecompat.pycaffe.set_dialect({dialect!r})

sys.modules[__name__] = caffecompat.pycaffe
'''


def write_tree(folder: Path, dialect: str, force: bool) -> list[Path]:
    """Write all files, each whole; none if one is in the way.

    Args:
        folder: the tree; it is made if it is not there.
        dialect: "ssd" or "bvlc", for the programs.
        force: replace files that are in the way; they are kept beside the new ones.

    Returns:
        The files.

    Raises:
        CaffeCompatError: a file is in the way, or cannot be written.
        UnsupportedError: this is Windows.
    """
    if sys.platform == "win32":
        raise UnsupportedError("the programs are shell scripts, which Windows does not run")
    files = {folder / "build" / "tools" / name: text for name, text in _launchers(dialect)}
    files[folder / "python" / "caffe" / "__init__.py"] = _PACKAGE.format(
        mark=SHIM_MARK, python=sys.executable, dialect=dialect
    )
    in_the_way = [path for path in files if os.path.lexists(path) and not _is_own(path)]
    if in_the_way and not force:
        others = f" and {len(in_the_way) - 1} more" if len(in_the_way) > 1 else ""
        raise CaffeCompatError(
            f"is there already and was not written by this command{others}; nothing was changed",
            file=in_the_way[0],
            hint=f"--force replaces it and keeps it as {in_the_way[0].name}{SAVED}",
        )
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path in in_the_way:
                _put_aside(path)
        except OSError as error:
            raise CaffeCompatError(f"cannot be made: {error.strerror}", file=path) from error
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            if path.suffix != ".py":
                os.fchmod(file.fileno(), 0o755 & ~_umask())
    return list(files)


def _is_own(path: Path) -> bool:
    try:
        return path.is_file() and SHIM_MARK.encode() in path.read_bytes()
    except OSError:
        return False


def _put_aside(path: Path) -> None:
    """Rename a file that is in the way; the oldest one that was kept stays."""
    saved = path.with_name(path.name + SAVED)
    if os.path.lexists(saved):
        raise CaffeCompatError(f"expected to keep {path.name} as {saved.name}, which is there already", file=path)
    path.rename(saved)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _launchers(dialect: str) -> Iterator[tuple[str, str]]:
    """The name and the text of each program; Caffe's build gives each a second name, with `.bin`."""
    chosen = "" if dialect == DEFAULT_DIALECT else f" --dialect={dialect}"
    # Not what lies in the folder where the program is called goes first, but what is installed.
    safe = " -P" if sys.version_info >= (3, 11) else ""
    run = f"{shlex.quote(sys.executable)}{safe} -m caffecompat"
    calls = {name: f"tool {name}{chosen if name in _WITH_DIALECT else ''}" for name in TOOLS}
    calls["caffe"] = f"caffe{chosen}"
    for name, call in sorted(calls.items()):
        text = f'#!/bin/sh\n# {SHIM_MARK}.\nexec {run} {call} "$@"\n'
        yield name, text
        yield f"{name}.bin", text
    yield (
        "python",
        f"#!/bin/sh\n# {SHIM_MARK}.\n"
        'if [ "${1-}" = -u ]; then PYTHONUNBUFFERED=1; export PYTHONUNBUFFERED; shift; fi\n'
        f'case "${{1-}}" in\n'
        f'  "" | -?*) exec {shlex.quote(sys.executable)} "$@" ;;\n'
        f'  *) exec {run} python{chosen} "$@" ;;\n'
        "esac\n",
    )
