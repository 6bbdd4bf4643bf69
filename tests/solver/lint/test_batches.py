"""Rules about records and batches leave out the sources that draw at random."""

from types import SimpleNamespace
from typing import Any

import pytest

from caffecompat.solver.lint import batches


@pytest.mark.parametrize(("kind", "told"), [("Data", 1), ("EpisodeData", 0), ("SentenceData", 0)])
def test_coverage_of_drawn_records(kind: str, told: int) -> None:
    spec = SimpleNamespace(type=kind, name="data")
    linted: Any = SimpleNamespace(
        number=0,
        read={0: SimpleNamespace(count=1442, shapes=[(120, 1)])},
        graph=SimpleNamespace(layers=[spec]),
    )
    solver = SimpleNamespace(message=SimpleNamespace(test_iter=[200]), position=lambda name, number: None)
    subject: Any = SimpleNamespace(solver=solver)
    assert len(list(batches._coverage(subject, linted))) == told
