"""Learning rates, by the formulas of SGDSolver::GetLearningRate."""

from __future__ import annotations

import math

import pytest

from caffecompat.errors import SchemaError
from caffecompat.formats import parse_text
from caffecompat.schema import caffe_pb2
from caffecompat.solver.policies import LearningRate


def policy(text):
    return LearningRate(parse_text(text, caffe_pb2.SolverParameter))


def rates(text, iterations, losses=None):
    """The rates of so many iterations, and the lines of the log."""
    rate, lines = policy(text), []
    losses = losses or [1.0] * iterations
    return [rate.rate(number, losses[number], lines.append) for number in range(iterations)], lines


FORMULAS = {
    'lr_policy: "fixed"': lambda i: 0.5,
    'lr_policy: "step" gamma: 0.25 stepsize: 7': lambda i: 0.5 * 0.25 ** (i // 7),
    'lr_policy: "exp" gamma: 0.75': lambda i: 0.5 * 0.75**i,
    'lr_policy: "inv" gamma: 0.125 power: 0.75': lambda i: 0.5 / math.exp(0.75 * math.log(1 + 0.125 * i)),
    'lr_policy: "poly" power: 2 max_iter: 40': lambda i: 0.5 * (1 - i / 40) * (1 - i / 40),
    'lr_policy: "poly" max_iter: 40': lambda i: 0.5,
    'lr_policy: "sigmoid" gamma: -0.25 stepsize: 15': lambda i: 0.5 / (1 + math.exp(0.25 * (i - 15))),
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 4 stepvalue: 9 stepvalue: 20': lambda i: (
        0.5 * 0.5 ** ((i >= 4) + (i >= 9) + (i >= 20))
    ),
}


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas(text):
    found, _ = rates(f"base_lr: 0.5 {text}", 35)
    assert found == pytest.approx([FORMULAS[text](number) for number in range(35)], rel=1e-6)


def test_steps_are_counted_and_logged():
    text = 'base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 3'
    rate, lines = policy(text), []
    assert [rate.rate(number, 1, lines.append) for number in range(5)] == [1, 1, 0.5, 0.25, 0.25]
    assert rate.current_step == 2
    assert lines == ["MultiStep Status: Iteration 2, step = 1", "MultiStep Status: Iteration 3, step = 2"]
    rate = policy('base_lr: 1 lr_policy: "step" gamma: 0.5 stepsize: 3')
    rate.rate(7, 1, lines.append)
    assert rate.current_step == 2


def test_multistep_makes_one_step_an_iteration():
    """As Caffe does where a state without its step is resumed, or two stepvalues are equal."""
    rate = policy('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 2 stepvalue: 3')
    assert [rate.rate(number, 1, lambda text: None) for number in (50, 51, 52, 53)] == [0.5, 0.25, 0.125, 0.125]


def test_plateau_steps_when_no_new_minimum_comes():
    """Worked through by hand: windows of 2, 3 and 1 iterations after the last minimum or step."""
    text = 'base_lr: 1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 2 plateau_winsize: 3 plateau_winsize: 1 '
    losses = [5, 4, 4, 4, 3, 6, 6, 6, 6, 6, 2, 2, 2]
    #  minimum 0  1        4                  10
    #  step             3           7           11
    found, lines = rates(text, 13, losses)
    steps = [0, 0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]
    assert found == [0.5**step for step in steps]
    assert [line for line in lines if "step" in line] == [
        "Plateau Status: Iteration 3, step = 1",
        "Plateau Status: Iteration 7, step = 2",
        "Plateau Status: Iteration 8, step = 3",
    ]
    assert len(lines) == 3
    rate = policy(text)
    for number, loss in enumerate(losses):
        rate.rate(number, loss, lambda text: None)
    assert (rate.current_step, rate.minimum_loss, rate.iter_last_event) == (3, 2, 10)


def test_plateau_shows_its_minimum_where_the_loss_is_shown():
    text = 'base_lr: 1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 50 display: 4'
    _, lines = rates(text, 13, [3, 2, 2, 2, 2, 2, 2, 2, 2, 1.5, 2, 2, 2])
    shown = "Plateau Status: Iteration {}, current minimum_loss = {}"
    assert lines == [shown.format(0, 3), shown.format(4, 2), shown.format(12, 1.5)]


def test_a_plateau_without_windows_stays():
    assert rates('base_lr: 1 lr_policy: "plateau" gamma: 0.5', 9)[0] == [1] * 9


def test_poly_ends_at_zero():
    rate = policy('base_lr: 1 lr_policy: "poly" power: 1 max_iter: 4')
    assert [rate.rate(number, 1, lambda text: None) for number in (3, 4, 5, 400)] == [0.25, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base_lr: 1", "lr_policy '' is not known"),
        ('lr_policy: "multi_step"', "lr_policy 'multi_step' is not known"),
        ('lr_policy: "step"', 'lr_policy "step" needs stepsize above 0, got 0'),
        ('lr_policy: "poly"', 'lr_policy "poly" needs max_iter above 0, got 0'),
        ('lr_policy: "step" stepsize: -3', "got -3"),
    ],
)
def test_policies_that_cannot_be(text, message):
    with pytest.raises(SchemaError) as caught:
        policy(f"\n\n{text}")
    assert message in caught.value.message
    if "lr_policy" in text:
        assert caught.value.line == 3
    if "multi" in text:
        assert caught.value.hint == 'did you mean "multistep"?'


@pytest.mark.parametrize(
    ("text", "iteration"),
    [
        ('lr_policy: "exp" gamma: 10', 400),
        ('lr_policy: "exp" gamma: 3', 10**9),
        ('lr_policy: "inv" gamma: -0.5 power: 0.75', 3),
        ('lr_policy: "inv" gamma: -0.5 power: 0.75', 2),
        ('lr_policy: "poly" power: -1 max_iter: 5', 5),
        ('lr_policy: "sigmoid" gamma: nan', 1),
        ('lr_policy: "fixed" base_lr: inf', 0),
    ],
)
def test_rates_that_are_no_numbers(text, iteration):
    rate = policy(f"base_lr: 1 {text}" if "base_lr" not in text else text)
    with pytest.raises(SchemaError) as caught:
        rate.rate(iteration, 1, lambda line: None)
    assert f"gives no finite rate at iteration {iteration}" in caught.value.message
    assert "gamma" in caught.value.hint
