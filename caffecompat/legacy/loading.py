"""Sources as code: those of Python 3 as they are, those of Python 2 translated; the files stay untouched."""

from __future__ import annotations

import ast
import difflib
import importlib.abc
import importlib.util
import site
import sys
import sysconfig
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import distributions
from pathlib import Path
from types import CodeType, ModuleType

from caffecompat.errors import FormatError
from caffecompat.legacy.old_methods import NAME as OLD_METHOD
from caffecompat.legacy.old_methods import change_old_methods, old_method
from caffecompat.legacy.python2.marks import is_python2, parse3

MAX_BYTES = 1 << 26
# The names of files whose code is a translation: columns in their tracebacks mean nothing.
translated_files: set[str] = set()


@dataclass(frozen=True)
class Source:
    """A source as code.

    Attributes:
        name: its file.
        text: the source as it is.
        translation: what it became; None if it is Python 3's.
        asks_old: whether its code asks for methods that libraries have dropped.
        code: to run; its lines are those of `text`.
    """

    name: str
    text: str
    translation: str | None
    asks_old: bool
    code: CodeType


def read_code(path: str, *, python2: bool = False) -> Source:
    """Read and compile a file.

    Args:
        path: the file.
        python2: whether it is Python 2's whatever it looks like.

    Raises:
        FormatError: it cannot be read, or is neither Python 3's nor Python 2's.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise FormatError(f"expected a source of at most {MAX_BYTES} bytes, got more", file=path)
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from error
    return compile_text(decode(data), path, python2=python2)


def decode(data: bytes) -> str:
    """The text of a source: in the encoding that it states, or UTF-8; Latin-1 where that does not fit."""
    try:
        return importlib.util.decode_source(data)
    except (SyntaxError, UnicodeDecodeError):
        return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def compile_text(text: str, name: str, *, python2: bool = False) -> Source:
    """Compile a source; see `read_code`."""
    tree = parse3(text, name)
    if not python2 and not is_python2(text, tree):
        assert tree is not None
        return _source(name, text, None, tree)

    from caffecompat.legacy.python2.translate import translate

    try:
        translation = translate(text, name)
    except FormatError:
        if python2 or tree is None:
            raise
        # What Python 2 does not understand is Python 3's, whatever names it uses.
        return _source(name, text, None, tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            changed = ast.parse(translation, name)
            _restore_lines(changed, text, translation)
            source = _source(name, text, translation, changed)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = getattr(error, "msg", None) or str(error) or type(error).__name__
            line = getattr(error, "lineno", None)
            raise FormatError(
                f"its translation from Python 2 is not understood: {said}", file=name, line=line
            ) from error
    translated_files.add(name)
    return source


def _source(name: str, text: str, translation: str | None, tree: ast.Module) -> Source:
    asks = change_old_methods(tree)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Source(name, text, translation, asks, compile(tree, name, "exec", dont_inherit=True))


def _restore_lines(tree: ast.Module, text: str, translation: str) -> None:
    """Give the parts of a tree the numbers that their lines had before they were translated."""
    old, new = text.splitlines(), translation.splitlines()
    if len(old) == len(new):
        return
    numbers = [1] * (len(new) + 2)
    for _, begin, end, first, last in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for line in range(first, last):
            numbers[line + 1] = min(begin + line - first, max(end - 1, begin)) + 1
    for node in ast.walk(tree):
        for place in ("lineno", "end_lineno"):
            if hasattr(node, place):
                setattr(node, place, min(numbers[getattr(node, place)], max(len(old), 1)))
        if hasattr(node, "end_lineno") and node.end_lineno < node.lineno:  # type: ignore[attr-defined]
            node.end_lineno = node.lineno  # type: ignore[attr-defined]


def run(source: Source, module: ModuleType) -> None:
    """Run a source as the code of `module`."""
    if source.translation is not None:
        from caffecompat.legacy.python2.importing import builtins2

        module.__dict__["__builtins__"] = builtins2()
    if source.asks_old:
        module.__dict__[OLD_METHOD] = old_method
    exec(source.code, module.__dict__)


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules that have to be changed among the user's own: those that neither come with Python nor by pip.

    Args:
        python2: whether all of those are Python 2's whatever they look like.
        told: called with each that is translated.
    """

    def __init__(self, *, python2: bool = False, told: Callable[[Source], None] = lambda source: None) -> None:
        self._python2 = python2
        self._told = told

    def find_spec(  # noqa: D102 (it is importlib's)
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return None
        if not _is_users(spec.origin):
            return None
        source = read_code(spec.origin, python2=self._python2)
        if source.translation is not None:
            self._told(source)
        elif not source.asks_old:
            return None
        spec.loader = _Loader(fullname, spec.origin, source)
        spec.cached = None
        return spec

    def install(self) -> None:
        """Look here before the modules of Python 3 are looked for."""
        sys.meta_path.insert(sys.meta_path.index(PathFinder), self)


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: Source) -> None:
        super().__init__(fullname, path)
        self._source = source

    def exec_module(self, module: ModuleType) -> None:
        run(self._source, module)


def _is_users(file: str) -> bool:
    place = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(place.parts):
        return False
    if any(place.is_relative_to(folder) for folder in _others_folders()):
        return False
    folders = [Path(folder).resolve() for folder in sys.path if folder]
    return not any(
        place.relative_to(folder).parts[0] in _installed(folder) for folder in folders if place.is_relative_to(folder)
    )


@cache
def _installed(folder: Path) -> frozenset[str]:
    """The packages and modules that pip has put into a folder, as `pip install --target` does."""
    files = (file for found in distributions(path=[str(folder)]) for file in found.files or ())
    return frozenset(file.parts[0] for file in files)


@cache
def _others_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    named = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    here = Path(__file__).resolve().parents[1]
    return (here, *(Path(name).resolve() for name in (*named, site.getusersitepackages())))
