"""Old solvers to today's form: `solver_type: ADAM` becomes `type: "Adam"`, and nets inside are upgraded.

Source of the rules: Caffe's `upgrade_proto.cpp`. Caffe leaves a net inside a solver as it is, so that its old
layers are passed over without a word; here it is upgraded as a file would be.
"""

from __future__ import annotations

from dataclasses import replace

from caffecompat.errors import SchemaError, located, quoted
from caffecompat.formats.parsed import Node, Parsed, ParsedNet, ParsedSolver
from caffecompat.formats.upgrade import upgrade_net
from caffecompat.schema import caffe_pb2

SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


def upgrade_solver(parsed: ParsedSolver) -> ParsedSolver:
    """The same solver in today's form; `parsed` itself if it is of that form already.

    Raises:
        SchemaError: both `type` and `solver_type`, or a net inside that cannot be upgraded.
        GraphError: a net inside that cannot be upgraded.
    """
    if parsed.message.HasField("solver_type"):
        parsed = _upgrade_type(parsed)
    for name, count in nets_inside(parsed.message):
        for index in range(count):
            parsed = _upgrade_net(parsed, name, index)
    return parsed


def nets_inside(message: caffe_pb2.SolverParameter) -> list[tuple[str, int]]:
    """The fields that hold nets, and how many each holds."""
    return [
        ("net_param", int(message.HasField("net_param"))),
        ("train_net_param", int(message.HasField("train_net_param"))),
        ("test_net_param", len(message.test_net_param)),
    ]


def net_inside(parsed: ParsedSolver, name: str, index: int = 0) -> ParsedNet:
    """A net inside a solver, with its own places and unknown fields.

    Args:
        parsed: the solver.
        name: "net_param", "train_net_param" or "test_net_param".
        index: which of them, where the field is repeated.
    """
    message: caffe_pb2.NetParameter = (
        parsed.message.test_net_param[index] if name == "test_net_param" else getattr(parsed.message, name)
    )
    unknown = tuple(replace(field, path=field.path[2:]) for field in parsed.unknown if field.path[:2] == (name, index))
    return Parsed(message, parsed.root.find(name, index), unknown, parsed.file)


def _upgrade_type(parsed: ParsedSolver) -> ParsedSolver:
    old = parsed.message
    if old.HasField("type"):
        error = SchemaError(
            f"both type {quoted(old.type)} and solver_type {_type_name(old)} are given",
            hint="solver_type is the old form of type; leave it out",
        )
        raise located(error, parsed.position("solver_type", 0))
    message = caffe_pb2.SolverParameter()
    message.CopyFrom(old)
    message.type = SOLVER_TYPES[_type_name(old)]
    message.ClearField("solver_type")
    fields = {name: nodes for name, nodes in parsed.root.fields.items() if name != "solver_type"}
    fields["type"] = parsed.root.fields.get("solver_type", [])
    return replace(parsed, message=message, root=Node(parsed.root.line, parsed.root.column, fields))


def _type_name(message: caffe_pb2.SolverParameter) -> str:
    return caffe_pb2.SolverParameter.SolverType.Name(message.solver_type)


def _upgrade_net(parsed: ParsedSolver, name: str, index: int) -> ParsedSolver:
    old = net_inside(parsed, name, index)
    new = upgrade_net(old)
    if new is old:
        return parsed
    message = caffe_pb2.SolverParameter()
    message.CopyFrom(parsed.message)
    target = message.test_net_param[index] if name == "test_net_param" else getattr(message, name)
    target.CopyFrom(new.message)
    fields = dict(parsed.root.fields)
    nodes = list(fields.get(name, []))
    nodes[index : index + 1] = [new.root]
    fields[name] = nodes
    others = tuple(field for field in parsed.unknown if field.path[:2] != (name, index))
    unknown = others + tuple(replace(field, path=(name, index, *field.path)) for field in new.unknown)
    root = Node(parsed.root.line, parsed.root.column, fields)
    return replace(parsed, message=message, root=root, unknown=unknown)
