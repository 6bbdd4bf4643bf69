"""Python 2's standard modules by their old names, and the old names in those that are still there."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from caffecompat.legacy.python2 import files

# Where the names of a module are looked for, by its name in Python 2.
MOVED: Mapping[str, tuple[str, ...]] = {
    "BaseHTTPServer": ("http.server",),
    "ConfigParser": ("configparser",),
    "Cookie": ("http.cookies",),
    "HTMLParser": ("html.parser",),
    "Queue": ("queue",),
    "SimpleHTTPServer": ("http.server",),
    "SocketServer": ("socketserver",),
    "StringIO": ("io",),
    "Tkinter": ("tkinter",),
    "UserDict": ("collections",),
    "__builtin__": ("builtins",),
    "cPickle": ("pickle",),
    "cStringIO": ("io",),
    "commands": ("subprocess",),
    "cookielib": ("http.cookiejar",),
    "copy_reg": ("copyreg",),
    "dummy_thread": ("_thread",),
    "exceptions": ("builtins",),
    "httplib": ("http.client",),
    "md5": ("hashlib",),
    "sets": ("builtins",),
    "sha": ("hashlib",),
    "thread": ("_thread",),
    "tkFileDialog": ("tkinter.filedialog",),
    "tkMessageBox": ("tkinter.messagebox",),
    "urllib2": ("urllib.request", "urllib.error", "urllib.parse"),
    "urlparse": ("urllib.parse",),
}
# Modules that kept their names and lost some of what was in them.
KEPT = frozenset(
    {"codecs", "collections", "inspect", "itertools", "math", "operator", "os", "pickle"}
    | {"string", "subprocess", "sys", "time", "types", "urllib"}
)


class Renamed(ModuleType):
    """A module that gives old names what they meant; all else is the real module's, and set there.

    Args:
        name: its name in Python 2.
        sources: the modules that are looked into, in this order.
        extras: what stands before them.
    """

    def __init__(self, name: str, sources: tuple[ModuleType, ...], extras: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__["_sources"] = sources
        self.__dict__["_extras"] = extras

    def __getattr__(self, name: str) -> Any:
        if name in self._extras:
            return self._extras[name]
        for source in self._sources:
            if hasattr(source, name):
                return getattr(source, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._sources[0], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._sources[0], name)

    def __dir__(self) -> list[str]:
        return sorted({*self._extras, *(name for source in self._sources for name in dir(source))})

    @property
    def __all__(self) -> list[str]:
        """What `import *` takes."""
        return [name for name in dir(self) if not name.startswith("_")]


@cache
def renamed(name: str) -> ModuleType | None:
    """The module that `name` is in Python 2, where that is not what it is in Python 3; else None."""
    if name not in MOVED and name not in KEPT:
        return None
    sources = (name, "urllib.request", "urllib.parse", "urllib.error") if name == "urllib" else MOVED.get(name, (name,))
    extras = _EXTRAS.get(name, dict)()
    return Renamed(name, tuple(importlib.import_module(source) for source in sources), extras)


# --- what the real modules lack


def _codecs() -> dict[str, Any]:
    """What is put around stdout and stderr: bytes are written, below the stream that takes text."""
    import codecs

    def around(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(stream: Any, *rest: Any, **options: Any) -> Any:
            wrapper = make(files.binary(stream), *rest, **options)
            # A stream that nobody holds closes the one below.
            wrapper.above = stream
            return wrapper

        return made

    return {
        "getreader": lambda encoding: around(codecs.getreader(encoding)),
        "getwriter": lambda encoding: around(codecs.getwriter(encoding)),
        "StreamReaderWriter": around(codecs.StreamReaderWriter),
    }


def _collections() -> dict[str, Any]:
    import collections.abc

    return {name: getattr(collections.abc, name) for name in collections.abc.__all__ if name != "ByteString"}


def _config_parser() -> dict[str, Any]:
    import configparser

    return {"SafeConfigParser": configparser.ConfigParser}


def _digest(name: str) -> Callable[[], dict[str, Any]]:
    import hashlib

    return lambda: {"new": getattr(hashlib, name)}


def _inspect() -> dict[str, Any]:
    import inspect
    from typing import NamedTuple

    class ArgSpec(NamedTuple):
        args: list[str]
        varargs: str | None
        keywords: str | None
        defaults: tuple[Any, ...] | None

    return {"getargspec": lambda function: ArgSpec(*inspect.getfullargspec(function)[:4])}


def _itertools() -> dict[str, Any]:
    import itertools

    return {"izip": zip, "imap": map, "ifilter": filter, "izip_longest": itertools.zip_longest}


class _Whole(float):
    """A float that is a whole number, as `floor` and `ceil` gave; ranges, shapes and slices took it then."""

    def __index__(self) -> int:
        return int(self)


def _math() -> dict[str, Any]:
    import math

    return {"floor": lambda x: _Whole(math.floor(x)), "ceil": lambda x: _Whole(math.ceil(x))}


def _operator() -> dict[str, Any]:
    from caffecompat.legacy.python2 import helpers

    return {"div": helpers.div, "isCallable": callable, "sequenceIncludes": lambda items, item: item in items}


def _os() -> dict[str, Any]:
    import os

    return {"getcwdu": os.getcwd, "fdopen": files.fdopen2, "errno": importlib.import_module("errno")}


def _pickle() -> dict[str, Any]:
    return {"load": files.load, "loads": files.loads, "dump": files.dump, "dumps": files.dumps}


def _sets() -> dict[str, Any]:
    return {"Set": set, "ImmutableSet": frozenset}


def _string() -> dict[str, Any]:
    import string

    by_method = "capitalize count expandtabs find index ljust lower lstrip replace rfind rindex rjust rstrip split"
    methods = {name: getattr(str, name) for name in (*by_method.split(), "strip", "swapcase", "upper", "zfill")}
    return methods | {
        "letters": string.ascii_letters,
        "lowercase": string.ascii_lowercase,
        "uppercase": string.ascii_uppercase,
        "maketrans": str.maketrans,
        "join": lambda words, between=" ": between.join(words),
        "joinfields": lambda words, between=" ": between.join(words),
        "atoi": int,
        "atol": int,
        "atof": float,
    }


def _string_io() -> dict[str, Any]:
    return {"StringIO": files.StringIO2}


def _subprocess() -> dict[str, Any]:
    """Pipes of text, as str was one with bytes."""

    class Popen(subprocess.Popen[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **_as_text(options))

    return {
        "Popen": Popen,
        "check_output": lambda *arguments, **options: subprocess.check_output(*arguments, **_as_text(options)),
    }


def _as_text(options: dict[str, Any]) -> dict[str, Any]:
    said = {"text", "universal_newlines", "encoding", "errors"} & set(options)
    return options if said else {**options, **files.TEXT}


def _sys() -> dict[str, Any]:
    import sys

    return {
        "maxint": sys.maxsize,
        "setdefaultencoding": lambda encoding: None,
        "exc_clear": lambda: None,
        "getdefaultencoding": lambda: "ascii",
    }


def _time() -> dict[str, Any]:
    import time

    return {"clock": time.process_time}


def _types() -> dict[str, Any]:
    kinds = {"String": str, "Unicode": str, "Int": int, "Long": int, "Float": float, "Boolean": bool, "List": list}
    kinds |= {"Tuple": tuple, "Dict": dict, "None": type(None), "Type": type, "Class": type, "Object": object}
    return {f"{name}Type": kind for name, kind in kinds.items()} | {"StringTypes": (str,)}


def _user_dict() -> dict[str, Any]:
    from collections.abc import MutableMapping

    return {"DictMixin": MutableMapping, "IterableUserDict": importlib.import_module("collections").UserDict}


_EXTRAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "ConfigParser": _config_parser,
    "StringIO": _string_io,
    "UserDict": _user_dict,
    "cPickle": _pickle,
    "cStringIO": _string_io,
    "codecs": _codecs,
    "collections": _collections,
    "exceptions": lambda: {"StandardError": Exception},
    "inspect": _inspect,
    "itertools": _itertools,
    "math": _math,
    "md5": _digest("md5"),
    "operator": _operator,
    "os": _os,
    "pickle": _pickle,
    "sets": _sets,
    "sha": _digest("sha1"),
    "string": _string,
    "subprocess": _subprocess,
    "sys": _sys,
    "time": _time,
    "types": _types,
}
