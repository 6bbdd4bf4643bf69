"""Which nets a solver trains and tests, and in which state: Solver::InitTrainNet and Solver::InitTestNets."""

from __future__ import annotations

import pytest

from caffecompat.errors import CaffeCompatError, FormatError, GraphError
from caffecompat.formats import read_solver
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Options
from caffecompat.solver.nets import planned_test_nets, planned_train_net


def net_text(name, more=""):
    """A net of layers for each phase, stage and level."""
    rules = {
        "train": "include { phase: TRAIN }",
        "test": "include { phase: TEST }",
        "a": 'include { stage: "a" }',
        "b": 'include { stage: "b" }',
        "no_a": 'include { not_stage: "a" }',
        "high": "include { min_level: 2 }",
    }
    layers = [f'layer {{ name: "{key}" type: "DummyData" top: "{key}" {rule} }}' for key, rule in rules.items()]
    return "\n".join([f'name: "{name}"', *layers, more])


@pytest.fixture
def solver(tmp_path):
    """Make a solver from text; nets one.prototxt, two.prototxt and stated.prototxt lie beside it."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.prototxt").write_text(net_text(name))
    (tmp_path / "stated.prototxt").write_text(net_text("stated", 'state { phase: TEST level: 3 stage: "a" }'))

    def make(text):
        path = tmp_path / "solver.prototxt"
        path.write_text(text)
        return read_solver(path)

    return make


def layers(planned, **options):
    graph = planned.graph(Options(**options))
    return [graph.name, graph.phase, *(spec.name for spec in graph.layers)]


INLINE = "{ " + net_text("inline") + " }"
TESTED = "test_interval: 5 test_iter: 3 "


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ('net: "one.prototxt"', "net file: one.prototxt", "one"),
        ('train_net: "two.prototxt"', "train_net file: two.prototxt", "two"),
        (f"net_param {INLINE}", "net_param", "inline"),
        (f"train_net_param {INLINE}", "train_net_param", "inline"),
    ],
)
def test_the_net_to_train(text, source, name, solver):
    planned = planned_train_net(solver(text), Options())
    assert planned.source == source
    assert layers(planned) == [name, "TRAIN", "train", "no_a"]


def test_old_nets_are_upgraded_inside_a_solver_too(solver):
    text = 'net_param { layers { name: "old" type: DUMMY_DATA top: "x" } }'
    assert layers(planned_train_net(solver(text), Options())) == ["", "TRAIN", "old"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("base_lr: 1", "got none of them"),
        ('net: "one.prototxt" train_net: "two.prototxt"', "got net and train_net"),
        (f'net: "one.prototxt" net_param {INLINE}', "got net and net_param"),
        (f'train_net: "one.prototxt" train_net_param {INLINE} net: "two.prototxt"', "net and train_net and"),
        ('test_net: "one.prototxt"', "got none of them"),
    ],
)
def test_no_net_or_several(text, found, solver):
    parsed = solver(text)
    with pytest.raises(GraphError) as caught:
        planned_train_net(parsed, Options())
    assert "expected one of net, net_param, train_net, train_net_param, " in caught.value.message
    assert found in caught.value.message
    assert caught.value.file == parsed.file
    assert caught.value.hint


def test_the_state_of_the_train_net(solver):
    """First the net's own, then the solver's: later numbers win, stages add up; then the flags of `caffe train`."""
    assert layers(planned_train_net(solver('net: "stated.prototxt"'), Options())) == [
        "stated",
        "TEST",
        "test",
        "a",
        "high",
    ]
    text = 'net: "stated.prototxt" train_state { phase: TRAIN level: 1 stage: "b" }'
    planned = planned_train_net(solver(text), Options())
    assert layers(planned) == ["stated", "TRAIN", "train", "a", "b"]
    expected = caffe_pb2.NetState(phase=caffe_pb2.TRAIN, level=1, stage=["a", "b"])
    assert planned.state == expected
    flags = planned_train_net(solver('net: "one.prototxt"'), Options(level=2, stages=("b",)))
    assert layers(flags) == ["one", "TRAIN", "train", "b", "no_a", "high"]
    # The net's message is not changed by it.
    assert planned.parsed.message.state.stage == ["a"]


# --- test nets


def test_there_is_none_unless_it_is_asked_for(solver):
    assert planned_test_nets(solver('net: "one.prototxt" test_interval: 5'), Options()) == []
    assert planned_test_nets(solver('net: "one.prototxt"'), Options()) == []


def test_the_net_of_both(solver):
    for text, source in (('net: "one.prototxt"', "net file: one.prototxt"), (f"net_param {INLINE}", "net_param")):
        (planned,) = planned_test_nets(solver(text + TESTED), Options())
        assert planned.source == source
        assert layers(planned)[1:] == ["TEST", "test", "no_a"]


def test_several_in_caffes_order(solver):
    """Those of test_net_param, then of test_net, then of net, for what test_iter is left."""
    text = f"""
    net: "one.prototxt" test_interval: 5 test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4 test_iter: 5
    test_net: "two.prototxt" test_net: "stated.prototxt" test_net_param {INLINE}
    """
    found = planned_test_nets(solver(text), Options(level=2, stages=("a",)))
    assert [planned.source for planned in found] == [
        "test_net_param",
        "test_net file: two.prototxt",
        "test_net file: stated.prototxt",
        "net file: one.prototxt",
        "net file: one.prototxt",
    ]
    # The flags of `caffe train` are not theirs.
    assert [layers(planned)[0] for planned in found] == ["inline", "two", "stated", "one", "one"]
    assert layers(found[4]) == ["one", "TEST", "test", "no_a"]
    assert layers(found[2]) == ["stated", "TEST", "test", "a", "high"]


def test_each_has_its_state(solver):
    text = """
    net: "one.prototxt" test_interval: 5 test_iter: 1 test_iter: 2
    test_state { stage: "a" } test_state { stage: "b" level: 2 }
    """
    first, second = planned_test_nets(solver(text), Options())
    assert layers(first) == ["one", "TEST", "test", "a"]
    assert layers(second) == ["one", "TEST", "test", "b", "no_a", "high"]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        (
            'train_net: "one.prototxt" test_net: "two.prototxt"\ntest_interval: 5',
            "expected a test_iter for each of 1 test nets, got 0",
            1,
        ),
        (
            'net: "one.prototxt" test_net: "two.prototxt" test_net: "two.prototxt" test_interval: 5\ntest_iter: 1',
            "expected a test_iter for each of 2 test nets, got 1",
            2,
        ),
        (
            'train_net: "one.prototxt" test_net: "two.prototxt" test_interval: 5\n\ntest_iter: 1 test_iter: 2',
            "expected a test_iter for each of 1 test nets, got 2",
            3,
        ),
        (
            'train_net: "one.prototxt" test_interval: 5\ntest_iter: 1',
            "expected a test_iter for each of 0 test nets, got 1",
            2,
        ),
        (
            'net: "one.prototxt" test_interval: 5 test_iter: 1 test_iter: 1\ntest_state { }',
            "expected no test_state or one for each of 2 test nets, got 1",
            2,
        ),
        (
            'net: "one.prototxt" test_interval: 5 test_iter: 1\ntest_state { } test_state { }',
            "expected no test_state or one for each of 1 test nets, got 2",
            2,
        ),
        ('net: "one.prototxt"\ntest_iter: 1', "expected a test_interval above 0 where test_iter is given, got 0", 2),
        ('net: "one.prototxt"\ntest_iter: 1 test_interval: -2', "got -2", 2),
    ],
)
def test_test_nets_that_do_not_fit_together(text, message, line, solver):
    parsed = solver(text)
    with pytest.raises(GraphError) as caught:
        planned_test_nets(parsed, Options())
    assert message in caught.value.message
    assert (caught.value.file, caught.value.line) == (parsed.file, line)


# --- files


def test_files_start_in_the_root_or_beside_the_solver(solver, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "one.prototxt").write_text(net_text("in the root"))
    assert layers(planned_train_net(solver('net: "one.prototxt"'), Options(root=root)))[0] == "in the root"
    assert layers(planned_train_net(solver('net: "two.prototxt"'), Options(root=root)))[0] == "two"


@pytest.mark.parametrize("field", ["net", "train_net"])
def test_a_file_that_is_not_there(field, solver):
    parsed = solver(f'\n{field}: "none.prototxt"')
    with pytest.raises(FormatError) as caught:
        planned_train_net(parsed, Options())
    assert f"{field} 'none.prototxt' is not there" in caught.value.message
    assert (caught.value.file, caught.value.line) == (parsed.file, 2)


def test_a_test_net_that_is_not_there(solver):
    text = f'net: "one.prototxt" {TESTED} test_iter: 1\ntest_net: "one.prototxt"\ntest_net: "none.prototxt"'
    with pytest.raises(FormatError) as caught:
        planned_test_nets(solver(text), Options())
    assert "test_net 'none.prototxt' is not there" in caught.value.message
    assert caught.value.line == 3


def test_faults_in_a_net_inside_name_its_line_in_the_solver(solver):
    inside = 'layer { name: "x" type: "DummyData" top: "x" }\nlayer { name: "y" type: "Relu" bottom: "x" top: "y" }'
    text = f"base_lr: 1\nnet_param {{\n{inside}\n}}"
    parsed = solver(text)
    with pytest.raises(CaffeCompatError) as caught:
        planned_train_net(parsed, Options()).graph(Options())
    assert (caught.value.file, caught.value.line, caught.value.layer) == (parsed.file, 4, "y")


def test_rules_that_leave_no_layer(solver, tmp_path):
    (tmp_path / "empty.prototxt").write_text('layer { name: "x" type: "DummyData" top: "x" include { phase: TRAIN } }')
    parsed = solver(f'net: "empty.prototxt" {TESTED}')
    assert layers(planned_train_net(parsed, Options())) == ["", "TRAIN", "x"]
    (planned,) = planned_test_nets(parsed, Options())
    with pytest.raises(GraphError, match="leave them out in phase TEST"):
        planned.graph(Options())
