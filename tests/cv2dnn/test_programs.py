"""Programs in the manner of OpenCV's samples, and published models: the answers of OpenCV 4's own importer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat import cv2dnn
from tests.cv2dnn.programs import MODELS, PROGRAMS, REFERENCE, published


def check(name, found):
    with np.load(REFERENCE / f"{name}.npz") as record:
        expected = {key: record[key] for key in record.files if key != "opencv"}
    assert list(found) == list(expected)
    for key, theirs in expected.items():
        ours = np.asarray(found[key])
        assert ours.shape == theirs.shape, key
        if theirs.dtype.kind == "U":
            assert ours.tolist() == theirs.tolist(), key
        else:
            assert ours.dtype == theirs.dtype, key
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=key)


def model(name):
    found = MODELS[name]
    for path in (found.prototxt, found.weights, found.photo):
        if path is not None and not path.exists():
            pytest.skip(f"needs {path.name}, which is not here (shared/ or `make demo`)")
    return found


@pytest.fixture
def importer():
    """A `cv2.dnn` into which the importer was installed; afterwards it is as before."""
    before = dict(vars(cv2.dnn))
    cv2dnn.install(replace=hasattr(cv2.dnn, "readNetFromCaffe"))
    yield cv2.dnn
    for name in vars(cv2.dnn).keys() - before.keys():
        delattr(cv2.dnn, name)
    vars(cv2.dnn).update(before)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    check(name, PROGRAMS[name](cv2dnn))


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_through_install(name, importer):
    check(name, PROGRAMS[name](importer))


@pytest.mark.parametrize("name", MODELS)
def test_published(name, importer):
    check(name, published(importer, model(name)))
