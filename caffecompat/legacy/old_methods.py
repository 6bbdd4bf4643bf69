"""Methods that libraries have dropped since, put back for old scripts: `array.tostring()`, `element.getchildren()`.

Types that are written in C take no new methods, so it is the scripts' code that changes: `x.tostring` becomes
`__old_method__(x, "tostring")`, which is `x.tostring` wherever there is such a thing.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

NAME = "__old_method__"


def _itemset(array: Any, *arguments: Any) -> None:
    *place, value = arguments
    index = place[0] if len(place) == 1 else tuple(place)
    if not place or isinstance(index, int):
        array.flat[index if place else 0] = value
    else:
        array[index] = value


def _ptp(array: Any, *arguments: Any, **options: Any) -> Any:
    return sys.modules["numpy"].ptp(array, *arguments, **options)


# What each does, by the modules that its owner's type comes from.
_METHODS: Mapping[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "getchildren": (("xml",), list),
    "itemset": (("numpy",), _itemset),
    "newbyteorder": (("numpy",), lambda array, order="S": array.view(array.dtype.newbyteorder(order))),
    "ptp": (("numpy",), _ptp),
    "tostring": (("array", "numpy"), lambda array, *arguments: array.tobytes(*arguments)),
}


def old_method(owner: Any, name: str) -> Any:
    """`owner.name`, or what it was before its library dropped it."""
    try:
        return getattr(owner, name)
    except AttributeError:
        libraries, method = _METHODS[name]
        if {kind.__module__.partition(".")[0] for kind in type(owner).__mro__}.isdisjoint(libraries):
            raise
        return functools.partial(method, owner)


def change_old_methods(tree: ast.Module) -> bool:
    """Let the code of `tree` ask `old_method` for those methods; False if it asks for none."""
    change = _Change()
    change.visit(tree)
    return change.found


class _Change(ast.NodeTransformer):
    found = False

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr not in _METHODS or not isinstance(node.ctx, ast.Load):
            return node
        self.found = True
        called = ast.Call(ast.Name(NAME, ast.Load()), [node.value, ast.Constant(node.attr)], [])
        return ast.fix_missing_locations(ast.copy_location(called, node))
