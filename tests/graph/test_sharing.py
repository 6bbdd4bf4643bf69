"""Parameters shared by name."""

from __future__ import annotations

import pytest

from caffecompat.errors import GraphError
from caffecompat.formats import parse_net
from caffecompat.graph import ParamRef, build_graph


def params(*layers: str, dialect: str = "ssd", type_: str = "InnerProduct") -> list[tuple[ParamRef, ...]]:
    text = 'layer { name: "d" type: "Input" top: "x" }\n' + "\n".join(
        f'layer {{ name: "l{i}" type: "{type_}" bottom: "x" top: "y{i}" {text} }}' for i, text in enumerate(layers)
    )
    return [spec.params for spec in build_graph(parse_net(text, "n.prototxt"), dialect=dialect).layers[1:]]


def test_without_names():
    assert params("", "param { lr_mult: 0 } param { decay_mult: 2 }") == [
        (),
        (ParamRef(lr_mult=0.0), ParamRef(decay_mult=2.0)),
    ]


def test_the_first_layer_owns():
    found = params('param { name: "w" } param { name: "b" }', 'param { name: "b" } param { name: "w" }')
    assert [[ref.owner for ref in refs] for refs in found] == [[None, None], [(1, 1), (1, 0)]]


def test_sharing_within_a_layer():
    assert [ref.owner for ref in params('param { name: "w" } param { name: "w" }')[0]] == [None, (1, 0)]


def test_three_sharers_have_one_owner():
    assert [refs[0].owner for refs in params(*3 * ['param { name: "w" }'])] == [None, (1, 0), (1, 0)]


def test_permissive():
    found = params('param { name: "w" share_mode: STRICT }', 'param { name: "w" share_mode: PERMISSIVE }')
    assert [refs[0].permissive for refs in found] == [False, True]


def test_multipliers_come_from_whoever_states_them():
    found = params('param { name: "w" lr_mult: 3 }', 'param { name: "w" decay_mult: 0 }', 'param { name: "w" }')
    assert {(refs[0].lr_mult, refs[0].decay_mult) for refs in found} == {(3.0, 0.0)}


def test_multipliers_that_agree():
    found = params(*2 * ['param { name: "w" lr_mult: 0.1 decay_mult: 0.2 }'])
    assert found[0][0].lr_mult == found[1][0].lr_mult == pytest.approx(0.1)


@pytest.mark.parametrize("field", ["lr_mult", "decay_mult"])
def test_multipliers_that_differ(field):
    match = rf"n.prototxt:4:1: layer .l2.: shared param 'w' has {field} 2 here and 1.5 before"
    with pytest.raises(GraphError, match=match):
        params(f'param {{ name: "w" {field}: 1.5 }}', 'param { name: "w" }', f'param {{ name: "w" {field}: 2 }}')


def test_batch_norm_of_old_files_by_dialect():
    """The SSD branch drops the three entries of an old BatchNorm layer, BVLC keeps their names."""
    old = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    assert params(old, old, type_="BatchNorm") == [(), ()]
    bvlc = params(old, old, dialect="bvlc", type_="BatchNorm")
    assert [ref.owner for ref in bvlc[1]] == [(1, 0), (1, 1), (1, 2)]
    assert {(ref.lr_mult, ref.decay_mult) for refs in bvlc for ref in refs} == {(0.0, 0.0)}


def test_owner_counts_layers_of_the_phase_only():
    text = (
        'layer { name: "d" type: "Input" top: "x" } '
        'layer { name: "t" type: "InnerProduct" bottom: "x" top: "t" param { name: "w" } include { phase: TRAIN } } '
        'layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" } } '
        'layer { name: "b" type: "InnerProduct" bottom: "x" top: "b" param { name: "w" } } '
    )
    owners = {
        phase: [s.params[0].owner for s in build_graph(parse_net(text), phase).layers[1:]]
        for phase in ("TRAIN", "TEST")
    }
    assert owners == {"TRAIN": [None, (1, 0), (1, 0)], "TEST": [None, (1, 0)]}
