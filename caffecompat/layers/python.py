"""Python layers: those that have a form of their own here, and the users' own where they are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from caffecompat.errors import UnsupportedError, quoted
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, meanings
from caffecompat.layers.proposal import PythonProposal

# By module and name: what does their work here.
KNOWN_PYTHON_LAYERS: dict[tuple[str, str], type[Layer]] = {("rpn.proposal_layer", "ProposalLayer"): PythonProposal}

# Gives the module class of a user's Python layer, or None if the user has no module of that name.
Finder = Callable[[LayerSpec], type[Layer] | None]
_FINDER: ContextVar[Finder | None] = ContextVar("python layers", default=None)


@contextmanager
def python_layers(find: Finder) -> Iterator[None]:
    """Let the nets that are built meanwhile run the user's own Python layers, which `find` imports."""
    token = _FINDER.set(find)
    try:
        yield
    finally:
        _FINDER.reset(token)


def allow_python_layers(find: Finder) -> None:
    """Let all nets that are built from now on run the user's own Python layers, which `find` imports."""
    _FINDER.set(find)


@meanings("Python", *KNOWN_PYTHON_LAYERS.values())
def _python_layer(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    param = spec.message.python_param
    known = KNOWN_PYTHON_LAYERS.get((param.module, param.layer))
    find = _FINDER.get()
    if find is not None:
        own = find(spec)
        if own is not None:
            return own
        if known is None:
            raise spec.error(
                f"there is no Python module {quoted(param.module)}, which layer {quoted(param.layer)} is in",
                hint="put its folder on PYTHONPATH",
                kind=UnsupportedError,
            )
    if known is None:
        raise spec.error(
            f"Python layers are not run: module {quoted(param.module)}, layer {quoted(param.layer)}",
            hint="a Python layer is a program of its own: --allow-python runs it (in commands that run a net), and so "
            "does caffecompat.pycaffe; allow only those that you trust",
            kind=UnsupportedError,
        )
    return known
