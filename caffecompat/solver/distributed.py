"""Workers: several processes that train together, each with a copy of the net and its own part of the records.

Source of the rules: Caffe's `parallel.cpp`. Every process takes `batch_size` records per pass, the gradients' mean over
the processes is applied at the solver's rate, and what is learned without gradients (BatchNorm's statistics) starts
equal and stays each process's own; the first one's are saved.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from caffecompat.errors import CaffeCompatError, WorkerError
from caffecompat.net import Net, Outputs
from caffecompat.solver.group import Group
from caffecompat.solver.links import connect
from caffecompat.solver.meeting import STORE, backend, initialise, joining, share_cores, stated
from caffecompat.solver.watch import Lost, Watch

# How long processes wait for each other in a run: the first one may be testing for hours. `Watch` notices an end.
FOREVER = timedelta(days=30)
# Seconds for the news of an end to come in after a connection broke, or after an error that others may have too.
NEWS = 3.0
ECHO = 0.5
MAX_TOLD = 8192


def join() -> Group:
    """The processes that this one was started to train with: `Workers` under torchrun, else it trains alone.

    Raises:
        CaffeCompatError: the others cannot be joined.
    """
    return Group() if os.environ.get("WORLD_SIZE", "1") in ("", "1") else Workers()


class Workers(Group):
    """One of several processes that train together, over gloo on CPUs and over NCCL on GPUs.

    It takes what torchrun states in the environment: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
    MASTER_PORT; or the process group that the program has made by `torch.distributed.init_process_group`. Unless
    OMP_NUM_THREADS is set, the processes of a machine share its cores.

    Where one of the processes ends before its time, all others raise `WorkerError` within seconds; one that is caught
    in a wait, or does not end after that error, is ended with status 1.

    Raises:
        UsageError: the environment does not say who trains together.
        UnsupportedError: this PyTorch cannot do it.
        CaffeCompatError: the others cannot be joined.
    """

    def __init__(self) -> None:
        self._owner = not (dist.is_available() and dist.is_initialized())
        if self._owner:
            self.rank, self.world = stated("RANK"), stated("WORLD_SIZE")
            initialise(self.rank, self.world)
        else:
            self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.local_rank = stated("LOCAL_RANK", self.rank)
        share_cores(stated("LOCAL_WORLD_SIZE", self.world))
        self._failed = self._closed = False
        self._ddp: DistributedDataParallel | None = None
        self._learned: list[nn.Parameter] = []
        with joining(self.rank):
            control = dist.new_group(backend="gloo", timeout=FOREVER)
            self._control = control if isinstance(control, dist.ProcessGroup) else None
            links = connect(self.rank, self.world, os.environ.get("MASTER_ADDR", ""), self._tell)
            self._gradients = dist.new_group(backend=backend(), timeout=FOREVER)
        self._watch = Watch(self.rank, links, quiet=STORE in os.environ)
        atexit.register(self._at_exit)

    # --- what the solver asks for

    def start(self, net: Net) -> None:
        """Give all processes the parameters of the first, and make ready to average gradients."""
        with self.together():
            self._compare(net)
            device = net.learnable[0].tensor.device
            if device.type == "cuda":
                torch.cuda.set_device(device)
            for tensor in (*net.parameters(), *net.buffers()):
                if tensor.numel():
                    self._take_first(tensor)
            self._learned = [tensor for tensor in net.parameters() if tensor.requires_grad]
            if self._learned:
                passes = _Pass(net, self._learned)
                self._ddp = DistributedDataParallel(passes, process_group=self._gradients, init_sync=False)
            if self.rank:
                # Dropout is to draw other numbers than in the first process.
                torch.manual_seed((torch.initial_seed() + self.rank) % 2**63)

    def run(self, net: Net) -> tuple[Tensor, Outputs]:
        """One pass forward; the loss, whose gradients are averaged over the processes, and the outputs."""
        if self._ddp is None or not torch.is_grad_enabled():
            return super().run(net)
        loss, outputs = self._ddp()
        if self._ddp.require_backward_grad_sync:
            loss = _reaching(loss, self._learned)
        return loss, outputs

    def last(self, last: bool) -> AbstractContextManager[None]:
        """Around each pass of an iteration: gradients are averaged in the last one."""
        return nullcontext() if last or self._ddp is None else self._ddp.no_sync()

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; the same number, to the last bit, in all of them."""
        return sum(self._all(value)) / self.world

    def same(self, value: int) -> int:
        """The number that the first process has. The others wait for it, however long it takes."""
        number = torch.tensor([value])
        with self.together():
            dist.broadcast(number, 0, group=self._control)
        return int(number)

    def greatest(self, value: int) -> int:
        """The greatest of the numbers that the processes have."""
        return int(max(self._all(value)))

    def tell(self, text: str) -> str:
        """The text that the first process has, of at most 8 KiB."""
        with self.together():
            return self._tell(text)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around what the processes do together: where one of them fails, all end.

        Raises:
            WorkerError: another process has ended.
        """
        try:
            yield
        except BaseException as error:
            if self._failed:
                raise
            self._failed = True
            broken = _is_connection(error)
            lost = self._watch.within(NEWS if broken else 0.0)
            if broken or (lost is not None and not isinstance(error, CaffeCompatError)):
                raise self._lost(lost) from error
            if not isinstance(error, WorkerError):
                self._fail(error)
            raise

    def check(self) -> None:
        """Asked now and then while one process works and the others wait.

        Raises:
            WorkerError: another process has ended.
        """
        if self._watch.lost is not None:
            self._failed = True
            raise self._lost(self._watch.lost)

    def close(self) -> None:
        """Part from the others."""
        if self._closed:
            return
        error = sys.exc_info()[1]
        if error is not None and not self._failed:
            # Called in a `finally`, on the way of an error that was not raised within `together`.
            self._failed = True
            self._fail(error)
        self._closed = True
        atexit.unregister(self._at_exit)
        self._watch.close(left=not self._failed)
        self._ddp = None
        if self._owner:
            with suppress(RuntimeError, ValueError):
                dist.destroy_process_group()

    # --- how it is done

    def _all(self, value: float) -> list[float]:
        """The numbers of all processes, by rank."""
        values = [torch.zeros(1, dtype=torch.float64) for _ in range(self.world)]
        with self.together():
            dist.all_gather(values, torch.tensor([value], dtype=torch.float64), group=self._control)
        return [each.item() for each in values]

    def _tell(self, text: str) -> str:
        data = text.encode(errors="surrogateescape")[:MAX_TOLD].ljust(MAX_TOLD, b"\0")
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(buffer, 0, group=self._control)
        return bytes(buffer.tolist()).rstrip(b"\0").decode(errors="surrogateescape")

    def _compare(self, net: Net) -> None:
        """Check that all processes train the same net.

        Raises:
            CaffeCompatError: one of them has another.
        """
        text = json.dumps([[item.layer.spec.name, item.index, list(item.tensor.shape)] for item in net.learnable])
        own = torch.tensor([int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")])
        all_of = [torch.zeros_like(own) for _ in range(self.world)]
        dist.all_gather(all_of, own, group=self._control)
        others = [str(rank) for rank, one in enumerate(all_of) if int(one) != int(all_of[0])]
        if others:
            raise CaffeCompatError(
                f"the net of worker {', '.join(others)} has other parameters than that of worker 0",
                hint="all machines must have the same prototxts and options",
            )

    @torch.no_grad()
    def _take_first(self, tensor: Tensor) -> None:
        """Give a tensor the values that it has in the first process."""
        values = tensor.detach().contiguous()
        dist.broadcast(values, 0, group=self._gradients)
        if values.data_ptr() != tensor.data_ptr():
            tensor.copy_(values)

    def _lost(self, lost: Lost | None) -> WorkerError:
        """The error for a process that has ended, or for a connection that broke for reasons unknown."""
        if lost is not None:
            return self._watch.error(lost)
        if self._watch.left:
            others = ", ".join(map(str, sorted(self._watch.left)))
            return WorkerError(
                f"worker {others} left, and worker {self.rank} still needs it",
                hint="all processes must make the same number of iterations, and close their solvers after that",
            )
        return WorkerError(
            "the connection between the workers broke", hint="resume from the last snapshot once the network is well"
        )

    def _fail(self, error: BaseException) -> None:
        """Tell the others of an error that is this process's own; the first one tells the user."""
        told = self._watch.fail(error)
        if isinstance(error, CaffeCompatError):
            error.told = told
            if self.rank == 0:
                # What all found at once is told once, though each adds records of its own.
                own = str(error).partition("\n")[0]
                told_by = self._watch.causes(ECHO).items()
                others = sorted(item for item in told_by if item[1].partition("\n")[0] != own)
                lines = [f"worker {rank}: {text}" for rank, text in others[:1]]
                if others[1:]:
                    lines.append(f"other errors of workers {', '.join(str(rank) for rank, _ in others[1:])}")
                error.hint = "\n  ".join([*([error.hint] if error.hint else []), *lines]) or None

    def _at_exit(self) -> None:
        """The program ends without having closed this; by an error, if the interpreter has shown one."""
        self._failed |= hasattr(sys, "last_value")
        self.close()


class _Pass(nn.Module):
    """A pass as a module of its own: DistributedDataParallel sees where it begins, and what is learned.

    It sees no buffers, which it would keep equal.
    """

    def __init__(self, net: Net, learned: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.learned = nn.ParameterList(learned)
        self._nets = (net,)

    def forward(self) -> tuple[Tensor, Outputs]:
        net = self._nets[0]
        outputs = net()
        return net.loss(outputs), outputs


def _reaching(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The loss, its graph led to the parameters that it does not reach: with gradients of zero, as Caffe's diffs have.

    DistributedDataParallel waits for the gradient of every parameter. Which ones a loss reaches may depend on the
    records, and differ from process to process.
    """
    reached: set[int] = set()
    seen = set()
    nodes = [loss.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            reached.add(id(node.variable))  # type: ignore[attr-defined]
        nodes += [following for following, _ in node.next_functions]
    for parameter in parameters:
        if id(parameter) not in reached:
            # The sum of no values.
            loss = loss + parameter.reshape(-1)[:0].sum()
    return loss


def _is_connection(error: BaseException) -> bool:
    """Whether an error is that of a broken connection: gloo has no class of its own for it."""
    if isinstance(error, CaffeCompatError) or not isinstance(error, RuntimeError):
        return False
    text = str(error)
    return isinstance(error, dist.DistError) or any(word in text for word in ("gloo", "NCCL", "nccl", "ProcessGroup"))
