"""LSTM, RNN, LSTMUnit: the state between passes, gradients, what they refuse."""

from __future__ import annotations

import re

import pytest
import torch

from caffecompat.errors import ShapeError
from tests.layers.single import single

STEPS, STREAMS, SIZE = 4, 3, 5
PARAM = 'num_output: 5 weight_filler { type: "uniform" min: -1 max: 1 } bias_filler { type: "uniform" min: -1 max: 1 }'


def make(type_, body=PARAM, *shapes, tops=1):
    torch.manual_seed(5)
    return single(type_, f"recurrent_param {{ {body} }}", *shapes, tops=tops)


@pytest.mark.parametrize("type_", ["LSTM", "RNN"])
def test_state_carries_on_from_pass_to_pass(type_):
    """Two halves give what the whole gives; a cont of 0 forgets."""
    x, cont = torch.randn(STEPS, STREAMS, 2), torch.ones(STEPS, STREAMS)
    cont[0] = 0
    whole = make(type_, PARAM, tuple(x.shape), tuple(cont.shape))
    expected = whole(x, cont)
    halves = make(type_, PARAM, (2, STREAMS, 2), (2, STREAMS))
    found = torch.cat([halves(x[:2], cont[:2]), halves(x[2:], cont[2:])])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(halves(x[:2], cont[:2]), expected[:2])


def test_state_begins_anew_when_the_streams_change():
    layer = make("LSTM", PARAM, (2, STREAMS, 2), (2, STREAMS))
    x = torch.randn(2, 1, 2)
    first = layer(x, torch.ones(2, 1))
    layer(torch.randn(2, STREAMS, 2), torch.ones(2, STREAMS))
    assert torch.equal(layer(x, torch.ones(2, 1)), first)


@pytest.mark.parametrize("type_", ["LSTM", "RNN"])
def test_gradients(type_):
    layer = make(type_, PARAM, (2, 2, 3), (2, 2), (2, 2)).double()
    x, static = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 2, 3), (2, 2)))
    cont = torch.tensor([[0.0, 0], [1, 0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, static: layer(x, cont, static), (x, static))


def test_a_step_may_be_a_picture_or_one_value():
    cont = (STEPS, STREAMS)
    assert make("RNN", PARAM, (STEPS, STREAMS, 2, 3), cont).blobs[0].shape == (SIZE, 6)
    layer = make("RNN", PARAM, cont, cont)
    assert layer.blobs[0].shape == (SIZE, 1)
    assert layer(torch.zeros(cont), torch.zeros(cont)).shape == (STEPS, STREAMS, SIZE)


@pytest.mark.parametrize(
    ("type_", "shapes"),
    [
        ("LSTM", [(20, 2), (20,), (20, 7), (20, 5)]),
        ("RNN", [(5, 2), (5,), (5, 7), (5, 5), (5, 5), (5,)]),
    ],
)
def test_blobs_are_in_the_order_of_caffe(type_, shapes):
    layer = make(type_, PARAM, (STEPS, STREAMS, 2), (STEPS, STREAMS), (STREAMS, 7))
    assert [tuple(blob.shape) for blob in layer.blobs] == shapes


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        ("num_output: 0", [(4, 3, 2), (4, 3)], "num_output must be positive, got 0"),
        (
            PARAM,
            [(4, 3, 2), (3, 4)],
            "needs x (T, N, ...) and cont (T, N), T at least 1, got shapes (4, 3, 2) and (3, 4)",
        ),
        (PARAM, [(4,), (4,)], "needs x (T, N, ...)"),
        (PARAM, [(0, 3, 2), (0, 3)], "T at least 1, got shapes (0, 3, 2) and (0, 3)"),
        (PARAM, [(4, 3, 2), (4, 3), (4, 2)], "the static input must have 3 items, got shape (4, 2)"),
        (PARAM, [(4, 3, 2), (4, 3), (3, 2), (1, 3, 5)], "with expose_hidden: false it takes 2 bottoms, or 3"),
        (PARAM + " expose_hidden: true", [(4, 3, 2), (4, 3)], "with expose_hidden: true it takes 4 bottoms, or 5"),
    ],
)
def test_lstm_refuses(body, shapes, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        make("LSTM", body, *shapes)


def test_lstm_refuses_a_state_of_another_shape():
    shapes = [(4, 3, 2), (4, 3), (1, 3, 5), (1, 3, 4)]
    with pytest.raises(ShapeError, match=re.escape("must have shape (1, 3, 5), got (1, 3, 4)")):
        make("LSTM", PARAM + " expose_hidden: true", *shapes, tops=3)


@pytest.mark.parametrize("shapes", [[(1, 3, 5), (1, 3, 19), (1, 3)], [(2, 3, 5), (2, 3, 20), (2, 3)], [(3, 5)] * 3])
def test_lstm_unit_refuses(shapes):
    with pytest.raises(ShapeError, match=re.escape("needs shapes (1, N, D), (1, N, 4 D) and (1, N)")):
        single("LSTMUnit", "", *shapes, tops=2)
