"""Inception-v3."""

from __future__ import annotations

from typing import Any, NamedTuple

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.builders.blocks import ConvBNLayer, InceptionTower, Params


class _Tower(NamedTuple):
    """A chain of layers; `forked`: at its end 1x3 and 3x1 convolutions of so many channels side by side."""

    suffix: str
    layers: list[Params]
    forked: int = 0


def InceptionV3Body(  # noqa: N802
    net: NetSpec, from_layer: str, output_pred: bool = False, **bn_param: Any
) -> NetSpec:
    """Inception-v3, from conv to mixed_10/join.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        output_pred: with the classifier of 1008 classes and its probabilities.
        bn_param: as `ConvBNLayer` takes.

    Returns:
        The net.
    """
    last = _stem(net, from_layer, bn_param)
    for name, towers in _MIXED.items():
        last = _mixed(net, last, name, towers, bn_param)
    if output_pred:
        net.pool_3 = L.Pooling(net[last], pool=P.Pooling.AVE, kernel_size=8, pad=0, stride=1)
        net.softmax = L.InnerProduct(net.pool_3, num_output=1008)
        net.softmax_prob = L.Softmax(net.softmax)
    return net


def _stem(net: NetSpec, last: str, bn_param: dict[str, Any]) -> str:
    layers = (
        _conv(32, 3, stride=2, name="conv"),
        _conv(32, 3, name="conv_1"),
        _conv(64, 3, pad=1, name="conv_2"),
        _pool(P.Pooling.MAX, stride=2, pad=0, name="pool"),
        _conv(80, 1, name="conv_3"),
        _conv(192, 3, name="conv_4"),
        _pool(P.Pooling.MAX, stride=2, pad=0, name="pool_1"),
    )
    for params in layers:
        name = params.pop("name")
        if "pool" in params:
            net[name] = L.Pooling(net[last], **params)
        else:
            ConvBNLayer(net, last, name, use_bn=True, use_relu=True, use_scale=False, **params, **bn_param)
        last = name
    return last


def _mixed(net: NetSpec, bottom: str, name: str, towers: list[_Tower], bn_param: dict[str, Any]) -> str:
    """Towers side by side, and the name of the layer that joins them."""
    tops = []
    for tower in towers:
        tower_name = f"{name}/{tower.suffix}".rstrip("/")
        tops.append(InceptionTower(net, bottom, tower_name, tower.layers, **bn_param))
        if tower.forked:
            end, fork = f"{tower_name}/{tower.layers[-1]['name']}", f"{tower_name}/mixed"
            prongs = _conv(tower.forked, *_WIDE, name="conv"), _conv(tower.forked, *_TALL, name="conv_1")
            net[fork] = L.Concat(*(InceptionTower(net, end, fork, [prong], **bn_param) for prong in prongs), axis=1)
            tops[-1] = net[fork]
    net[f"{name}/join"] = L.Concat(*tops, axis=1)
    return f"{name}/join"


def _conv(num_output: int, kernel_size: Any, pad: Any = 0, stride: Any = 1, *, name: str) -> Params:
    return {"name": name, "num_output": num_output, "kernel_size": kernel_size, "pad": pad, "stride": stride}


def _pool(pool: int, stride: int = 1, pad: int = 1, *, name: str = "pool") -> Params:
    return {"name": name, "pool": pool, "kernel_size": 3, "pad": pad, "stride": stride}


def _chain(*sizes: tuple[Any, ...]) -> list[Params]:
    """Convolutions named conv, conv_1, ...; each by channels, kernel, pad and stride."""
    return [_conv(*size, name=f"conv_{index}" if index else "conv") for index, size in enumerate(sizes)]


# Kernel, pad and stride.
_WIDE, _TALL = ([1, 3], [0, 1], [1, 1]), ([3, 1], [1, 0], [1, 1])
_WIDER, _TALLER = ([1, 7], [0, 3], [1, 1]), ([7, 1], [3, 0], [1, 1])


def _with_5x5(pooled: int) -> list[_Tower]:
    return [
        _Tower("", _chain((64, 1))),
        _Tower("tower", _chain((48, 1), (64, 5, 2))),
        _Tower("tower_1", _chain((64, 1), (96, 3, 1), (96, 3, 1))),
        _Tower("tower_2", [_pool(P.Pooling.AVE), *_chain((pooled, 1))]),
    ]


def _with_7x7(width: int) -> list[_Tower]:
    """7x7 in two steps, 1x7 and 7x1."""
    return [
        _Tower("", _chain((192, 1))),
        _Tower("tower", _chain((width, 1), (width, *_WIDER), (192, *_TALLER))),
        _Tower("tower_1", _chain((width, 1), (width, *_TALLER), (width, *_WIDER), (width, *_TALLER), (192, *_WIDER))),
        _Tower("tower_2", [_pool(P.Pooling.AVE), *_chain((192, 1))]),
    ]


def _forked(pool: int) -> list[_Tower]:
    return [
        _Tower("", _chain((320, 1))),
        _Tower("tower", _chain((384, 1)), forked=384),
        _Tower("tower_1", _chain((448, 1), (384, 3, 1)), forked=384),
        _Tower("tower_2", [_pool(pool), *_chain((192, 1))]),
    ]


_MIXED: dict[str, list[_Tower]] = {
    "mixed": _with_5x5(32),
    "mixed_1": _with_5x5(64),
    "mixed_2": _with_5x5(64),
    "mixed_3": [
        _Tower("", _chain((384, 3, 0, 2))),
        _Tower("tower", _chain((64, 1), (96, 3, 1), (96, 3, 0, 2))),
        _Tower("", [_pool(P.Pooling.MAX, stride=2, pad=0)]),
    ],
    "mixed_4": _with_7x7(128),
    "mixed_5": _with_7x7(160),
    "mixed_6": _with_7x7(160),
    "mixed_7": _with_7x7(192),
    "mixed_8": [
        _Tower("tower", _chain((192, 1), (320, 3, 0, 2))),
        _Tower("tower_1", _chain((192, 1), (192, *_WIDER), (192, *_TALLER), (192, 3, 0, 2))),
        _Tower("", [_pool(P.Pooling.MAX, stride=2, pad=0)]),
    ],
    "mixed_9": _forked(P.Pooling.AVE),
    "mixed_10": _forked(P.Pooling.MAX),
}
