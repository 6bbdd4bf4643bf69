"""What a written module computes is compared with the net before its files appear."""

from __future__ import annotations

import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.export import export
from caffecompat.export.source import exporting, registry, verifying
from caffecompat.layers.neurons import ReLU
from tests.export.test_pt2 import detector
from tests.export.test_source import conv, input_layer, relu, small
from tests.support import make_net

CHOOSING = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "prob" type: "Softmax" bottom: "data" top: "prob" }
layer { name: "best" type: "ArgMax" bottom: "prob" top: "best" }
"""


def told_of(net, path):
    told = []
    export(net, path, tell=told.append)
    return [text.partition(" differs by ")[0].removeprefix("in PyTorch, without this package, ") for text in told]


@pytest.mark.slow
def test_what_layers_that_choose_have_read_is_compared_too(tmp_path):
    assert told_of(make_net(CHOOSING), tmp_path / "m.py") == ["data", "prob", "best, from the same values,"]
    (output,) = (key.name for key in detector().graph.outputs)
    assert f"{output}, from the same values," in told_of(detector(), tmp_path / "d.py")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".py", ".py", ".safetensors", ".safetensors"]


def test_a_module_that_is_not_the_net_is_not_written(tmp_path, monkeypatch):
    """An old file stays as it was; without verifying it is written nevertheless."""
    (tmp_path / "m.py").write_text("old")
    registry.writers()
    monkeypatch.setitem(registry._WRITERS, ReLU, lambda layer, at: at.function("relu", "F.relu({0}) + 1e-4"))
    with pytest.raises(
        CaffeCompatError, match="the model is not the net: blob 'conv' differs by .* is allowed"
    ) as caught:
        export(small(), tmp_path / "m.py")
    assert "--no-verify" in caught.value.hint
    assert (tmp_path / "m.py").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.py"]
    export(small(), tmp_path / "m.py", verify=False)
    assert "1e-4" in (tmp_path / "m.py").read_text()


@pytest.mark.parametrize(("built", "passed"), [(1, 2), (2, 3), (10, 2)])
def test_one_pass_of_few_images_proves_any_number(built, passed, tmp_path, monkeypatch):
    """Code that keeps as many images as the net was built for is found out."""
    net = make_net(input_layer(built, 3, 6, 6) + conv("conv", "data", 4) + relu("conv"))
    shapes, run = [], verifying._run_apart
    monkeypatch.setattr(
        verifying,
        "_run_apart",
        lambda path, values, names: shapes.extend(v.shape for v in values) or run(path, values, names),
    )
    registry.writers()
    kept = f"F.relu({{0}}).reshape({built}, -1, 6, 6)"
    monkeypatch.setitem(registry._WRITERS, ReLU, lambda layer, at: at.function("relu", kept))
    with pytest.raises(CaffeCompatError, match="cannot be run|is not the net"):
        export(net, tmp_path / "m.py")
    assert shapes == [(passed, 3, 6, 6)]


def test_without_what_a_module_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "can_verify", lambda: False)
    with pytest.warns(CaffeCompatWarning, match="not verified: safetensors is not installed"):
        export(small(), tmp_path / "m.py")
    assert (tmp_path / "m.py").exists()


def test_the_process_knows_nothing_of_this_package(tmp_path, monkeypatch):
    """Nor of the environment's folders, where somebody else's modules may lie."""
    (tmp_path / "math.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    registry.writers()
    writer = registry._WRITERS[ReLU]

    def importing(layer, at):
        writer(layer, at)
        at.items[-1].template = '__import__("caffecompat") or ' + at.items[-1].template
        at.items[-1].make = None

    monkeypatch.setitem(registry._WRITERS, ReLU, importing)
    with pytest.raises(CaffeCompatError, match="cannot be run: .*(import of caffecompat halted|No module named)"):
        export(small(), tmp_path / "m.py")
    assert [path.name for path in tmp_path.iterdir()] == ["math.py"]


def test_a_layer_that_is_not_called_by_name():
    """Where a function is not called once for each layer, what they read is not compared, but the outputs are."""
    assert verifying._read(make_net(CHOOSING), "softmax/", {}) == {}
