"""Rules about the learning rate: that its policy has what it needs, and that it neither vanishes nor grows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.listeners import number
from caffecompat.solver.policies import BY_ACCURACY, LearningRate

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import Subject

LR_FIELDS = Rule("lr-fields", "warning", "A policy without its fields takes 0 for them: step without gamma ends at 0.")
LR_UNUSED = Rule("lr-unused", "info", "A field that the lr_policy does not read does nothing.")
LR_STEPS = Rule("lr-steps", "warning", "stepvalue must ascend, and steps lie before max_iter, to be taken.")
LR_VANISHES = Rule("lr-vanishes", "warning", "With a rate that has come down to nothing iterations are wasted.")
LR_GROWS = Rule("lr-grows", "warning", "A rate that grows diverges.")
RULES = (LR_FIELDS, LR_UNUSED, LR_STEPS, LR_VANISHES, LR_GROWS)

# What each policy reads.
FIELDS = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power",),
    "sigmoid": ("gamma", "stepsize"),
    "plateau": ("gamma", "plateau_winsize"),
    BY_ACCURACY: ("gamma", "plateau_winsize", "plateau_output"),
}
ALL_FIELDS = ("gamma", "power", "stepsize", "stepvalue", "plateau_winsize", "plateau_output")
# What comes of a field that is missing, or 0.
ZERO = {
    ("step", "gamma"): "the rate is 0 from the first step on",
    ("multistep", "gamma"): "the rate is 0 from the first step on",
    ("plateau", "gamma"): "the rate is 0 from the first step on",
    (BY_ACCURACY, "gamma"): "the rate is 0 from the first step on",
    ("exp", "gamma"): "the rate is 0 from iteration 1 on",
    ("inv", "gamma"): "the rate stays as it is",
    ("inv", "power"): "the rate stays as it is",
    ("poly", "power"): "the rate stays as it is",
    ("sigmoid", "gamma"): "the rate is half of base_lr throughout",
    ("sigmoid", "stepsize"): "the rate turns at iteration 0",
    ("multistep", "stepvalue"): "the rate stays as it is",
    ("plateau", "plateau_winsize"): "the rate stays as it is",
}
# A rate of so small a part of the first one learns nothing.
NOTHING = 1e-7
# The part of a run that may be spent so: poly's last iterations are.
END = 0.05
SAMPLES = 1000


def check(subject: Subject) -> Iterator[Finding]:
    """The learning rate of a solver."""
    solver = subject.solver
    if solver is None or solver.message.lr_policy not in FIELDS:
        return
    missing = list(_missing(solver))
    yield from missing
    yield from _unused(solver)
    yield from _steps(solver)
    if not missing:
        yield from _course(solver)


def _missing(solver: ParsedSolver) -> Iterator[Finding]:
    policy = solver.message.lr_policy
    for field in FIELDS[policy]:
        if not getattr(solver.message, field) and (policy, field) in ZERO:
            stated = f"{field} is 0" if _stated(solver, field) else f"no {field} is stated"
            place = solver.position(field if _stated(solver, field) else "lr_policy", 0)
            yield LR_FIELDS.at(place, f'{stated} for lr_policy "{policy}": {ZERO[policy, field]}')


def _unused(solver: ParsedSolver) -> Iterator[Finding]:
    policy = solver.message.lr_policy
    for field in ALL_FIELDS:
        if field not in FIELDS[policy] and _stated(solver, field):
            text = f'{field} is stated, and lr_policy "{policy}" does not read it'
            yield LR_UNUSED.at(solver.position(field, 0), text)


def _stated(solver: ParsedSolver, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in solver.message.ListFields())


def _steps(solver: ParsedSolver) -> Iterator[Finding]:
    message = solver.message
    if message.lr_policy == "step" and message.stepsize >= message.max_iter > 0:
        text = f"stepsize {message.stepsize} is not below max_iter {message.max_iter}: the rate stays as it is"
        yield LR_STEPS.at(solver.position("stepsize", 0), text)
    if message.lr_policy != "multistep":
        return
    before = 0
    for index, value in enumerate(message.stepvalue):
        place = solver.position("stepvalue", index)
        if value <= before and index:
            text = f"stepvalue {value} follows {before}; they must ascend: the step is taken late"
            yield LR_STEPS.at(place, text)
        elif value > message.max_iter:
            yield LR_STEPS.at(place, f"stepvalue {value} is beyond max_iter {message.max_iter}: it is never reached")
        before = max(before, value)


def _course(solver: ParsedSolver) -> Iterator[Finding]:
    """How the rate goes over the run, looked at in a number of iterations."""
    last = solver.message.max_iter
    rates = list(_rates(solver))
    if not rates or solver.message.base_lr <= 0 or solver.message.lr_policy in ("plateau", BY_ACCURACY):
        # A plateau's rate follows the loss or the tests.
        return
    place = solver.position("lr_policy", 0)
    start = max(rate for _, rate in rates)
    at, end = rates[-1]
    grows = end > 2 * max(rates[0][1], NOTHING * start) and solver.message.lr_policy != "sigmoid"
    if grows or not math.isfinite(end):
        yield LR_GROWS.at(place, f"the rate grows from {number(rates[0][1])} to {number(end)} at iteration {at}")
        return
    low = [iteration for iteration, rate in rates if rate > NOTHING * start]
    nothing_from = low[-1] + 1 if low else 0
    if nothing_from < (1 - END) * last:
        text = f"from about iteration {nothing_from} of {last} on the rate is below {number(NOTHING * start)}"
        yield LR_VANISHES.at(place, f"{text}: nothing more is learnt")


def _rates(solver: ParsedSolver) -> Iterator[tuple[int, float]]:
    """The rate in some iterations, the first and the last among them."""
    try:
        policy = LearningRate(solver)
    except CaffeCompatError:
        return
    last = solver.message.max_iter
    places = {round(sample * (last - 1) / SAMPLES) for sample in range(SAMPLES + 1)} if last > 0 else set()
    for iteration in sorted(places):
        rate = _rate_at(policy, iteration)
        yield iteration, rate
        if not math.isfinite(rate):
            return


def _rate_at(policy: LearningRate, iteration: int) -> float:
    """The rate, infinite where it is no real number."""
    try:
        return policy.rate(iteration, 0.0, lambda _: None)
    except CaffeCompatError:
        return math.inf
