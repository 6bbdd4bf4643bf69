"""What upgrading a file changes, in sentences."""

from __future__ import annotations

from caffecompat.formats.parsed import ParsedNet, ParsedSolver
from caffecompat.formats.solver_upgrade import net_inside, nets_inside
from caffecompat.formats.upgrade import TRANSFORM_FIELDS, TRANSFORM_LAYERS, old_batch_norms
from caffecompat.formats.upgrade_v0 import PADDING, is_v0
from caffecompat.schema import LAYER_TYPES, caffe_pb2


def upgrade_notes(parsed: ParsedNet | ParsedSolver) -> list[str]:
    """What `upgrade_net` or `upgrade_solver` changes in a file that was read without upgrading; empty if nothing."""
    message = parsed.message
    if isinstance(message, caffe_pb2.NetParameter):
        return _net_notes(message)
    return _solver_notes(parsed)  # type: ignore[arg-type]


def _net_notes(message: caffe_pb2.NetParameter) -> list[str]:
    notes = []
    if is_v0(message):
        padding = sum(layer.layer.type == PADDING for layer in message.layers)
        folded = f"; {padding} padding layers went into the layers that read them" if padding else ""
        notes.append(f"{len(message.layers)} V0 layers became layers of today's form{folded}")
    elif message.layers:
        notes.append(f"{len(message.layers)} V1 layers became layers of today's form")
    for layer in message.layers:
        moved = _moved_fields(layer)
        if moved:
            notes.append(f'layer "{layer.name}": {", ".join(moved)} moved into transform_param')
    if message.input:
        sizes = "input_shape" if message.input_shape else "input_dim" if message.input_dim else "no size stated"
        notes.append(f"inputs {', '.join(message.input)} ({sizes}) became an Input layer")
    found = old_batch_norms(message)
    if found:
        notes.append(f"lr_mult and decay_mult of the statistics became 0 in {len(found)} BatchNorm layers")
    return notes


def _moved_fields(layer: caffe_pb2.V1LayerParameter) -> list[str]:
    for name, param in TRANSFORM_LAYERS.items():
        if layer.type == caffe_pb2.V1LayerParameter.LayerType.Value(LAYER_TYPES[name].v1):
            return [field for field in TRANSFORM_FIELDS if getattr(layer, param).HasField(field)]
    return []


def _solver_notes(parsed: ParsedSolver) -> list[str]:
    notes = ["solver_type became type"] if parsed.message.HasField("solver_type") else []
    for name, count in nets_inside(parsed.message):
        for index in range(count):
            notes += [f"{name}: {note}" for note in _net_notes(net_inside(parsed, name, index).message)]
    return notes
