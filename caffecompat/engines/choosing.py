"""Engine "auto": all that are installed are measured, and the fastest that computes what the net does is taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from torch import Tensor

from caffecompat.engines.base import Engine, Settings
from caffecompat.engines.caching import keep, key_of, recall
from caffecompat.engines.comparing import apart, reference
from caffecompat.engines.measuring import measure
from caffecompat.engines.registry import ENGINES, EngineRow
from caffecompat.engines.report import Report, Trial
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.net import Net

# An engine is measured for so many passes, or so many seconds.
PASSES, SECONDS = 15, 1.5

Tell = Callable[[str], None]


def choose(net: Net, settings: Settings, tell: Tell, *, cache: bool) -> Engine:
    """The fastest engine.

    Args:
        net: the net, in evaluation.
        settings: those of the engine.
        tell: is called with a sentence on what was measured.
        cache: take the choice from disk, or keep it there.

    Raises:
        UnsupportedError: no engine can be made, or none holds the tolerance.
    """
    key = key_of(net, settings) if cache else ""
    known = recall(key) if cache else None
    if known is not None:
        engine = _recalled(net, settings, known)
        if engine is not None:
            tell(str(known))
            return engine
    engine, trials = _fastest(net, settings, tell)
    accuracy = None if settings.calibration is None else measure(engine, settings, tell)
    report = Report(engine.name, settings.precision, settings.threads, tuple(trials), accuracy=accuracy)
    engine.report = report
    if cache:
        keep(key, report)
    tell(str(report))
    return engine


def _recalled(net: Net, settings: Settings, report: Report) -> Engine | None:
    """The engine of an earlier choice; None if it cannot be made any more."""
    row = ENGINES[report.chosen]
    if settings.precision not in row.precisions or row.missing:
        return None
    try:
        engine = row.load()(net, settings)
    except CaffeCompatError:
        return None
    engine.report = report
    return engine


def _fastest(net: Net, settings: Settings, tell: Tell) -> tuple[Engine, list[Trial]]:
    rows = [row for row in ENGINES.values() if settings.precision in row.precisions]
    wanted = reference(net, settings.example)
    best: tuple[float, Engine] | None = None
    trials = []
    for row in rows:
        tell(f"measuring engine {row.name}")
        trial, engine = _tried(row, net, settings, wanted)
        trials.append(trial)
        time_taken = trial.milliseconds
        if engine is not None and time_taken is not None and (best is None or time_taken < best[0]):
            best = time_taken, engine
    if best is None:
        faults = "; ".join(f"{trial.engine}: {trial.fault}" for trial in trials)
        raise UnsupportedError(f"no engine computes the net in {settings.precision}: {faults}")
    return best[1], trials


def _tried(row: EngineRow, net: Net, settings: Settings, wanted: dict[str, Tensor]) -> tuple[Trial, Engine | None]:
    """How an engine does, and the engine if it may be taken."""
    try:
        engine = row.load()(net, settings)
        difference = apart(net, engine.run(dict(settings.example)), wanted, settings.precision)
    except CaffeCompatError as error:
        return Trial(row.name, fault=error.message), None
    except Exception as error:
        # A program that is broken here must not keep the others from being taken.
        return Trial(row.name, fault=f"{type(error).__name__}: {error}"), None
    if not difference <= 1:
        return Trial(row.name, difference=difference, fault="its outputs are not the net's"), None
    return Trial(row.name, _milliseconds(engine, settings), difference), engine


def _milliseconds(engine: Engine, settings: Settings) -> float:
    """The median of a pass."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < PASSES and (len(times) < 2 or time.perf_counter() < end):
        start = time.perf_counter()
        engine.run(dict(settings.example))
        times.append((time.perf_counter() - start) * 1e3)
    return median(times)
