"""The plug-in API: `caffecompat.layer` registers a user's layer; `load_plugin` runs the module that does."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from caffecompat.errors import CaffeCompatError, SchemaError, UsageError, quoted
from caffecompat.layers import base
from caffecompat.layers.base import L
from caffecompat.schema import LAYER_TYPES, LayerType
from caffecompat.schema.dataclass_fields import read_dataclass
from caffecompat.schema.plugins import MODULES, add_field, field_exists
from caffecompat.schema.proto_text import Definitions, read_proto

Count = int | tuple[int, int]
# What stands in the fields that plug-ins added.
_DEFINITIONS: dict[str, Definitions] = {}


def layer(
    *names: str,
    param: str = "",
    message: type | str | Path | None = None,
    bottoms: Count = 1,
    tops: Count = 1,
    same_number: bool = False,
    loss: bool = False,
    data: bool = False,
    also: tuple[str, ...] = (),
) -> Callable[[L], L]:
    """Register a layer type of your own: a class decorator for subclasses of `caffecompat.Layer`.

    Args:
        names: the type strings of prototxts.
        param: the field in which a prototxt states the layer's parameters, such as "gain_param"; the class reads
            them as `self.message`. A field that exists, such as "convolution_param", may be used again.
        message: what stands in a new field: a dataclass, the text of a .proto file (proto2), or its Path. A file may be
            the whole schema of a fork of Caffe: the field is looked up in its LayerParameter.
        bottoms: how many bottoms it takes, or (least, most).
        tops: how many tops it makes, or (least, most).
        same_number: it makes as many tops as it takes bottoms.
        loss: its first top is a loss, of weight 1 unless the prototxt says otherwise, and is added where the
            prototxt names none.
        data: its tops come from outside the net; the class is a subclass of `caffecompat.layers.data.DataLayer`.
        also: further fields of LayerParameter that it reads, such as "transform_param".

    The same class may register again, as when a notebook's cell runs twice, with the same parameters.

    Raises:
        SchemaError: a type or a field that exists already, a message that is at fault.
    """
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SchemaError(f"expected the names of layer types, got {quoted(names)}", hint='@layer("MyType")')
    missing = [field for field in also if not field_exists(field)]
    if missing:
        raise SchemaError(f"there is no field {quoted(missing[0])}", hint="also= names fields that are there")
    params = (*((param,) if param else ()), *also, *(("loss_param",) if loss else ()))
    rows = [LayerType(name, params, _range(bottoms), _range(tops), same_number, loss, data) for name in names]

    def register(cls: L) -> L:
        if not (isinstance(cls, type) and issubclass(cls, base.Layer)):
            raise SchemaError(f"expected a subclass of caffecompat.Layer, got {quoted(cls)}")
        _check_free(names, cls)
        _add_parameters(param, message)
        LAYER_TYPES.update({row.name: row for row in rows})
        MODULES.update(dict.fromkeys(names, cls.__module__))
        return base.layer(*names)(cls)

    return register


def _range(count: Count) -> tuple[int, int]:
    least, most = (count, count) if isinstance(count, int) else count
    if not 0 <= least <= most:
        raise SchemaError(f"expected a number of blobs or (least, most), got {quoted(count)}")
    return least, most


def _check_free(names: tuple[str, ...], cls: type) -> None:
    """Refuse types of the schema, and those of other classes."""
    for name in names:
        known = base.registered().get(name)
        if name in LAYER_TYPES and name not in MODULES:
            raise SchemaError(f"layer type {name} is here already", hint="give yours another name")
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise SchemaError(
                f"layer type {name} has two modules: {known.__module__}.{known.__qualname__}, "
                f"{cls.__module__}.{cls.__qualname__}",
                hint="give one of them another name",
            )


def _add_parameters(param: str, message: type | str | Path | None) -> None:
    """Give LayerParameter the field, unless it has it and nothing new is stated."""
    if message is None:
        if param and not field_exists(param):
            raise SchemaError(f"there is no field {quoted(param)}", hint="state its message: message=...")
        return
    if not param:
        raise SchemaError("a message without the field it stands in", hint='param="my_param"')
    if isinstance(message, type) and dataclasses.is_dataclass(message):
        definitions = read_dataclass(message)
    elif isinstance(message, Path):
        try:
            definitions = read_proto(message.read_text("utf-8"), str(message))
        except (OSError, UnicodeDecodeError) as error:
            raise SchemaError(f"cannot read: {error}", file=message) from error
    elif isinstance(message, str):
        definitions = read_proto(message)
    else:
        raise SchemaError(f"expected a dataclass, the text of a .proto file or its Path, got {quoted(message)}")
    if param in _DEFINITIONS and _DEFINITIONS[param] != definitions:
        raise SchemaError(
            f"field {param} has another message already", hint="a message stays while the process lives: start anew"
        )
    if param not in _DEFINITIONS:
        add_field(param, definitions)
        _DEFINITIONS[param] = definitions


def load_plugin(source: str) -> None:
    """Run the module that registers layers, once.

    Args:
        source: the name of a module that can be imported, or the path of a .py file. Its code runs with the
            caller's rights.

    Raises:
        UsageError: there is no such file or module.
        CaffeCompatError: it fails.
    """
    path = Path(source)
    name = f"caffecompat_plugin_{path.stem}" if path.suffix == ".py" else source
    known = sys.modules.get(name)
    if known is not None and (path.suffix != ".py" or Path(str(known.__file__)) == path.resolve()):
        return
    if path.suffix == ".py" and not path.is_file():
        raise UsageError(f"no plug-in at {quoted(source)}")
    try:
        if path.suffix == ".py":
            _run(name, path.resolve())
        else:
            importlib.import_module(source)
    except CaffeCompatError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == source:
            raise UsageError(f"no plug-in {quoted(source)}", hint="the name of a module, or a .py file") from None
        raise CaffeCompatError(f"the plug-in fails: {type(error).__name__}: {error}", file=source) from error


def _run(name: str, path: Path) -> None:
    if name in sys.modules:
        raise UsageError(f"two plug-ins of the name {path.name}", hint="rename one")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
