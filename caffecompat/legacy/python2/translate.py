"""From the syntax of Python 2 to that of Python 3, line by line, as text that can be shown.

The grammar of Python 2 and the rules for its statements are fissix's, the kept copy of lib2to3. What is left are
expressions that both know and understand differently: `/`, `d.keys()`, `.sort(cmp)`; these become calls of
`__py2__` (see `python2.helpers`), which decides when it runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from caffecompat.errors import FormatError, quoted

_FIXERS = (
    *("apply", "except", "exec", "funcattrs", "has_key", "metaclass", "methodattrs", "ne", "next", "nonzero"),
    *("numliterals", "paren", "print", "raise", "repr", "throw", "tuple_params"),
)
HELPER = "__py2__"
_DICT_METHODS = frozenset(prefix + name for prefix in ("", "iter", "view") for name in ("keys", "values", "items"))
_RAW_UNICODE = re.compile(r"([uU][rR])(?=['\"])")
_OCTAL = re.compile(r"0+[1-7][0-7]*")
# In strings of bytes these were no escapes.
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\([uUN])")
_BYTES = re.compile(r"[bB]?['\"]")
_INDENT = re.compile(r"[ \t\f]+")


def translate(text: str, name: str) -> str:
    """A source of Python 2 as Python 3 understands it.

    Lines keep their numbers, but for parameters that are tuples and for `__metaclass__`.

    Args:
        text: the source.
        name: its file, for errors.

    Raises:
        FormatError: it is no Python 2 either.
    """
    ended = text if text.endswith("\n") else text + "\n"
    try:
        tool = _tool()
        statements = tool.refactor_string(_with_even_indents(ended), name)
        tree = _parsed_again(tool, str(statements))
    except (RecursionError, MemoryError) as error:
        raise FormatError("the source is nested too deeply to be translated", file=name) from error
    except Exception as error:
        raise _parse_error(error, name) from error
    for node in list(tree.post_order()):
        _change(node, statements.future_features)
    return str(tree)


@cache
def _tool() -> Any:
    """The tool of fissix, with the rules that are wanted."""
    from fissix.pgen2 import driver, pgen

    # As it comes, it keeps the tables of the grammar in the user's home; making them anew takes 0.1 seconds.
    driver.load_grammar = lambda grammar, **options: pgen.generate_grammar(grammar)
    from fissix.refactor import RefactoringTool

    logging.getLogger("RefactoringTool").addHandler(logging.NullHandler())
    return RefactoringTool([f"fissix.fixes.fix_{name}" for name in _FIXERS])


def _parsed_again(tool: Any, text: str) -> Any:
    """The tree of what fissix made: the one that it leaves does not follow the grammar everywhere."""
    from fissix import pygram

    before = tool.driver.grammar
    tool.driver.grammar = pygram.python_grammar_no_print_and_exec_statement
    try:
        return tool.driver.parse_string(text)
    finally:
        tool.driver.grammar = before


def _parse_error(error: Exception, name: str) -> FormatError:
    place = getattr(error, "context", None)
    line = place[1][0] if place else None
    found = getattr(error, "value", None)
    if line is None and len(error.args) == 2 and isinstance(error.args[1], tuple):
        # A tokenizer's error, with a line alone or after a file: a bracket or a string that does not end, an indent.
        line = next((part for part in error.args[1] if isinstance(part, int)), None)
    said = f"unexpected {quoted(found)}" if found else str(error.args[0] if error.args else error)
    return FormatError(f"neither Python 3 nor Python 2: {said}", file=name, line=line)


def _with_even_indents(text: str) -> str:
    """`text` with tabs at the beginning of lines as the spaces that Python 2 took them for: up to the next eighth."""
    if not re.search(r"^[ \f]*\t", text, re.MULTILINE):
        return text
    lines = text.splitlines(keepends=True)
    inside = set(_lines_inside_strings(text))
    return "".join(
        line
        if number in inside
        else _INDENT.sub(lambda match: match[0].expandtabs(8), line, count=1)
        if line[:1] in " \t\f"
        else line
        for number, line in enumerate(lines, 1)
    )


def _lines_inside_strings(text: str) -> Iterator[int]:
    """The numbers of the lines that begin inside a string."""
    import io

    from fissix.pgen2 import token, tokenize

    try:
        for kind, _, (first, _), (last, _), _ in tokenize.generate_tokens(io.StringIO(text).readline):
            if kind == token.STRING:
                yield from range(first + 1, last + 1)
    except (tokenize.TokenError, IndentationError):
        # The parser tells it.
        return


# --- expressions that both understand, each in its way


def _change(node: Any, future: Collection[str]) -> None:
    """Change a node whose parts are changed already; `future` are the features that the source imports early."""
    from fissix.pgen2 import token
    from fissix.pygram import python_symbols as symbols

    if node.type == token.STRING:
        node.value = _string(node.value, all_text="unicode_literals" in future)
    elif node.type == token.NUMBER and _OCTAL.fullmatch(node.value):
        # fissix leaves those that ended with an L.
        node.value = "0o" + node.value
    elif node.type == symbols.power:
        _change_methods(node)
    elif node.type == symbols.lambdef:
        _change_lambda(node)
    elif node.type == symbols.term and "division" not in future:
        _change_division(node)
    elif node.type == symbols.expr_stmt and "division" not in future and _text(node.children[1]) == "/=":
        target, _, value = node.children
        prefix, name = node.prefix, _text(target)
        value = _text(value) if value.type not in (symbols.testlist, symbols.yield_expr) else f"({_text(value)})"
        _replace(node, f"{name} = {HELPER}.idiv({name}, {value})", prefix)


def _string(literal: str, all_text: bool) -> str:
    """A literal with the prefix and the escapes that mean the same in Python 3."""
    if _BYTES.match(literal) and not all_text:
        return _ESCAPE.sub(r"\1\\\\\2", literal)
    return _RAW_UNICODE.sub("r", literal, count=1)


def _change_division(node: Any) -> None:
    """`a / b * c` as `__py2__.div(a, b) * c`."""
    children = node.children
    if not any(_text(operator) == "/" for operator in children[1::2]):
        return
    prefix, made = node.prefix, _text(children[0])
    for operator, operand in zip(children[1::2], children[2::2], strict=True):
        if _text(operator) == "/":
            made = f"{HELPER}.div({made},{operator.prefix.rstrip(' ')}{operand.prefix or ' '}{_text(operand)})"
        else:
            made += f"{operator}{operand}"
    _replace(node, made, prefix)


def _change_lambda(node: Any) -> None:
    """`lambda a, (b, c): d` as `lambda a, _1: (lambda b, c: d)(*_1)`; fissix does those of one parameter."""
    from fissix.pygram import python_symbols as symbols

    parameters, body = node.children[1], node.children[3:]
    if parameters.type != symbols.varargslist:
        return
    made, text = "", "".join(map(str, body)).strip()
    for number, part in enumerate(parameters.children):
        if part.type == symbols.vfpdef:
            made += f"{part.prefix}_{number}"
            text = f"(lambda {_text(part)[1:-1]}: {text})(*_{number})"
        else:
            made += str(part)
    if made != str(parameters):
        _replace(node, f"lambda{made}: {text}", node.prefix)


def _change_methods(node: Any) -> None:
    """`x.keys()` as `__py2__.keys(x)`, wherever in a chain of calls it stands."""
    children = node.children
    prefix, made, changed = node.prefix, _text(children[0]), False
    position = 1
    while position < len(children):
        name = _method(children[position])
        call = children[position + 1] if position + 1 < len(children) else None
        arguments = _arguments(call)
        if arguments is not None and _is_changed(name, bool(arguments)):
            before = children[position].prefix
            made = f"{HELPER}.{name}({made}{before}{', ' if arguments else ''}{arguments})"
            changed = True
            position += 2
        else:
            made += str(children[position])
            position += 1
    if changed:
        _replace(node, made, prefix)


def _is_changed(method: str, has_arguments: bool) -> bool:
    """Whether a call of this method means something else in Python 3."""
    return method == "decode" or (method == "sort" if has_arguments else method in _DICT_METHODS)


def _method(trailer: Any) -> str:
    """The name of `.name`, or ""."""
    parts = trailer.children
    return str(parts[1].value) if len(parts) == 2 and _text(parts[0]) == "." else ""


def _arguments(trailer: Any) -> str | None:
    """What stands between the brackets of a call; None if it is none."""
    parts = trailer.children if trailer is not None else []
    if not parts or _text(parts[0]) != "(":
        return None
    return "".join(map(str, parts[1:-1])) + str(parts[-1].prefix)


def _text(node: Any) -> str:
    """The source of a node without what stands before it."""
    return str(node)[len(node.prefix) :]


def _replace(node: Any, text: str, prefix: str) -> None:
    from fissix.pgen2 import token
    from fissix.pytree import Leaf

    node.replace(Leaf(token.NAME, text, prefix=prefix))
