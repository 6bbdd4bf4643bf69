"""The options of the dense CRF, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caffecompat.errors import UsageError

if TYPE_CHECKING:
    from caffecompat.data.segmentation.crf import Crf

F = TypeVar("F", bound=Callable[..., Any])
# Beyond these, float32 has no sums.
_LEAST, _MOST = 1e-6, 1e6
_NAMES = ("crf_iterations", "crf_bilateral", "crf_smoothness")


def crf_options(function: F) -> F:
    """`--crf` and its settings, for `crf_of`."""
    options: list[Callable[[F], F]] = [
        click.option("--crf", is_flag=True, help="Let a dense CRF make the labels follow the picture's edges."),
        click.option("--crf-iterations", type=click.IntRange(0), metavar="N", help="Of its mean field (10)."),
        click.option(
            "--crf-bilateral",
            metavar="W,P,C",
            callback=_numbers,
            help="Its kernel of place and colour: weight, pixels, colour steps (4,49,5).",
        ),
        click.option(
            "--crf-smoothness",
            metavar="W,P",
            callback=_numbers,
            help="Its kernel of the place: weight, pixels (3,3).",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def crf_of(options: dict[str, Any]) -> Crf | None:
    """The dense CRF that the options, which are taken out, ask for; None without `--crf`.

    Raises:
        UsageError: settings without `--crf`.
    """
    from caffecompat.data.segmentation.crf import Crf

    asked = options.pop("crf")
    given = {name: value for name in _NAMES if (value := options.pop(name)) is not None}
    if given and not asked:
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} goes with --crf")
    settings = {name.removeprefix("crf_"): value for name, value in given.items()}
    return Crf(**settings) if asked else None


def _numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """A weight from 0, and standard deviations above 0; neither beyond all measure."""
    if value is None:
        return None
    count = str(option.metavar).count(",") + 1
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    good = len(numbers) == count and all(0 <= number <= _MOST for number in numbers)
    if not good or min(numbers[1:]) < _LEAST:
        shown = {2: "3,3", 3: "4,49,5"}[count]
        raise click.BadParameter(
            f"{value!r} is not {count} numbers such as {shown}: a weight, then widths above 0, none beyond a million"
        )
    return numbers
