"""HDF5Output: what it writes, once, and what it refuses."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError, UnsupportedError
from tests.layers.single import single

h5py = pytest.importorskip("h5py")


def output(path, *shapes):
    return single("HDF5Output", f'hdf5_output_param {{ file_name: "{path}" }}', *shapes, tops=0)


def test_writes_data_and_labels_with_four_axes(tmp_path):
    """Caffe's HDF5OutputLayer: datasets "data" and "label", num x channels x height x width."""
    path = tmp_path / "out.h5"
    path.write_text("the file of an earlier run")
    data, label = torch.rand(2, 3, 4, requires_grad=True), torch.tensor([5, 6])
    assert output(path, data.shape, label.shape)(data, label) == ()
    with h5py.File(path) as file:
        assert set(file) == {"data", "label"}
        assert file["data"].dtype == np.float32
        np.testing.assert_array_equal(file["data"][()], data.detach().numpy().reshape(2, 3, 4, 1))
        np.testing.assert_array_equal(file["label"][()].reshape(-1), [5, 6])
        assert file["label"].shape == (2, 1, 1, 1)


def test_building_the_net_writes_nothing(tmp_path):
    layer = output(tmp_path / "out.h5", (2, 3), (2,))
    assert layer.shapes((2, 3), (2,)) == ()
    assert not list(tmp_path.iterdir())


def test_a_second_pass_is_refused(tmp_path):
    layer = output(tmp_path / "out.h5", (2, 3), (2,))
    layer(torch.ones(2, 3), torch.ones(2))
    with pytest.raises(UnsupportedError, match=r"out\.h5 has the data of a pass already"):
        layer(torch.zeros(2, 3), torch.zeros(2))
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["data"][()].all()


def test_refused(tmp_path):
    with pytest.raises(ShapeError, match="as many items"):
        output(tmp_path / "out.h5", (2, 3), (3,))
    with pytest.raises(ShapeError, match="at most 4 axes"):
        output(tmp_path / "out.h5", (2, 3, 1, 1, 1), (2,))
    with pytest.raises(SchemaError, match="file_name is missing"):
        single("HDF5Output", "", (2, 3), (2,), tops=0)
    with pytest.raises(CaffeCompatError, match="nowhere"):
        output(tmp_path / "nowhere" / "out.h5", (2, 3), (2,))(torch.ones(2, 3), torch.ones(2))


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    layer = output(tmp_path / "out.h5", (2, 3), (2,))
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UnsupportedError, match=r"pip install 'caffecompat\[hdf5\]'"):
        layer(torch.ones(2, 3), torch.ones(2))
