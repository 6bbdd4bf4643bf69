"""The update rule of a solver, with what it asks for nets that are re-parameterized: fields of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from caffecompat.errors import CaffeCompatError, SchemaError, UnsupportedError, WeightsError, located
from caffecompat.formats import read_weights
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.formats.paths import find
from caffecompat.net import Net
from caffecompat.net.weights import Assigned
from caffecompat.solver.group import Group
from caffecompat.solver.kernel_decay import find_blocks
from caffecompat.solver.options import Options
from caffecompat.solver.rep_optimizer import begin, find_scaled
from caffecompat.solver.updates import Update, make_update

DECAY, SCALES = "equivalent_kernel_decay", "rep_optimizer_scales"


def reparameterized_update(
    parsed: ParsedSolver, net: Net, assigned: Sequence[Assigned], options: Options, group: Group
) -> Update:
    """The update rule of a solver.

    With `rep_optimizer_scales` the kernels that no weight file gave are changed to what its branches begin with.

    Args:
        parsed: the solver.
        net: the net that it trains, its parameters filled.
        assigned: what weight files did to it.
        options: how the solver is run.
        group: the processes that train together.

    Raises:
        CaffeCompatError: a setting is not known, makes no sense, or does not fit the net.
    """
    update = _decaying(parsed, net, group) if parsed.message.equivalent_kernel_decay else None
    update = update or make_update(parsed, net.learnable)
    if parsed.message.HasField(SCALES):
        _scale(parsed, net, assigned, options, update)
    return update


def _decaying(parsed: ParsedSolver, net: Net, group: Group) -> Update:
    """The rule that leaves the decay of the blocks' kernels to the blocks."""
    param = parsed.message
    blocks = find_blocks(net)

    def refused(message: str, hint: str, kind: type[CaffeCompatError] = SchemaError) -> CaffeCompatError:
        return located(kind(f"{DECAY}: {message}", hint=hint), parsed.position(DECAY, 0))

    if not blocks:
        hint = "a block sums a square and a 1x1 convolution of one blob; leave the field out for other nets"
        raise refused("the net has no block of branches", hint)
    if param.regularization_type != "L2":
        raise refused(f"expected L2 as regularization_type, got {param.regularization_type}", "leave one of them out")
    if group.world > 1:
        hint = "train in one process, or leave the field out"
        raise refused("each process has statistics of its own, and would decay otherwise", hint, UnsupportedError)
    kernels = {id(layer) for block in blocks for layer in block.convolutions}
    kept = [replace(one, decay_mult=0.0) if _is_kernel(one.index, one.layer, kernels) else one for one in net.learnable]
    update = make_update(parsed, kept)
    for block in blocks:
        wide, point = (param.weight_decay * layer.spec.param(0).decay_mult for layer in block.convolutions)
        update.before.append(partial(block.decay, wide, point))
    return update


def _is_kernel(index: int, layer: object, kernels: set[int]) -> bool:
    return index == 0 and id(layer) in kernels


def _scale(parsed: ParsedSolver, net: Net, assigned: Sequence[Assigned], options: Options, update: Update) -> None:
    """Scale gradients before each update, and let kernels begin accordingly."""
    param = parsed.message
    where = parsed.position(SCALES, 0)

    def refused(message: str, hint: str | None, kind: type[CaffeCompatError] = WeightsError) -> CaffeCompatError:
        return located(kind(f"{SCALES}: {message}", hint=hint), where)

    if param.type not in ("SGD", "Nesterov"):
        hint = "other rules hardly feel a factor of the gradient"
        raise refused(f"expected type SGD or Nesterov, got {param.type}", hint, SchemaError)
    if param.clip_gradients >= 0:
        hint = "clipping takes the norm of gradients that are not scaled yet: leave it out"
        raise refused("clip_gradients cannot go with it", hint, SchemaError)
    try:
        path = find(param.rep_optimizer_scales, "weights", root=options.root, beside=parsed.file)
    except CaffeCompatError as error:
        raise located(error, where) from None
    scaled = find_scaled(net, read_weights(path), refused)
    begin(scaled, {name for one in assigned for name in one.matched})
    # Before the decay, which is not scaled.
    update.before[:0] = [one.scale for one in scaled]
