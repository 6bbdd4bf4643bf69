from __future__ import annotations

import itertools

import numpy as np
import pytest

from caffecompat.legacy.drop_in import uninstall
from tests.support import REFERENCE


@pytest.fixture(scope="session")
def io_answers():
    """What the original caffe.io, Classifier and Detector computed."""
    with np.load(REFERENCE / "pycaffe_io" / "answers.npz") as file:
        return dict(file)


@pytest.fixture
def write(tmp_path):
    """Write text into a file of its own, and return its path."""
    count = itertools.count()

    def write(text, suffix=".prototxt"):
        path = tmp_path / f"{next(count)}{suffix}"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(autouse=True)
def no_caffe_left_behind():
    """Building a net with Python layers installs `import caffe`, which other tests do not expect."""
    yield
    uninstall()
