from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatWarning, FormatError, UnsupportedError, UsageError
from caffecompat.formats import read_weights, write_caffemodel, write_hdf5
from caffecompat.schema import caffe_pb2
from tests.formats.weight_samples import BIAS, CONV, FC
from tests.support import shared_file

h5py = pytest.importorskip("h5py")


def net_of(*names: str) -> caffe_pb2.NetParameter:
    return caffe_pb2.NetParameter(layer=[{"name": name} for name in names])


def found(path) -> dict[str, list[np.ndarray]]:
    weights = read_weights(path)
    assert weights.hdf5
    assert weights.file == str(path)
    return {layer.name: [blob.array for blob in layer.blobs] for layer in weights.layers}


def test_a_file_that_caffe_wrote():
    path = shared_file("models/cifar10_full_h5/cifar10_full_iter_100000.caffemodel.h5")
    layers = found(path)
    assert [name for name in layers if layers[name]] == ["conv1", "conv2", "conv3", "ip1"]
    assert layers["relu1"] == []
    assert [array.shape for array in layers["conv1"]] == [(32, 3, 5, 5), (32,)]
    with h5py.File(path) as file:
        for name, arrays in layers.items():
            assert len(arrays) == len(file["data"][name])
            for index, array in enumerate(arrays):
                assert array.dtype == np.float32
                assert array.flags.writeable
                np.testing.assert_array_equal(array, file["data"][name][str(index)][()])


def test_what_is_written_has_the_layout_of_caffes_file(tmp_path):
    source = shared_file("models/cifar10_full_h5/cifar10_full_iter_100000.caffemodel.h5")
    weights = read_weights(source)
    path = tmp_path / "again.caffemodel.h5"
    blobs = [[blob.array for blob in layer.blobs] for layer in weights.layers]
    write_hdf5(path, net_of(*(layer.name for layer in weights.layers)), blobs)

    def contents(file_path):
        items = {}
        with h5py.File(file_path) as file:
            file.visititems(
                lambda name, item: items.update(
                    {
                        name: (item.dtype, item.shape, item.chunks, item[()].tobytes())
                        if isinstance(item, h5py.Dataset)
                        else None
                    }
                )
            )
        return items

    ours, caffes = contents(path), contents(source)
    assert {name: item for name, item in caffes.items() if not name.startswith("diff")} == ours


def test_binary_and_hdf5_hold_the_same_numbers(tmp_path):
    net, blobs = net_of("conv", "relu", "fc"), [[CONV, BIAS], [], [FC.astype(np.float64)]]
    write_hdf5(tmp_path / "a.caffemodel.h5", net, blobs)
    write_caffemodel(tmp_path / "a.caffemodel", net, blobs)
    binary = {layer.name: layer.blobs for layer in read_weights(tmp_path / "a.caffemodel").layers}
    hdf5 = found(tmp_path / "a.caffemodel.h5")
    assert sorted(binary) == sorted(hdf5)
    for name, arrays in hdf5.items():
        for ours, theirs in zip(arrays, binary[name], strict=True):
            np.testing.assert_array_equal(ours, theirs.array)


def test_diffs_are_a_group_of_their_own(tmp_path):
    path = tmp_path / "diffs.caffemodel.h5"
    write_hdf5(path, net_of("conv", "relu"), [[CONV, BIAS], []], [[CONV + 1, BIAS + 1], []])
    np.testing.assert_array_equal(found(path)["conv"][0], CONV)
    with h5py.File(path) as file:
        assert sorted(file) == ["data", "diff"]
        assert sorted(file["diff"]) == ["conv", "relu"]
        np.testing.assert_array_equal(file["diff/conv/0"][()], CONV + 1)
        np.testing.assert_array_equal(file["diff/conv/1"][()], BIAS + 1)
    with pytest.raises(UsageError, match="expected diffs of the shapes"):
        write_hdf5(path, net_of("conv", "relu"), [[CONV, BIAS], []], [[CONV], []])


def test_names_with_slashes_become_nested_groups_with_a_warning(tmp_path):
    path = tmp_path / "a.caffemodel.h5"
    names = ("inception_3a/1x1", "inception_3a", "inception_3a/relu_1x1", "a/b/c", "a")
    blobs = [[CONV], [BIAS], [], [FC], []]
    with pytest.warns(CaffeCompatWarning, match="the original Caffe does not read"):
        write_hdf5(path, net_of(*names), blobs)
    layers = found(path)
    for name, own in zip(names[:4], blobs, strict=False):
        assert len(layers[name]) == len(own)
        for array, source in zip(layers[name], own, strict=True):
            np.testing.assert_array_equal(array, source)


@pytest.mark.parametrize("name", ["", ".", "..x/.", "/conv", "conv/", "a//b", "nul\0", "conv/0"])
def test_names_that_hdf5_cannot_hold(tmp_path, name):
    with pytest.raises(UnsupportedError, match="HDF5 holds no layer of the name"):
        write_hdf5(tmp_path / "a.h5", net_of("conv", name), [[BIAS], [BIAS]])
    assert list(tmp_path.iterdir()) == []


def test_two_layers_of_one_name(tmp_path):
    with pytest.raises(UsageError, match='layer "conv": two layers of one name'):
        write_hdf5(tmp_path / "a.h5", net_of("conv", "relu", "conv"), [[BIAS], [], [BIAS]])


def test_blobs_that_a_layer_shares_are_left_out(tmp_path):
    path = tmp_path / "shared.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file["data/conv/1"] = BIAS
        file["data/many/2"] = BIAS
        file["data/many/10"] = CONV
        file["data/full/0"] = CONV
        file["diff/conv/0"] = CONV
    layers = {layer.name: layer for layer in read_weights(path).layers}
    assert sorted(layers) == ["conv", "full", "many"]
    assert layers["conv"].indices == (1,)
    assert layers["many"].indices == (2, 10)
    np.testing.assert_array_equal(layers["many"].blobs[1].array, CONV)
    assert layers["full"].indices == ()


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i4", "u1"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2, 2)}, {"chunks": (4, 2), "compression": "gzip"}])
def test_numbers_of_any_width_become_float32(tmp_path, dtype, options):
    path = tmp_path / "a.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/fc/0", data=FC.astype(dtype), **options)
    (array,) = found(path)["fc"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, FC.astype(dtype).astype(np.float32))


def test_shapes_of_no_axis_and_of_no_numbers(tmp_path):
    path = tmp_path / "a.caffemodel.h5"
    write_hdf5(path, net_of("bn"), [[np.float32(2), np.zeros((0, 3), np.float32)]])
    assert [array.shape for array in found(path)["bn"]] == [(), (0, 3)]


def test_other_hdf5_files_are_called_what_they_are(tmp_path):
    with pytest.raises(FormatError, match=r"(?s)history.*this is a solver state"):
        read_weights(shared_file("models/cifar10_full_h5/cifar10_full_iter_100000.solverstate.h5"))
    path = tmp_path / "keras.h5"
    with h5py.File(path, "w") as file:
        file["model_weights/dense/kernel:0"] = FC
    with pytest.raises(FormatError, match=r"(?s)keras.h5: expected the group \"data\", found \['model_weights'\]"):
        read_weights(path)


def test_without_h5py_the_error_says_what_to_install(tmp_path):
    path = tmp_path / "a.caffemodel.h5"
    write_hdf5(path, net_of("a"), [[BIAS]])
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "from caffecompat.errors import UnsupportedError\n"
        "from caffecompat.formats import read_weights\n"
        f"try: read_weights({str(path)!r})\n"
        "except UnsupportedError as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'caffecompat[hdf5]'" in result.stdout
