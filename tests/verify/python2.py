"""What of a source file Python 2.7 cannot compile, found by a parser of Python 3."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

NODES = {
    ast.AnnAssign: "an annotation",
    ast.AsyncFor: "async",
    ast.AsyncFunctionDef: "async",
    ast.AsyncWith: "async",
    ast.Await: "await",
    ast.JoinedStr: "an f-string",
    ast.MatMult: "the matrix product",
    ast.NamedExpr: "an assignment within an expression",
    ast.Nonlocal: "nonlocal",
    ast.YieldFrom: "yield from",
}
# Names that Python 3 has and 2.7 lacks, or has as something else.
NAMES = re.compile(r"ascii|breakpoint|FileNotFoundError|FileExistsError|PermissionError|ModuleNotFoundError|\w+_bytes")
CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+")


def lacking(source: bytes) -> list[str]:
    """What Python 2.7 lacks, as "line: what", in no order."""
    text = source.decode()
    # 3.8 refuses what is younger, such as `with` of several items in brackets, which the tree would not show.
    tree = ast.parse(text, feature_version=(3, 8))
    found = [f"{line}: {what}" for node in ast.walk(tree) for line, what in _node(node, text)]
    found += [f"{line}: {what}" for line, what in _tokens(text)]
    future = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    ellipses = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value is ...}
    indices = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    found += [f"{line}: an ellipsis" for line in ellipses - indices]
    if "print_function" not in future:
        found += [f"{node.lineno}: print as a function" for node in names if node.id == "print"]
    found += [
        f"1: from __future__ import {name}" for name in future - {"print_function", "division", "absolute_import"}
    ]
    if not source.isascii() and not any(map(CODING.match, source.splitlines()[:2])):
        found.append("1: other characters than ASCII, and no coding line")
    return found


def _node(node: ast.AST, text: str) -> Iterator[tuple[int, str]]:
    line = getattr(node, "lineno", 0)
    if type(node) in NODES:
        yield line, NODES[type(node)]
    elif isinstance(node, ast.arguments):
        yield from _parameters(node, text)
    elif isinstance(node, ast.FunctionDef) and node.returns is not None:
        yield line, "an annotation"
    elif isinstance(node, ast.ClassDef) and node.keywords:
        yield line, "keywords of a class"
    elif isinstance(node, ast.Raise) and node.cause is not None:
        yield line, "raise from"
    elif isinstance(node, ast.Name) and NAMES.fullmatch(node.id):
        yield line, f"the name {node.id}"
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)) and any(isinstance(one, ast.Starred) for one in node.elts):
        yield line, "a star within a list, a tuple or a set"
    elif isinstance(node, ast.Dict) and None in node.keys:
        yield line, "two stars within a dict"
    elif isinstance(node, ast.Call):
        yield from _call(node, text)


def _parameters(node: ast.arguments, text: str) -> Iterator[tuple[int, str]]:
    stars = [one for one in (node.vararg, node.kwarg) if one is not None]
    every = [*node.posonlyargs, *node.args, *node.kwonlyargs, *stars]
    for one in every:
        if one.annotation is not None:
            yield one.lineno, "an annotation"
    for one in node.posonlyargs + node.kwonlyargs:
        yield one.lineno, "a parameter by place only or by keyword only"
    if stars and _comma_follows(stars[-1], text):
        yield stars[-1].lineno, "a comma after a starred parameter"


def _call(node: ast.Call, text: str) -> Iterator[tuple[int, str]]:
    starred = [isinstance(one, ast.Starred) for one in node.args]
    double = [one.arg is None for one in node.keywords]
    if True in starred and starred.index(True) != len(starred) - 1:
        yield node.lineno, "an argument after a starred one"
    if True in double and double.index(True) != len(double) - 1:
        yield node.lineno, "an argument after one of two stars"
    if any(starred + double):
        last = max([*node.args, *node.keywords], key=lambda one: (one.end_lineno or 0, one.end_col_offset or 0))
        if _comma_follows(last, text):
            yield node.lineno, "a comma after starred arguments"
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "super" and not node.args:
        yield node.lineno, "super without arguments"
    if name == "print" and any(one.arg == "flush" for one in node.keywords):
        yield node.lineno, "flush of print"
    if name == "open" and any(one.arg in ("encoding", "errors", "newline") for one in node.keywords):
        yield node.lineno, "encoding of open"


def _comma_follows(node: ast.arg | ast.expr | ast.keyword, text: str) -> bool:
    lines = text.encode().splitlines(keepends=True)
    rest = [lines[(node.end_lineno or 0) - 1][node.end_col_offset :], *lines[node.end_lineno :]]
    return b"".join(rest).lstrip().startswith(b",")


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NUMBER and "_" in token.string:
            yield token.start[0], "an underscore in a number"
        if token.type == tokenize.STRING and token.string.lower().startswith("rb"):
            yield token.start[0], "the prefix rb"
