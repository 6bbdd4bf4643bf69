"""Every layer type as PyTorch source, by itself: what the file computes is what the layer does."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffecompat
from caffecompat.errors import UnsupportedError
from caffecompat.export.source.registry import WITHOUT, writers, writes
from caffecompat.layers import registered
from caffecompat.layers.base import meanings_of
from caffecompat.layers.neurons import ReLU
from caffecompat.schema import LAYER_TYPES
from caffecompat.schema.plugins import BUILT_IN, module_of
from tests.export.onnx_cases import assert_same, inputs_of, net_of, run_net
from tests.export.source_cases import assert_tidy, run_source, written
from tests.export.test_onnx_layers import IMAGE, TESTED
from tests.layers.type_cases import CASES as ALL
from tests.layers.type_cases import ROIS, Case, fixed, of, positive

MORE = [
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 3 }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 3 pool: AVE }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 pool: AVE }", (of(2, 3, 6, 8),)),
    Case("Pooling", "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }", (of(2, 3, 5, 7),)),
    Case("Scale", "scale_param { bias_term: true }", (IMAGE,)),
    Case("Pooling", "pooling_param { global_pooling: true }", (IMAGE,), tops=2),
    Case("Pooling", "pooling_param { global_pooling: true pool: STOCHASTIC }", (positive(2, 3, 6, 8),)),
    Case("SPP", "spp_param { pyramid_height: 3 pool: STOCHASTIC }", (positive(2, 3, 6, 8),)),
    Case("Scale", "scale_param { bias_term: true }", (IMAGE,)),
    Case("Interp", "interp_param { zoom_factor: 3 }", (IMAGE,)),
    Case("BN", "bn_param { bn_mode: LEARN }", (IMAGE,), tops=3),
    Case("LSTM", "recurrent_param { num_output: 3 expose_hidden: true }",
         (of(3, 2, 4, 2), fixed((3, 2), 0, 1, 1, 1, 0, 1), of(2, 5), of(1, 2, 3), of(1, 2, 3)), tops=3),
    Case("RNN", "recurrent_param { num_output: 3 expose_hidden: true }",
         (of(3, 2), fixed((3, 2), 0, 1, 1, 1, 0, 1), of(1, 2, 3)), tops=2),
    Case("Proposal", "proposal_param { ratio: 1 scale: [2, 4] base_size: 4 min_size: 20 post_nms_topn: 9 "
         "nms_thresh: 0.5 }", (of(2, 4, 4, 5), of(2, 8, 4, 5), fixed((1, 4), 64, 80, 1.5, 0.5)), tops=2),
    Case("ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 pad_ratio: 0.3 }",
         (of(2, 4, 5, 6), ROIS)),
    Case("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.4 output_dim: 2 group_size: 3 }",
         (of(2, 18, 7, 9), ROIS)),
    Case("Resize", "resize_param { is_pyramid_test: true out_height_scale: 0.7 out_width_scale: 1.3 }",
         (of(2, 3, 10, 10),)),
    Case("Resample", "resample_param { height: 3 width: 2 type: LINEAR }", (of(2, 3, 10, 7),)),
    Case("Resample", "resample_param { height: 3 width: 9 type: CUBIC antialias: false }", (of(2, 3, 10, 7),)),
]  # fmt: skip
# Plug-ins have no form in ONNX.
PLUGINS = [case for case in ALL if case.type in BUILT_IN and case.phase == "TEST"]
CASES = [case for case in (*TESTED, *(case for case in ALL if case.type == "PSROIPooling"), *PLUGINS, *MORE)
         if case.type not in WITHOUT]  # fmt: skip


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
    net = net_of(next(case for case in ALL if case.type == "EuclideanLoss"))
    with pytest.raises(UnsupportedError, match="no form in plain PyTorch here: it is a loss") as caught:
        written(net, tmp_path)
    assert caught.value.layer == "l"
    assert not list(tmp_path.iterdir())


def test_every_type_is_written_or_known_not_to_be():
    """The documentation's list is made of the same reasons."""
    known = writers()
    own = [type_ for type_ in registered() if module_of(type_) is None or type_ in BUILT_IN]
    types = [type_ for type_ in own if not LAYER_TYPES[type_].data]
    for type_ in types:
        has = {meaning in known for meaning in meanings_of(type_)}
        assert has == {type_ not in WITHOUT}, type_
    assert set(types) >= WITHOUT.keys()
    rows = [f"| {type_} | {reason} |" for type_, reason in sorted(WITHOUT.items())]
    page = (Path(caffecompat.__file__).parents[1] / "docs" / "source.md").read_text()
    assert "\n".join(["| type | why |", "|---|---|", *rows]) in page


def test_a_second_writer_is_refused():
    writers()
    with pytest.raises(ValueError, match="two writers"):
        writes(ReLU)(lambda layer, at: None)
