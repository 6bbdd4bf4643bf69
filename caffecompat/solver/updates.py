"""Update rules with Caffe's arithmetic, as optimizers of PyTorch: the rate multiplies before the momentum.

Source of the rules: `ComputeUpdateValue` of Caffe's solvers. What Caffe does before, to all of them alike: clipping and
dividing by iter_size are `Update.prepare`; then each update begins with the weight decay.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.errors import SchemaError, UsageError, WeightsError, did_you_mean, located, quoted
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.net.learnable import Learnable

Tensors = list[Tensor]


class Update(torch.optim.Optimizer):
    """An update rule.

    Args:
        params: parameters, or groups of them with `lr_mult` and `decay_mult`.
        lr: the learning rate; each group's is that times its `lr_mult`.
        momentum: Caffe's `momentum` (Adam's beta1, AdaDelta's decay).
        momentum2: Adam's beta2.
        delta: what keeps divisions from zero.
        rms_decay: RMSProp's decay.
        weight_decay: multiplies each group's `decay_mult`.
        regularization: "L2" or "L1".
        clip_gradients: the largest norm of all gradients together; negative for none.

    Attributes:
        slots: how many values the rule remembers for each parameter.
        iteration: how many updates were made.
        order: the parameters in the order in which snapshots keep their history.
        before: what changes the gradients before each update, once they are clipped and divided.
        gradient_norm: the norm of all gradients of the last update together, where it was computed.
    """

    slots = 1
    # Whether a parameter of rate 0 keeps a history of zeros whatever its decay.
    linear = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        momentum2: float = 0.999,
        delta: float = 1e-8,
        rms_decay: float = 0.99,
        weight_decay: float = 0.0,
        regularization: str = "L2",
        clip_gradients: float = -1.0,
    ) -> None:
        self.base_lr = lr
        self.momentum, self.momentum2 = momentum, momentum2
        self.delta, self.rms_decay = delta, rms_decay
        self.weight_decay, self.regularization = weight_decay, regularization
        self.clip_gradients = clip_gradients
        self.iteration = 0
        self.before: list[Callable[[], None]] = []
        self.gradient_norm: float | None = None
        super().__init__(params, {"lr": lr, "lr_mult": 1.0, "decay_mult": 1.0})
        for group in self.param_groups:
            group["lr"] = lr * group["lr_mult"]
        self.order: Tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        self._moving: set[int] = set()

    @abstractmethod
    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        """Change the parameters of one group and what is remembered of them, in place."""

    def _decay_and_rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float, decay: float) -> None:
        """Add the decay to the gradients, then change the parameters by the rule."""
        if decay:
            towards = params if self.regularization == "L2" else list(torch._foreach_sign(params))
            torch._foreach_add_(grads, towards, alpha=decay)
        self._rule(params, grads, slots, lr)

    def apply(self, rate: float, iteration: int) -> None:
        """Make the update of an iteration.

        Args:
            rate: the learning rate, before `lr_mult`.
            iteration: how many updates were made before.
        """
        self.iteration = iteration
        for group in self.param_groups:
            group["lr"] = rate * group["lr_mult"]
        self.step()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Add the decay to the gradients that are there and make one update, at each group's `lr`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for change in self.before:
            change()
        for group in self.param_groups:
            params = [tensor for tensor in group["params"] if self._updated(tensor, group)]
            if params:
                grads = [gradient_of(tensor) for tensor in params]
                decay = self.weight_decay * group["decay_mult"]
                self._decay_and_rule(params, grads, self._remembered(params), group["lr"], decay)
        self.iteration += 1
        return loss

    @torch.no_grad()
    def prepare(self, iter_size: int = 1, say: Callable[[str], None] = lambda text: None) -> None:
        """Clip the summed gradients, then divide them by `iter_size`.

        Args:
            iter_size: how many passes the gradients are the sum of.
            say: told of clipping in the words of Caffe's log.
        """
        grads = [tensor.grad for tensor in self.order if tensor.grad is not None]
        if self.clip_gradients >= 0 and grads:
            norm = self.gradient_norm = float(torch.nn.utils.get_total_norm(grads))
            if norm > self.clip_gradients:
                scale = self.clip_gradients / norm
                say(
                    f"Gradient clipping: scaling down gradients (L2 norm {norm:.6g} > {self.clip_gradients:.6g}) "
                    f"by scale factor {scale:.6g}"
                )
                torch._foreach_mul_(grads, scale)
        if iter_size > 1 and grads:
            torch._foreach_mul_(grads, 1 / iter_size)

    def _updated(self, tensor: Tensor, group: dict[str, Any]) -> bool:
        """Whether the rule can change the parameter or what is remembered of it."""
        if group["lr_mult"] or id(tensor) in self._moving:
            return True
        return not self.linear and bool(self.weight_decay * group["decay_mult"])

    def _remembered(self, params: Tensors) -> list[Tensors]:
        """What is remembered of these parameters, zeros at first: a list for each slot, on the parameters' device."""
        for tensor in params:
            state = self.state[tensor]
            for slot in map(str, range(self.slots)):
                if slot not in state:
                    state[slot] = torch.zeros_like(tensor, requires_grad=False)
                elif state[slot].device != tensor.device:
                    state[slot] = state[slot].to(tensor.device)
        return [[self.state[tensor][str(slot)] for tensor in params] for slot in range(self.slots)]

    # --- what snapshots keep

    def history(self) -> Tensors:
        """What is remembered, in the order of Caffe's solver states: all parameters' first slot, then their second."""
        return [tensor for slot in self._remembered(self.order) for tensor in slot]

    @torch.no_grad()
    def load_history(self, history: Sequence[npt.NDArray[np.float32]]) -> None:
        """Remember what a snapshot kept.

        Raises:
            WeightsError: other numbers or shapes of arrays than this rule keeps.
        """
        own = self.history()
        if len(history) != len(own):
            raise WeightsError(
                f"expected {len(own)} arrays of history, got {len(history)}",
                hint="the state is of another net, or of another type of solver",
            )
        for index, (target, source) in enumerate(zip(own, history, strict=True)):
            shape = tuple(target.shape)
            if source.shape != shape and source.shape != (1,) * (4 - len(shape)) + shape:
                raise WeightsError(
                    f"expected shape {shape} for array {index} of the history, got {source.shape}",
                    hint="the state is of another net",
                )
            target.copy_(torch.from_numpy(np.array(source, np.float32)).reshape(shape))
        self._moving = {id(self.order[i % len(self.order)]) for i, array in enumerate(history) if np.any(array)}


def gradient_of(tensor: Tensor) -> Tensor:
    """The gradient of a parameter; zeros where no pass came by it, as Caffe's diff has."""
    if tensor.grad is None:
        tensor.grad = torch.zeros_like(tensor)
    return tensor.grad


class SGD(Update):
    """Stochastic gradient descent: `h = momentum * h + lr * g; p -= h`."""

    linear = True

    def _decay_and_rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float, decay: float) -> None:
        if not self.momentum or self.regularization != "L2" or not all(map(_lie_alike, params, grads, slots[0])):
            super()._decay_and_rule(params, grads, slots, lr, decay)
            return
        # One way through memory instead of four. PyTorch's momentum takes 1 - dampening of the gradient, which is the
        # rate here, and its own rate comes after: 1.
        torch._fused_sgd_(
            params,
            grads,
            slots[0],
            weight_decay=decay,
            momentum=self.momentum,
            lr=1.0,
            dampening=1.0 - lr,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        torch._foreach_mul_(slots[0], self.momentum)
        torch._foreach_add_(slots[0], grads, alpha=lr)
        torch._foreach_sub_(params, slots[0])


def _lie_alike(param: Tensor, grad: Tensor, remembered: Tensor) -> bool:
    """Whether three tensors on the CPU have their values in the same places, without gaps; fused kernels do not ask."""
    return (
        param.device.type == "cpu"
        and param.stride() == grad.stride() == remembered.stride()
        and (param.is_contiguous() or (param.dim() == 4 and param.is_contiguous(memory_format=torch.channels_last)))
    )


class Nesterov(Update):
    """Nesterov's momentum: a step of `(1 + momentum) * h - momentum * h_before`."""

    linear = True

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        torch._foreach_add_(params, slots[0], alpha=self.momentum)
        torch._foreach_mul_(slots[0], self.momentum)
        torch._foreach_add_(slots[0], grads, alpha=lr)
        torch._foreach_sub_(params, slots[0], alpha=1 + self.momentum)


class AdaGrad(Update):
    """AdaGrad: `h += g**2; p -= lr * g / (sqrt(h) + delta)`."""

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        torch._foreach_addcmul_(slots[0], grads, grads)
        _divided(params, grads, slots[0], self.delta, lr)


class RMSProp(Update):
    """RMSProp: `h = rms_decay * h + (1 - rms_decay) * g**2; p -= lr * g / (sqrt(h) + delta)`."""

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        torch._foreach_mul_(slots[0], self.rms_decay)
        torch._foreach_addcmul_(slots[0], grads, grads, 1 - self.rms_decay)
        _divided(params, grads, slots[0], self.delta, lr)


class AdaDelta(Update):
    """AdaDelta: steps as large as the root mean square of steps before, over that of the gradients."""

    slots = 2

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        squares, steps = slots
        torch._foreach_mul_(squares, self.momentum)
        torch._foreach_addcmul_(squares, grads, grads, 1 - self.momentum)
        ratio = torch._foreach_add(steps, self.delta)
        torch._foreach_div_(ratio, torch._foreach_add(squares, self.delta))
        torch._foreach_sqrt_(ratio)
        torch._foreach_mul_(ratio, grads)
        torch._foreach_mul_(steps, self.momentum)
        torch._foreach_addcmul_(steps, ratio, ratio, 1 - self.momentum)
        torch._foreach_sub_(params, ratio, alpha=lr)


class Adam(Update):
    """Adam, with its corrections in the rate: `p -= lr * correction * m / (sqrt(v) + delta)`."""

    slots = 2

    def _rule(self, params: Tensors, grads: Tensors, slots: list[Tensors], lr: float) -> None:
        means, squares = slots
        torch._foreach_mul_(means, self.momentum)
        torch._foreach_add_(means, grads, alpha=1 - self.momentum)
        torch._foreach_mul_(squares, self.momentum2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - self.momentum2)
        count = self.iteration + 1
        correction = math.sqrt(1 - self.momentum2**count) / (1 - self.momentum**count)
        _divided(params, means, squares, self.delta, lr * correction)


def _divided(params: Tensors, steps: Tensors, squares: Tensors, delta: float, lr: float) -> None:
    """`p -= lr * step / (sqrt(square) + delta)`."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, delta)
    torch._foreach_addcdiv_(params, steps, roots, -lr)


RULES: dict[str, type[Update]] = {
    "SGD": SGD,
    "Nesterov": Nesterov,
    "AdaGrad": AdaGrad,
    "RMSProp": RMSProp,
    "AdaDelta": AdaDelta,
    "Adam": Adam,
}


def make_update(parsed: ParsedSolver, learnables: Sequence[Learnable]) -> Update:
    """The update rule of a solver, for the parameters of its net.

    Args:
        parsed: the solver.
        learnables: the net's parameters, in Caffe's order.

    Raises:
        SchemaError: a type or setting that is not known, or that the type cannot use.
        UsageError: there are no parameters.
    """
    param = parsed.message
    rule = RULES.get(param.type)

    def refused(message: str, field: str, hint: str | None = None) -> Exception:
        return located(SchemaError(message, hint=hint), parsed.position(field, 0))

    if rule is None:
        hint = did_you_mean(param.type, RULES) or f"type is one of {', '.join(RULES)}"
        raise refused(f"solver type {quoted(param.type)} is not known", "type", hint)
    if param.regularization_type not in ("L1", "L2"):
        raise refused(
            f"expected regularization_type L1 or L2, got {quoted(param.regularization_type)}", "regularization_type"
        )
    if rule in (AdaGrad, RMSProp) and param.momentum:
        raise refused(f"{param.type} has no momentum, got {param.momentum:.6g}", "momentum", "take it out")
    if rule is RMSProp and not 0 <= param.rms_decay < 1:
        raise refused(f"expected rms_decay from 0 to below 1, got {param.rms_decay:.6g}", "rms_decay")
    if rule is Adam:
        for field in ("momentum", "momentum2"):
            value = getattr(param, field)
            if not 0 <= value < 1:
                raise refused(f"expected {field} from 0 to below 1 for Adam, got {value:.6g}", field)
    if not learnables:
        raise UsageError("the train net has no parameters", file=parsed.file, hint="there is nothing to train")
    groups: dict[tuple[float, float], Tensors] = {}
    for learnable in learnables:
        groups.setdefault((learnable.lr_mult, learnable.decay_mult), []).append(learnable.tensor)
    update = rule(
        [{"params": params, "lr_mult": lr, "decay_mult": decay} for (lr, decay), params in groups.items()],
        param.base_lr,
        momentum=param.momentum,
        momentum2=param.momentum2,
        delta=param.delta,
        rms_decay=param.rms_decay,
        weight_decay=param.weight_decay,
        regularization=param.regularization_type,
        clip_gradients=param.clip_gradients,
    )
    update.order = [learnable.tensor for learnable in learnables]
    return update
