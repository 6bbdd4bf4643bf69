"""Blobs and layers of a net in the making, and the messages made of them."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from caffecompat.errors import GraphError, context, did_you_mean, quoted
from caffecompat.netspec.fields import assign_proto, holder
from caffecompat.schema import LAYER_TYPES, caffe_pb2


class UnknownTopError(GraphError, AttributeError, KeyError):
    """A name to which nothing was assigned."""


class NotATopError(GraphError, TypeError, AttributeError):
    """Something else stands where a blob is expected."""


class Top:
    """A blob: one of the tops of a layer.

    Attributes:
        fn: the layer that makes it.
        n: which of its tops it is, from 0.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net of the layers that are needed to make this blob, with names as `to_proto` gives them."""
        return to_proto(self)

    def __repr__(self) -> str:
        return f"<top {self.n} of {self.fn!r}>"


class Function:
    """A layer: its type, its bottoms and its parameters.

    Args:
        type_name: the type.
        inputs: the bottoms.
        params: the parameters; `ntop` (the number of tops, 1) and `in_place` (the tops are the bottoms) are taken out.

    Raises:
        NotATopError: a bottom is no Top.
    """

    def __init__(self, type_name: str, inputs: Iterable[Top], params: dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        for index, bottom in enumerate(self.inputs):
            if not isinstance(bottom, Top):
                raise NotATopError(f"{type_name} input {index} is not a Top (type is {type(bottom)})")
        self.params = params
        self.ntop: int = params.pop("ntop", 1)
        self.in_place: bool = params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def __repr__(self) -> str:
        return f"<{self.type_name} layer>"


class NetSpec:
    """A net in the making. Blobs are assigned to its attributes or items, by the names that they are to have.

    A layer is called as its first top; a layer without tops is itself assigned, for its name.

    Attributes:
        tops: what was assigned, by name and in order.
    """

    tops: OrderedDict[str, Top | Function]

    def __init__(self) -> None:
        super().__setattr__("tops", OrderedDict())

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self[name] = value

    def __getattr__(self, name: str) -> Any:
        # A copy in the making, asked what it can do, has no `tops` yet.
        if name == "tops" or name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        if name not in self.tops:
            raise UnknownTopError(f"the net has no blob {quoted(name)} yet", hint=did_you_mean(name, self.tops))
        return self.tops[name]

    def __delitem__(self, name: str) -> None:
        _ = self[name]
        del self.tops[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tops

    def __iter__(self) -> Iterator[str]:
        return iter(self.tops)

    def keys(self) -> list[str]:
        """The names, in the order of their first assignment."""
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        """What was assigned, in the same order."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Set parameters of the layer that makes the blob `name`, over those it has.

        Raises:
            UnknownTopError: there is no such blob.
        """
        _layer_of(self[name], name).params.update(params)

    def to_proto(self) -> caffe_pb2.NetParameter:
        """The net of the layers that are needed to make all the blobs, in the order of their assignment.

        `str` of it is prototxt; where a plug-in's parameters stand in it, `caffecompat.formats.write_text` writes it.

        Raises:
            NotATopError: something else was assigned to a name.
            UnknownFieldError: a layer does not have one of its parameters.
            FieldValueError: a parameter cannot have its value.
        """
        wanted = [_layer_of(value, name) for name, value in self.tops.items()]
        return _net(wanted, {value: name for name, value in self.tops.items()})


class Layers:
    """`layers.Type(*bottoms, **parameters)` makes a layer of any type.

    It gives its Top, a tuple of them where `ntop` is greater than 1, the Function itself where it is 0.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def make(*bottoms: Top, **parameters: Any) -> Top | Function | tuple[Top, ...]:
            fn = Function(name, bottoms, parameters)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        make.__name__ = make.__qualname__ = name
        return make

    def __dir__(self) -> list[str]:
        return sorted(LAYER_TYPES)


layers = Layers()


def to_proto(*tops: Top | Function) -> caffe_pb2.NetParameter:
    """The net of the layers that are needed to make these blobs, named by type and number: `Convolution1`.

    Raises:
        CaffeCompatError: as `NetSpec.to_proto`.
    """
    return _net([_layer_of(top, None) for top in tops], {})


def _layer_of(value: object, name: str | None) -> Function:
    if isinstance(value, Top):
        return value.fn
    if isinstance(value, Function):
        return value
    what = "expected the top of a layer" if name is None else f"expected the top of a layer for {quoted(name)}"
    hint = "give each of the tops a name: n.data, n.label = L.Data(..., ntop=2)" if isinstance(value, tuple) else None
    raise NotATopError(f"{what}, got {quoted(value)}", hint=hint)


def _net(wanted: Iterable[Function], names: dict[Top | Function, str]) -> caffe_pb2.NetParameter:
    """The net of these layers and of those that make their bottoms, each behind the ones that it needs."""
    made: dict[Function, caffe_pb2.LayerParameter] = {}
    counts: Counter[str] = Counter()
    for last in wanted:
        waiting = [last]
        while waiting:
            fn = waiting[-1]
            missing = next((bottom.fn for bottom in fn.inputs if bottom.fn not in made), None)
            if missing is not None:
                waiting.append(missing)
                continue
            waiting.pop()
            if fn not in made:
                made[fn] = _message(fn, made, names, counts)
    return caffe_pb2.NetParameter(layer=made.values())


def _message(
    fn: Function,
    made: Mapping[Function, caffe_pb2.LayerParameter],
    names: dict[Top | Function, str],
    counts: Counter[str],
) -> caffe_pb2.LayerParameter:
    """A layer's message, its bottoms made before; it and its tops get names if they have none."""

    def name_of(one: Top | Function) -> str:
        if one not in names:
            counts[fn.type_name] += 1
            names[one] = f"{fn.type_name}{counts[fn.type_name]}"
        return names[one]

    layer = caffe_pb2.LayerParameter(type=fn.type_name)
    layer.bottom.extend(_blob_name(bottom, made) for bottom in fn.inputs)
    layer.top.extend(layer.bottom if fn.in_place else map(name_of, fn.tops))
    layer.name = name_of(fn.tops[0] if fn.tops and fn not in names else fn)
    with context(layer=layer.name):
        for name, value in fn.params.items():
            assign_proto(holder(layer, name), name, value)
    return layer


def _blob_name(top: Top, made: Mapping[Function, caffe_pb2.LayerParameter]) -> str:
    layer = made[top.fn]
    if top.n >= len(layer.top):
        message = f"top {top.n} is asked of a layer in place, which has {len(layer.top)}"
        raise GraphError(message, layer=layer.name, hint="a layer in place has its bottoms as tops")
    return layer.top[top.n]
