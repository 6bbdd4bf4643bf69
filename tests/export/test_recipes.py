"""Recipes: found by name or path; what is no recipe is refused."""

from __future__ import annotations

import pytest

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, FormatError, UnsupportedError, UsageError, WeightsError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe, list_recipes

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
"""
DOUBLE = '''"""Twice the weights."""
def convert(net, weights, times="2"):
    return net, {name: [blob * float(times) for blob in blobs] for name, blobs in weights.items()}
'''


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET.replace("num_output: 2", 'num_output: 2 weight_filler { type: "constant" value: 3 }'))
    return caffecompat.load(path)


def apply(net, path, options=None):
    return apply_recipe(net, path, options or {}, Preprocessing())


def test_those_that_come_along():
    assert {"bgr_to_rgb", "fc_to_conv"} <= {recipe.name for recipe in list_recipes()}
    assert all(recipe.summary.endswith(".") for recipe in list_recipes())
    assert find_recipe("fc_to_conv").name == "fc_to_conv.py"


def test_unknown_name():
    with pytest.raises(UsageError, match="no recipe 'fc_to_con'") as caught:
        find_recipe("fc_to_con")
    assert "fc_to_conv" in caught.value.hint


def test_unknown_path(tmp_path):
    with pytest.raises(UsageError, match="no recipe at"):
        find_recipe(str(tmp_path / "gone.py"))


def test_own_recipe(net, tmp_path):
    path = tmp_path / "double.py"
    path.write_text(DOUBLE)
    new, _ = apply(net, find_recipe(str(path)))
    assert new.layer("fc").blobs[0].tolist() == [[6.0, 6.0], [6.0, 6.0]]
    assert net.layer("fc").blobs[0].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    new, _ = apply(net, path, {"times": "5"})
    assert new.layer("fc").blobs[0].tolist() == [[15.0, 15.0], [15.0, 15.0]]


@pytest.mark.parametrize("text", ["def convert(:", "import a_module_that_is_not_there", "x = 1", "x = y", "\0"])
def test_no_recipe(net, tmp_path, text):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(FormatError, match="expected a recipe") as caught:
        apply(net, path)
    assert caught.value.file == str(path)


def test_a_recipe_that_fails(net, tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("def convert(net, weights):\n    return weights['gone']\n")
    with pytest.raises(CaffeCompatError, match="the recipe failed: KeyError: 'gone'"):
        apply(net, path)


def test_a_recipe_that_returns_something_else(net, tmp_path):
    path = tmp_path / "swapped.py"
    path.write_text("def convert(net, weights):\n    return weights, net\n")
    with pytest.raises(CaffeCompatError, match="expected `convert` to return a NetParameter and a dict, got dict and"):
        apply(net, path)


def test_blobs_for_no_layer(net, tmp_path):
    path = tmp_path / "misnamed.py"
    path.write_text("def convert(net, weights):\n    return net, {'fc9': weights['fc']}\n")
    with pytest.raises(WeightsError, match="blobs for layers that the new net lacks: fc9") as caught:
        apply(net, path)
    assert caught.value.file == str(path)


def test_two_layers_of_one_name(tmp_path):
    path = tmp_path / "twins.prototxt"
    path.write_text(NET + NET[NET.index('layer { name: "fc"') :].replace('top: "fc"', 'top: "fc2"'))
    recipe = tmp_path / "double.py"
    recipe.write_text(DOUBLE)
    with pytest.raises(UnsupportedError, match="two layers with parameters"):
        apply(caffecompat.load(path), recipe)
