"""Which layers belong to a net: the recorded answers of the original, and each condition by itself."""

from __future__ import annotations

import pytest

from caffecompat.errors import GraphError, UsageError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.graph.rules import State, conditions, included, meets
from caffecompat.schema import caffe_pb2

PHASES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "a" type: "ReLU" bottom: "data" top: "a" include { phase: TRAIN } }
layer { name: "b" type: "ReLU" bottom: "data" top: "b" include { phase: TEST } }
layer { name: "c" type: "ReLU" bottom: "data" top: "c" include { stage: "deep" } }
layer { name: "d" type: "ReLU" bottom: "data" top: "d" include { min_level: 1 max_level: 2 } }
layer { name: "e" type: "ReLU" bottom: "data" top: "e" exclude { not_stage: "deep" } }
"""


# The layers that pycaffe listed for these rules, Split layers left out.
@pytest.mark.parametrize(
    ("phase", "level", "stages", "names"),
    [
        ("TRAIN", 0, [], "data a"),
        ("TRAIN", 1, [], "data a d"),
        ("TRAIN", 3, [], "data a"),
        ("TRAIN", 0, ["deep"], "data a c e"),
        ("TRAIN", 2, ["deep", "wide"], "data a c d e"),
        ("TEST", 0, [], "data b"),
        ("TEST", 1, [], "data b d"),
        ("TEST", 3, [], "data b"),
        ("TEST", 0, ["deep"], "data b c e"),
        ("TEST", 2, ["deep", "wide"], "data b c d e"),
    ],
)
def test_recorded(phase, level, stages, names):
    graph = build_graph(parse_net(PHASES), phase, level=level, stages=stages)
    assert " ".join(spec.name for spec in graph.layers) == names
    assert [layer.name for layer in graph.message.layer] == names.split()


def layer(text: str) -> caffe_pb2.LayerParameter:
    return parse_net(f"layer {{ {text} }}").message.layer[0]


@pytest.mark.parametrize(
    ("rule", "state", "met"),
    [
        ("", State("TEST"), True),
        ("phase: TEST", State("TEST"), True),
        ("phase: TRAIN", State("TEST"), False),
        ("min_level: 1", State("TEST", 0), False),
        ("min_level: 1", State("TEST", 1), True),
        ("max_level: 1", State("TEST", 1), True),
        ("max_level: 1", State("TEST", 2), False),
        ("min_level: -1", State("TEST", 0), True),
        ('stage: "a" stage: "b"', State("TEST", 0, frozenset("a")), False),
        ('stage: "a" stage: "b"', State("TEST", 0, frozenset("abc")), True),
        ('not_stage: "a" not_stage: "b"', State("TEST", 0, frozenset("b")), False),
        ('not_stage: "a"', State("TEST", 0, frozenset("b")), True),
        ('phase: TEST min_level: 1 stage: "a" not_stage: "b"', State("TEST", 1, frozenset("a")), True),
        ('phase: TEST min_level: 1 stage: "a" not_stage: "b"', State("TRAIN", 1, frozenset("a")), False),
    ],
)
def test_a_rule_asks_for_all_of_its_conditions(rule, state, met):
    assert meets(layer(f"include {{ {rule} }}").include[0], state) is met


def test_one_of_several_rules_is_enough():
    either = 'include { phase: TRAIN } include { stage: "a" }'
    assert included(layer(either), State("TEST", 0, frozenset("a")))
    assert not included(layer(either), State("TEST"))
    out = 'exclude { phase: TRAIN } exclude { stage: "a" }'
    assert not included(layer(out), State("TEST", 0, frozenset("a")))
    assert included(layer(out), State("TEST"))


def test_include_and_exclude_in_one_layer():
    text = 'layer { name: "d" type: "Input" top: "x" }\nlayer { name: "l" include { phase: TEST } exclude {} }'
    with pytest.raises(GraphError, match=r'n.prototxt:2:1: layer "l": .*both include and exclude'):
        build_graph(parse_net(text, "n.prototxt"))


def test_state_of_the_net():
    """Phase and level are the caller's, stages add up: so does Caffe for a net read from a file."""
    text = PHASES + 'state { phase: TRAIN level: 1 stage: "deep" }'
    assert [spec.name for spec in build_graph(parse_net(text)).layers] == ["data", "b", "c", "e"]
    text = PHASES.replace('stage: "deep"', 'stage: "deep" stage: "wide"') + 'state { stage: "deep" }'
    graph = build_graph(parse_net(text), stages=["wide"])
    assert [spec.name for spec in graph.layers] == ["data", "b", "c", "e"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("include { phase: TRAIN }", "only to phase TRAIN"),
        ('exclude { min_level: 1 not_stage: "s" }', "not to level 1 and above, no stage 's'"),
        ('include { max_level: 2 } include { stage: "s" }', "only to level 2 and below or stage 's'"),
        ("exclude {}", "not to every net"),
    ],
)
def test_conditions_in_words(rules, words):
    assert conditions(layer(rules)) == words


@pytest.mark.parametrize(
    "arguments", [{"phase": "test"}, {"phase": None}, {"dialect": "nvidia"}, {"stages": "deep"}, {"ignore_fields": "x"}]
)
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(UsageError):
        build_graph(parse_net(PHASES), **arguments)
