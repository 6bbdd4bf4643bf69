"""Where a solver computes, and memory of its own for the parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from caffecompat.errors import CaffeCompatWarning, UsageError, quoted
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.graph.analysis import analyse
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2
from caffecompat.solver.group import Group
from caffecompat.solver.layout import plan_layout, weight_format
from caffecompat.solver.options import Options, Precision

# Multiply-adds of a pass forward, below which one thread is faster than two.
SMALL = 5_000_000


def device_of(parsed: ParsedSolver, options: Options, group: Group) -> torch.device:
    """The device of a run: that of the options, else what `solver_mode` and `device_id` say.

    `solver_mode: GPU`, the schema's default, without a GPU warns and takes the CPU.

    Raises:
        UsageError: the device that is named is not there.
    """
    if options.device is not None:
        try:
            device = torch.device(options.device)
        except RuntimeError as error:
            raise UsageError(f"expected a device such as cpu or cuda:0, got {quoted(options.device)}") from error
        if device.type == "cuda" and device.index is None and group.world > 1:
            device = torch.device("cuda", group.local_rank)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(
                f"{quoted(options.device)}: {torch.cuda.device_count()} GPUs are here", hint="--device cpu needs none"
            )
        return device
    if parsed.message.solver_mode == caffe_pb2.SolverParameter.CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if parsed.message.HasField("solver_mode"):
            warnings.warn("solver_mode is GPU, and no GPU is here: the CPU is used", CaffeCompatWarning, stacklevel=2)
        return torch.device("cpu")
    index = int(parsed.message.device_id) if group.world == 1 else group.local_rank
    if index >= torch.cuda.device_count():
        raise UsageError(f"GPU {index} is wanted; {torch.cuda.device_count()} GPUs are here")
    return torch.device("cuda", index)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """What passes of that precision run in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def is_small(net: Net) -> bool:
    """Whether a pass of the net is so little work that several threads wait for each other longer than they work."""
    parameters = [[tuple(blob.shape) for blob in layer.blobs] for layer in net.layers]
    costs = analyse(net.graph, net.blob_shapes, parameters)
    batch = max((net.blob_shapes[key][0] for key in net.graph.inputs if net.blob_shapes[key]), default=1)
    return batch * sum(cost.multiply_adds for cost in costs) < SMALL


@contextmanager
def threads(single: bool) -> Iterator[None]:
    """Compute on one thread if asked to; as before afterwards."""
    before = torch.get_num_threads()
    if single:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def own_parameters(net: Net, device: torch.device, trained: Net | None = None, *, plan: bool = True) -> None:
    """Move the net to the device, its parameters in aligned memory of their own: no view of a weight file is left.

    Args:
        net: the net.
        device: where it is to be.
        trained: a net there that it shares parameters with; those stay as they are.
        plan: whether parameters and blobs lie as is fastest, on the CPU, or as in Caffe.
    """
    if plan and device.type == "cpu":
        plan_layout(net)
    shared = {blob.data_ptr() for layer in trained.layers for blob in layer.blobs} if trained is not None else set()
    with torch.no_grad():
        for layer in net.layers:
            for index, blob in enumerate(layer.blobs):
                if layer.spec.param(index).owner is None and blob.data_ptr() not in shared:
                    layer.set_blob(index, blob.detach().clone(memory_format=weight_format(layer, index)))
    net.to(device)
