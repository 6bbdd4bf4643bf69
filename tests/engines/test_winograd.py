"""Convolutions by Winograd's filtering and by oneDNN, beside the same in double precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from caffecompat.engines import convolving
from caffecompat.engines.winograd import Places, Scratch, Winograd
from tests.engines.engine_nets import INPUT, conv, relu
from tests.support import make_net


def values(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


# images, channels, outputs, (height, width), pad, dilation; some need several strips.
CASES = [
    (1, 5, 7, (13, 9), (1, 1), (1, 1)),
    (3, 4, 3, (8, 8), (0, 0), (1, 1)),
    (2, 3, 5, (19, 17), (6, 6), (6, 6)),
    (2, 6, 5, (11, 30), (3, 2), (2, 1)),
    (5, 3, 4, (30, 33), (1, 0), (1, 1)),
    (2, 2, 3, (90, 85), (1, 1), (1, 1)),
    (70, 2, 3, (9, 8), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rectify", [False, True])
def test_it_is_the_convolution(case, rectify):
    images, channels, outputs, size, pad, dilation = case
    x, weight, bias = values(images, channels, *size), values(outputs, channels, 3, 3), values(outputs)
    wanted = functional.conv2d(x.double(), weight.double(), bias.double(), padding=pad, dilation=dilation)
    wanted = wanted.relu() if rectify else wanted
    scratch = Scratch()
    places = Places((wanted.shape[2], wanted.shape[3]), pad, dilation)
    call = Winograd(weight, bias, scratch, relu=rectify)
    # What a former call left in the shared memory must not count.
    call(1e6 * values(images, channels, *size), places)
    found = call(x, places)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_without_bias():
    x, weight = values(1, 3, 6, 6), values(2, 3, 3, 3)
    found = Winograd(weight, None, Scratch(), relu=False)(x, Places((4, 4), (0, 0), (1, 1)))
    torch.testing.assert_close(found, functional.conv2d(x, weight), atol=1e-5, rtol=1e-5)


def test_where_it_pays():
    assert Places((38, 38), (1, 1), (1, 1)).pays(512, 512, 1)
    assert Places((19, 19), (6, 6), (6, 6)).pays(512, 1024, 1)
    assert not Places((300, 300), (1, 1), (1, 1)).pays(3, 64, 1)
    # Three times as many tiles as outputs would fill.
    assert not Places((5, 5), (1, 1), (1, 1)).pays(512, 512, 1)


@pytest.mark.parametrize("kind", ["winograd", "packed", "plain"])
def test_each_form_of_a_layer(kind, monkeypatch):
    torch.manual_seed(0)
    net = make_net(INPUT + conv("c", "data", 8) + relu("c"))
    layer = net.layer("c")
    monkeypatch.setattr(Places, "pays", lambda *arguments: kind == "winograd")
    if kind == "plain":
        monkeypatch.setattr(convolving, "_packed", lambda *arguments, **options: None)
    call = convolving.convolution(layer, (2, 3, 21, 18), Scratch(), torch.float32, relu=True)
    for shape in ((2, 3, 21, 18), (1, 3, 9, 30)):
        x = values(*shape)
        with torch.no_grad():
            torch.testing.assert_close(call(x), functional.relu(layer(x)), atol=1e-5, rtol=1e-5)
