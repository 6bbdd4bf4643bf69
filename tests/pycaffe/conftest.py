from __future__ import annotations

import numpy as np
import pytest

from tests.support import REFERENCE


@pytest.fixture(scope="session")
def io_answers():
    """What the original caffe.io, Classifier and Detector computed."""
    with np.load(REFERENCE / "pycaffe_io" / "answers.npz") as file:
        return dict(file)
