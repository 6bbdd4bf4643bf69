"""Names and calls that libraries have dropped since, put back for old scripts: NumPy's, modules that are gone.

Only `caffecompat python` does it, as it is for the whole process.
"""

from __future__ import annotations

import functools
import importlib.abc
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from caffecompat.legacy.completing import complete_when_imported

# NumPy's own word for each; a dot leads into a module of NumPy.
_NUMPY = {
    "Inf": "inf",
    "NaN": "nan",
    "PINF": "inf",
    "alltrue": "all",
    "asfarray": "asarray",
    "cast": "asarray",
    "cfloat": "complex128",
    "cumproduct": "cumprod",
    "float_": "float64",
    "in1d": "isin",
    "infty": "inf",
    "int0": "intp",
    "product": "prod",
    "round_": "round",
    "row_stack": "vstack",
    "sometrue": "any",
    "string_": "bytes_",
    "trapz": "trapezoid",
    "unicode_": "str_",
}
# What Python's own types were called there.
_TYPES: dict[str, Any] = {
    "bool": bool,
    "complex": complex,
    "float": float,
    "int": int,
    "long": int,
    "object": object,
    "str": str,
    "unicode": str,
}
_MODULES = {
    "xml.etree.cElementTree": "xml.etree.ElementTree",
    "sklearn.externals.joblib": "joblib",
}


def install_old_names() -> None:
    """Put them back, each where it is missing."""
    _numpy_names()
    complete_when_imported("pandas", _pandas_names)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _numpy_names() -> None:
    import numpy as np

    with warnings.catch_warnings():
        # NumPy speaks of each old name that is asked for.
        warnings.simplefilter("ignore")
        for name, value in _TYPES.items():
            if not hasattr(np, name):
                setattr(np, name, value)
        for name, today in _NUMPY.items():
            if not hasattr(np, name) and hasattr(np, today):
                setattr(np, name, getattr(np, today))
        if not hasattr(np, "asscalar"):
            np.asscalar = lambda array: array.item()  # type: ignore[attr-defined]
    np.fromstring = _fromstring(np.fromstring)


def _fromstring(today: Callable[..., Any]) -> Callable[..., Any]:
    """`np.fromstring`, which reads bytes as well, as it did."""

    @functools.wraps(today)
    def fromstring(string: Any, dtype: Any = float, count: int = -1, sep: str = "", **options: Any) -> Any:
        if sep:
            return today(string, dtype, count, sep=sep, **options)
        import numpy as np

        data = string.encode("latin-1") if isinstance(string, str) else string
        return np.frombuffer(data, dtype, count, **options).copy()

    return fromstring


def _pandas_names(pandas: ModuleType) -> None:
    """`frame.to_hdf(path, key)`, whose key has to be named by now."""
    for kind in (pandas.DataFrame, pandas.Series):
        kind.to_hdf = _to_hdf(kind.to_hdf)


def _to_hdf(today: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(today)
    def to_hdf(self: Any, path_or_buf: Any, key: str, mode: str = "a", **options: Any) -> None:
        today(self, path_or_buf, key=key, mode=mode, **options)

    return to_hdf


class _Finder(importlib.abc.MetaPathFinder):
    """The last to be asked: gives a module by its old name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        today = _MODULES.get(fullname)
        return None if today is None else ModuleSpec(fullname, _Loader(today))


class _Loader(importlib.abc.Loader):
    def __init__(self, today: str) -> None:
        self._today = today

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        real = importlib.import_module(self._today)
        module.__dict__.update({name: value for name, value in vars(real).items() if not name.startswith("__")})
        return module

    def exec_module(self, module: ModuleType) -> None:
        """All is there already."""
