"""Every layer type as PyTorch source, by itself: what the file computes is what the layer does."""

from __future__ import annotations

import pytest

from caffecompat.errors import UnsupportedError
from caffecompat.export.source.registry import writers, writes
from caffecompat.layers.neurons import ReLU
from tests.export.onnx_cases import assert_same, inputs_of, net_of, run_net
from tests.export.source_cases import assert_tidy, run_source, written
from tests.export.test_onnx_layers import IMAGE, TESTED
from tests.layers.type_cases import Case, of

# None of these has one operator of PyTorch, or a few.
WITHOUT = {
    "Correlation", "FlowWarp", "LSTM", "LSTMUnit", "Matching", "MatchingLoss", "Proposal", "Python", "QueryContext",
    "RNN", "ROIPooling", "Resample", "Resize", "SupportContext",
}  # fmt: skip
MORE = [
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 3 }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 3 pool: AVE }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 pool: AVE }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }", (of(2, 3, 5, 7),)),
    Case("Scale", "scale_param { bias_term: true }", (IMAGE,)),
    Case("Interp", "interp_param { zoom_factor: 3 }", (IMAGE,)),
]
CASES = [case for case in (*TESTED, *MORE) if case.type not in WITHOUT and "STOCHASTIC" not in case.body]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("source")


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: str(CASES[number]))
def test_layer(number, folder):
    net = net_of(CASES[number])
    inputs = inputs_of(CASES[number])
    path = written(net, folder, f"case{number}")
    found, wanted = run_source(path, inputs), run_net(net, inputs)
    if list(found) == [""]:
        found = {next(iter(wanted)): found[""]}
    assert set(found) == set(wanted)
    assert_same(found, wanted)


def test_all_are_tidy(folder):
    """Runs after the others: what they wrote."""
    paths = sorted(folder.glob("*.py"))
    assert_tidy(*paths)


def test_without_a_form(tmp_path):
    net = net_of(next(case for case in TESTED if case.type in WITHOUT))
    with pytest.raises(UnsupportedError, match="no form in plain PyTorch") as caught:
        written(net, tmp_path)
    assert caught.value.layer == "l"
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_refused():
    writers()
    with pytest.raises(ValueError, match="two writers"):
        writes(ReLU)(lambda layer, at: None)
