"""Which source is Python 2's: what Python 3 cannot compile, or what bears the marks of Python 2 alone."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from caffecompat.legacy.python2.modules import MOVED

_SHEBANG = re.compile(r"#!.*\bpython2(?:\.\d)?\b")
# Names that only Python 2 has built in.
_NAMES = frozenset(
    {"xrange", "unicode", "basestring", "long", "unichr", "raw_input", "execfile"}
    | {"reduce", "cmp", "apply", "coerce", "intern", "buffer", "file"}
)
# Methods that only its dictionaries have.
_METHODS = frozenset(["iteritems", "iterkeys", "itervalues", "has_key", "viewitems", "viewkeys", "viewvalues"])
# What only its modules have.
_ATTRIBUTES = frozenset(
    {("sys", "maxint"), ("string", "letters"), ("string", "maketrans"), ("os", "getcwdu")}
    | {("itertools", name) for name in ("izip", "imap", "ifilter", "izip_longest")}
)
# What gave a list, and is used as one.
_LISTS = frozenset({"map", "filter", "zip"})
_LIST_METHODS = frozenset({"keys", "values", "items"})
# Whoever asks for these runs in both.
_BOTH = frozenset({"version_info", "PY2", "PY3"})


def parse3(text: str, name: str) -> ast.Module | None:
    """The tree of a source as Python 3 understands it; None if it does not."""
    with warnings.catch_warnings():
        # Of escapes such as "\d", and of comparisons by `is`.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text, name)
            compile(tree, name, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return tree


def is_python2(text: str, tree: ast.Module | None) -> bool:
    """Whether a source is Python 2's.

    Args:
        text: the source.
        tree: its tree as of `parse3`.
    """
    if tree is None or _SHEBANG.match(text):
        return True
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if _BOTH & (names | attributes):
        return False
    bound = set(_bound(tree))
    tried = {inner for node in ast.walk(tree) if isinstance(node, ast.Try) for inner in ast.walk(node)}
    return any(_is_mark(node, bound) for node in ast.walk(tree) if node not in tried or isinstance(node, ast.Attribute))


def _bound(tree: ast.Module) -> Iterator[str]:
    """The names that a source gives a meaning of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).split(".")[0]


def _is_mark(node: ast.AST, bound: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _NAMES and node.id not in bound
    if isinstance(node, ast.Attribute):
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        return node.attr in _METHODS or (owner, node.attr) in _ATTRIBUTES
    if isinstance(node, ast.Import):
        return any(alias.name in MOVED for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.level == 0 and (
            node.module in MOVED or any((node.module, alias.name) in _ATTRIBUTES for alias in node.names)
        )
    if isinstance(node, ast.Subscript):
        return _gave_list(node.value, bound)
    return False


def _gave_list(node: ast.expr, bound: set[str]) -> bool:
    """Whether it is a call that gives something that can be indexed in Python 2 only."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in _LISTS and called.id not in bound
    return isinstance(called, ast.Attribute) and called.attr in _LIST_METHODS and not node.args and not node.keywords
