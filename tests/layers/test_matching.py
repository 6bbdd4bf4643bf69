"""Matching networks' layers against the paper's equations, written anew with loops in double precision."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError
from tests.layers.single import single

FILLED = 'weight_filler { type: "gaussian" std: 0.4 } bias_filler { type: "uniform" min: -0.5 max: 0.5 }'


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def lstm(x, hidden, cell, weights, bias, recurrent):
    """One step for one row, gate by gate; `hidden` may be longer than the cell."""
    size = len(cell)
    parts = [slice(index * size, (index + 1) * size) for index in range(4)]
    enter, forget, leave, new = (weights[part] @ x + bias[part] + recurrent[part] @ hidden for part in parts)
    cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(cell), cell


def rows_of(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def run(layer, *arrays):
    return layer.double()(*(torch.from_numpy(np.asarray(array, np.float64)) for array in arrays))


def blobs_of(layer):
    return [blob.detach().double().numpy() for blob in layer.blobs]


@pytest.mark.parametrize(("body", "scale"), [("", 1), ("scale: 10", 10)])
def test_probabilities_and_loss_are_the_papers(body, scale):
    episodes, ways, size = 2, 3, 4
    queries, support = rows_of(episodes * 5, size), rows_of(episodes * 6, size, seed=1)
    labels = np.array([0, 1, 2, 2, 1, 0, 2, 2, 1, 1, 0, 0])
    asked = np.arange(10) % ways
    expected = np.zeros((10, ways))
    for row, query in enumerate(queries):
        own = range(6 * (row // 5), 6 * (row // 5) + 6)
        cosine = [query @ support[i] / np.linalg.norm(query) / np.linalg.norm(support[i]) for i in own]
        for weight, i in zip(softmax(scale * np.array(cosine)), own, strict=True):
            expected[row, labels[i]] += weight
    param = f"matching_param {{ ways: {ways} episodes: {episodes} {body} }}"
    shapes = (queries.shape, support.shape, labels.shape)
    np.testing.assert_allclose(run(single("Matching", param, *shapes), queries, support, labels), expected, atol=1e-12)
    loss, probabilities = run(
        single("MatchingLoss", param, *shapes, asked.shape, tops=2), queries, support, labels, asked
    )
    np.testing.assert_allclose(probabilities, expected, atol=1e-12)
    np.testing.assert_allclose(loss, -np.log(expected[np.arange(10), asked]).mean(), atol=1e-12)


def test_the_support_is_seen_from_both_ends():
    episodes, members, size = 2, 4, 3
    support = rows_of(episodes * members, size)
    layer = single("SupportContext", f"full_context_param {{ episodes: {episodes} {FILLED} }}", support.shape)
    blobs = blobs_of(layer)
    expected = support.copy()
    for episode in range(episodes):
        rows = range(episode * members, (episode + 1) * members)
        for order, lstm_blobs in ((rows, blobs[:3]), (reversed(rows), blobs[3:])):
            hidden = cell = np.zeros(size)
            for row in order:
                hidden, cell = lstm(support[row], hidden, cell, *lstm_blobs)
                expected[row] += hidden
    np.testing.assert_allclose(run(layer, support).detach(), expected, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_query_reads_the_support_step_by_step(steps):
    episodes, size = 2, 3
    queries, support = rows_of(episodes * 2, size), rows_of(episodes * 4, size, seed=1)
    body = f"full_context_param {{ episodes: {episodes} steps: {steps} {FILLED} }}"
    layer = single("QueryContext", body, queries.shape, support.shape)
    blobs = blobs_of(layer)
    expected = []
    for row, query in enumerate(queries):
        members = support[4 * (row // 2) :][:4]
        hidden = cell = np.zeros(size)
        for _ in range(steps):
            weights = softmax(np.array([hidden @ member for member in members]))
            read = sum(weight * member for weight, member in zip(weights, members, strict=True))
            left, cell = lstm(query, np.concatenate([hidden, read]), cell, *blobs)
            hidden = left + query
        expected.append(hidden)
    np.testing.assert_allclose(run(layer, queries, support).detach(), expected, atol=1e-12)


def test_an_embedding_of_zeros_matches_nothing_and_has_a_gradient():
    layer = single("MatchingLoss", "matching_param { ways: 2 }", (1, 3), (2, 3), (2,), (1,))
    query = torch.zeros(1, 3, requires_grad=True)
    loss = layer(query, torch.randn(2, 3), torch.tensor([0.0, 1]), torch.tensor([1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert query.grad.isfinite().all()


def test_a_query_whose_class_the_support_lacks():
    layer = single("MatchingLoss", "matching_param { ways: 3 episodes: 2 }", (4, 2), (4, 2), (4,), (4,))
    with pytest.raises(CaffeCompatError, match=r'"l".*query 1 of episode 1 is of class 2, .* lacks: it has 0, 1'):
        layer(torch.randn(4, 2), torch.randn(4, 2), torch.tensor([0, 2, 0, 1]), torch.tensor([0, 2, 1, 2]))


@pytest.mark.parametrize(
    ("type_", "body", "shapes", "kind", "says"),
    [
        ("Matching", "matching_param { ways: 0 }", ((4, 2), (4, 2), (4,)), ShapeError, "must be positive"),
        ("Matching", "matching_param { scale: -1 }", ((4, 2), (4, 2), (4,)), ShapeError, "a positive scale, got -1"),
        ("Matching", "matching_param { episodes: 3 }", ((6, 2), (4, 2), (4,)), ShapeError, "members .* of 3 episodes"),
        ("Matching", "", ((4, 2), (4, 3), (4,)), ShapeError, "rows of the same shape"),
        ("Matching", "", ((4, 2), (4, 2), (5,)), ShapeError, r"labels of shape \(4,\)"),
        ("MatchingLoss", "", ((4, 2), (4, 2), (4,), (3,)), ShapeError, "each of 4 queries"),
        ("SupportContext", "full_context_param { episodes: 3 }", ((4, 2),), ShapeError, "of 3 episodes"),
        ("QueryContext", "", ((4, 2), (4, 3)), ShapeError, "as many values in a row"),
        ("QueryContext", "full_context_param { steps: 0 }", ((4, 2), (4, 2)), ShapeError, "steps must be positive"),
        ("Matching", "matching_param { way: 3 }", ((4, 2), (4, 2), (4,)), SchemaError, "unknown field 'way'"),
    ],
)
def test_refused(type_, body, shapes, kind, says):
    with pytest.raises(kind, match=says):
        single(type_, body, *shapes)


def test_labels_beyond_the_ways():
    layer = single("Matching", "matching_param { ways: 2 }", (1, 2), (2, 2), (2,))
    with pytest.raises(CaffeCompatError, match=r"a label is 2; labels must be within 0\.\.1"):
        layer(torch.randn(1, 2), torch.randn(2, 2), torch.tensor([0, 2]))


def test_a_prototxt_loads_them_when_it_has_them_and_not_before():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "True", "(4,2)"]


PROGRAM = """
import sys
from caffecompat import Net
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
x = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 2 } } } '
Net(build_graph(parse_net(x)))
print("caffecompat.layers.matching" in sys.modules)
net = Net(build_graph(parse_net(x + 'layer { full_context_param { episodes: 2 } type: "SupportContext" bottom: "x" '
                                    'top: "y" name: "c" }')))
print("caffecompat.layers.matching" in sys.modules)
print(str(net.blob_shapes[net.graph.outputs[0]]).replace(" ", ""))
"""
