"""Broken and hostile weight and mean files: each is a CaffeCompatError, quickly and without much memory."""

from __future__ import annotations

import io
import os
import pickle
import random
import time
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.formats import read_mean, read_weights
from caffecompat.formats.caffemodel import parse_caffemodel
from caffecompat.formats.wire import MAX_FIELDS
from caffecompat.schema import caffe_pb2
from tests.attacks.mutate import caffemodels, mutated
from tests.formats.weight_samples import (
    BIAS,
    CONV,
    ENCODINGS,
    FC,
    blob,
    field,
    layer,
    number,
    shape,
    small_net,
    varint,
)
from tests.support import shared_file

# Of processor time: the largest takes half a second, and more than twice that where two share a core.
SECONDS = 3.0
MEMORY = 200 << 20


def refused(read, *arguments) -> CaffeCompatError:
    """Check that reading is refused within the limits of time and memory, and return the error."""
    start = time.process_time()
    with pytest.raises(CaffeCompatError) as caught:
        read(*arguments)
    assert time.process_time() - start < SECONDS
    tracemalloc.start()
    with pytest.raises(CaffeCompatError):
        read(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY
    return caught.value


def in_blob(message: bytes, name: bytes = b"conv1") -> bytes:
    return field(100, field(1, name) + field(7, message))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_truncated_at_every_byte(encoding, tmp_path):
    data = small_net(encoding)
    ends = {0}
    for part in (
        field(1, b"small"),
        layer("conv", "Convolution", (CONV, BIAS), encoding),
        layer("relu", "ReLU", (), encoding),
    ):
        ends.add(max(ends) + len(part))
    whole = parse_caffemodel(data).layers
    path = tmp_path / "cut.caffemodel"
    for cut in range(len(data)):
        path.unlink(missing_ok=True)
        path.write_bytes(data[:cut])
        if cut in sorted(ends)[2:]:
            # Cut between two layers, the rest is a shorter file and a whole one.
            found = read_weights(path).layers
            assert [one.name for one in found] == [one.name for one in whole[: len(found)]]
            continue
        with pytest.raises(FormatError) as caught:
            read_weights(path)
        assert caught.value.file == str(path)


BROKEN = {
    "length beyond the file": (field(100, b"")[:2] + varint(1000) + b"abc", "claims 1000 bytes, 3 are left"),
    "a string of 1 GiB in 1 KiB": (varint(1 << 3 | 2) + varint(1 << 30) + bytes(1020), "claims 1073741824 bytes"),
    "a length of 2^63": (field(1, b"net") + varint(802) + varint(1 << 63) + bytes(9), "claims 9223372036854775808"),
    "a layer name beyond its layer": (field(100, varint(10) + varint(200) + b"x") + bytes(300), "claims 200 bytes, 1"),
    "a number without end": (field(1, b"net") + b"\xff" * 20, "more than 64 bits"),
    "a number of 11 bytes": (field(1, b"net") + varint(1 << 3) + b"\x80" * 10 + b"\x01", "more than 64 bits"),
    "a number of 65 bits": (field(1, b"net") + varint(1 << 3) + b"\xff" * 9 + b"\x03", "more than 64 bits"),
    "a tag of 33 bits": (field(1, b"net") + varint(1 << 33 | 2), "impossible field number"),
    "field number 0": (field(1, b"net") + b"\x02\x00", "impossible field number 0"),
    "wire type 3": (field(1, b"net") + varint(7 << 3 | 3), "wire type 3"),
    "wire type 4": (field(1, b"net") + varint(7 << 3 | 4), "wire type 4"),
    "wire type 6": (field(1, b"net") + varint(7 << 3 | 6), "wire type 6"),
    "wire type 7": (field(1, b"net") + varint(7 << 3 | 7), "wire type 7"),
    "a cut fixed32": (in_blob(shape(2) + b"\x2d" + bytes(4) + b"\x2d" + bytes(3)), "has 4 bytes, 3 are left"),
    "both generations": (field(2, number(5, 4)) + field(100, b""), 'both "layer" and "layers"'),
    "a negative size": (in_blob(shape(-2, -3) + field(5, bytes(24))), "negative size in the shape -2x-3"),
    "a negative legacy size": (in_blob(number(1, (1 << 64) - 1) + field(5, bytes(4))), "negative size"),
    "too few values": (in_blob(shape(2, 3) + field(5, bytes(20))), "shape 2x3: expected 6 values, got 5"),
    "too many values": (in_blob(shape(2) + field(5, bytes(20))), "expected 2 values, got 5"),
    "no values": (in_blob(shape(2)), "expected 2 values, got 0"),
    "no shape": (in_blob(field(5, bytes(20))), "shape of a single number: expected 1 values, got 5"),
    "an empty blob": (in_blob(b""), "expected 1 values, got 0"),
    "a product of 2^64": (in_blob(shape(1 << 32, 1 << 32)), "expected 18446744073709551616 values, got 0"),
    "sizes that overflow to 4": (in_blob(shape((1 << 62) + 1, 4) + field(5, bytes(16))), "got 4"),
    "a huge empty blob": (in_blob(shape(0, 1 << 62, 1 << 62)), "impossible shape"),
    "many axes": (in_blob(shape(*[1] * 33) + field(5, bytes(4))), "more than 32 axes"),
    "many axes in parts": (in_blob(shape(*[1] * 17) * 2 + field(5, bytes(4))), "more than 32 axes"),
    "a million axes": (in_blob(field(7, field(1, b"\x01" * 1_000_000))), "more than 32 axes"),
    "a cut size": (in_blob(field(7, field(1, b"\x80"))), "bytes end within the number"),
    "an odd number of bytes": (in_blob(shape(1) + field(5, bytes(5))), "expected a multiple of 4"),
    "an odd number of bytes of doubles": (in_blob(shape(1) + field(8, bytes(12))), "expected a multiple of 8"),
    "an odd number of bytes of halves": (in_blob(shape(1) + number(10, 2) + field(12, bytes(3))), "a multiple of 2"),
    "integers of a fork": (in_blob(shape(1) + number(10, 3) + field(12, bytes(4))), "raw_data of type 3"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case, tmp_path):
    data, message = BROKEN[case]
    path = tmp_path / "broken.caffemodel"
    path.write_bytes(data)
    error = refused(read_weights, path)
    assert message in error.message
    assert error.file == str(path)
    assert "byte" in error.message or "layers" in error.message
    if data.startswith(b"\xa2\x06") and b"conv1" in data:
        assert error.layer == "conv1"


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        field(100, b""),
        field(1, b""),
        number(5, 1),
        field(100, field(7, field(7, b"\x0a\x00") + field(5, bytes(4)))),
        # A row of fixed32 is one field; two kinds in turn are not.
        b"\x2d\0\0\0\0\x35\0\0\0\0",
    ],
)
def test_files_of_tiny_fields(part, tmp_path):
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes(field(1, b"net") + part * (MAX_FIELDS + 1))
    assert "fields: no Caffe net has so many" in refused(read_weights, path).message


@pytest.mark.slow
def test_a_blob_in_many_pieces(tmp_path):
    path = tmp_path / "pieces.caffemodel"
    count = MAX_FIELDS + 1
    path.write_bytes(in_blob(shape(count) + field(5, bytes(4)) * count))
    assert "fields: no Caffe net has so many" in refused(read_weights, path).message


def test_what_is_accepted_of_mutated_files_is_what_protobuf_reads():
    samples = [small_net(encoding) for encoding in ENCODINGS if encoding != "v2_half"]
    compared = 0
    for case in range(4000):
        rng = random.Random(case)
        data = mutated(rng, rng.choice(samples))
        try:
            weights = parse_caffemodel(data)
            net = caffe_pb2.NetParameter.FromString(data)
        except (CaffeCompatError, DecodeError):
            # Protobuf reads also the messages that we skip, and refuses the file for a fault in them.
            continue
        sources = [one.layer if one.HasField("layer") else one for one in net.layers] or list(net.layer)
        for ours, source in zip(weights.layers, sources, strict=True):
            for one, two in zip(ours.blobs, source.blobs, strict=True):
                with np.errstate(all="ignore"):
                    values = np.array(two.double_data or two.data, np.float64).astype(np.float32)
                np.testing.assert_array_equal(one.array.ravel(), values)
                compared += 1
    assert compared > 1000


def test_a_sample_of_mutated_files():
    outcome = caffemodels(1500, seed=1)
    assert outcome.accepted > 100
    assert sum(outcome.refused.values()) > 500
    assert outcome.slowest < SECONDS


@pytest.mark.slow
def test_twenty_thousand_mutated_files():
    assert caffemodels(20_000).accepted > 1000


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("archive/data.pkl", b"")
    return data.getvalue()


OTHERS = {
    "empty": (b"", "the file is empty"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10\n", "Git LFS pointer"),
    "web page": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
    "web page without a type": (b"<html lang='en'>\xc3\xa9</html>", "a web page"),
    "prototxt": (b'name: "net"\nlayer { name: "data" type: "Input" }\n', "got text"),
    "prototxt in UTF-8": (b'\xef\xbb\xbf# \xc3\xa9t\xc3\xa9\nname: "net"\n', "got text"),
    "prototxt in UTF-16": ('name: "net"'.encode("utf-16"), "UTF-16"),
    "PyTorch checkpoint": (zipped(), "zip archive or a PyTorch checkpoint"),
    "pickle": (pickle.dumps({"state": 1}, protocol=2), "pickle"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "safetensors": ((2).to_bytes(8, "little") + b'{"a"', "safetensors"),
    "ONNX": (number(1, 8) + field(2, b"pytorch") + field(3, b"2.0") + field(7, b"") + field(8, b""), "an ONNX model"),
    "solver state": (
        caffe_pb2.SolverState(iter=5, learned_net="a.caffemodel", history=[{"data": [1]}]).SerializeToString(),
        "a solver state",
    ),
    "mean": (caffe_pb2.BlobProto(num=1, channels=1, height=1, width=1, data=[1]).SerializeToString(), "a single blob"),
    "NumPy array": (b"\x93NUMPY\x01\x00v\x00{", "a NumPy array"),
    "zeros": (bytes(1000), "impossible field number 0"),
    "noise": (random.Random(5).randbytes(1000), "byte"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_are_called_what_they_are(case, tmp_path):
    data, message = OTHERS[case]
    path = tmp_path / "given.caffemodel"
    path.write_bytes(data)
    error = refused(read_weights, path)
    assert message in error.message
    assert error.file == str(path)


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "got a directory"),
        (tmp_path / "missing", "cannot be read: No such file"),
        (tmp_path / "pipe", "got a device or a pipe"),
        ("/dev/zero", "got a device or a pipe"),
        (f"{tmp_path}/nul\0", "cannot be read"),
    ):
        for read in (read_weights, read_mean):
            assert message in refused(read, path).message


# ---------------------------------------------------------------------------
# Means


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


NPY = {
    "a huge shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000, 1000000)}", bytes(48)),
    "an overflowing shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
    "a negative shape": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -4, 1)}", bytes(48)),
    "an object": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([print])),
    "records": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", bytes(4)),
    "dates": npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1, 1)}", bytes(8)),
    "a call": npy("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,)}"),
    "deep brackets": npy("(" * 9000),
    "a long header": npy(" " * 60000),
    "no header": b"\x93NUMPY",
    "a cut header": b"\x93NUMPY\x01\x00\xff\xff{'descr'",
    "a future version": b"\x93NUMPY\x09\x00\x00\x00",
    "too few bytes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2)}", bytes(47)),
    "too many bytes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 2)}", bytes(49)),
    "no sizes": npy("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", bytes(12)),
    "a bool for a size": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 'a')}", bytes(4)),
    "many axes": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {(1,) * 500}}}", bytes(4)),
}


@pytest.mark.parametrize("case", NPY)
def test_hostile_npy(case, tmp_path):
    path = tmp_path / "mean.npy"
    path.write_bytes(NPY[case])
    assert refused(read_mean, path).file == str(path)


@pytest.mark.parametrize("data", [b"\x00", b"text of any kind", blob(FC, "v2")[:-1], small_net("v2")])
def test_hostile_binaryproto(data, tmp_path):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(data)
    assert refused(read_mean, path).file == str(path)


# ---------------------------------------------------------------------------
# HDF5


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def build(path, fill) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        fill(h5py, file)


def soft_link(h5py, file):
    file["data/conv/0"] = BIAS
    file["data/fc"] = h5py.SoftLink("/data/conv")


def external_link(h5py, file):
    file["data/conv/0"] = BIAS
    file["data/fc"] = h5py.ExternalLink("/etc/passwd", "/")


def external_data(h5py, file):
    file["data"] = h5py.ExternalLink("/etc/passwd", "/data")


def external_storage(h5py, file):
    file.create_dataset("data/conv/0", (16,), "u1", external=[("/etc/passwd", 0, 16)])


def virtual(h5py, file):
    layout = h5py.VirtualLayout((4,), "<f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "0", (4,))
    file.create_group("data/conv").create_virtual_dataset("0", layout)


def cycle(h5py, file):
    file["data/conv/0"] = BIAS
    file["data/conv/again"] = file["data"]


def twice(h5py, file):
    file["data/conv/0"] = BIAS
    file["data/fc"] = file["data/conv"]


def same_data_often(h5py, file):
    file["data/conv/0"] = np.zeros(1 << 16, np.float32)
    for index in range(1, 100):
        file[f"data/conv/{index}"] = file["data/conv/0"]


def deep(h5py, file):
    group = file.create_group("data")
    for _ in range(100):
        group = group.create_group("a")


def never_stored(h5py, file):
    file.create_dataset("data/conv/0", (1 << 20, 1 << 20), "<f4", chunks=(1024, 1024))


def bomb(h5py, file):
    dataset = file.create_dataset("data/conv/0", (1 << 24,), "<f4", chunks=(1 << 22,), compression="gzip")
    for start in range(0, 1 << 24, 1 << 22):
        dataset[start : start + (1 << 22)] = 0


def big_chunk(h5py, file):
    dataset = file.create_dataset("data/conv/0", (4,), "<f4", chunks=(1 << 24,), maxshape=(None,), compression="gzip")
    dataset[:] = 0


def strings(h5py, file):
    file["data/conv/0"] = np.array([b"abc", b"def"])


def records(h5py, file):
    file["data/conv/0"] = np.zeros(3, [("a", "f4"), ("b", "i4")])


def ragged(h5py, file):
    file.create_dataset("data/conv/0", (2,), h5py.vlen_dtype(np.float32))


def enumeration(h5py, file):
    file["data/conv/0"] = np.array([True, False])


def reference(h5py, file):
    file["data/conv/0"] = file.create_group("other").ref


def no_space(h5py, file):
    file["data/conv/0"] = h5py.Empty("f4")


def dataset_for_a_layer(h5py, file):
    file["data/conv"] = BIAS


def dataset_for_data(h5py, file):
    file["data"] = BIAS


def named_type(h5py, file):
    file["data/conv/0"] = np.dtype("f4")


def other_name(h5py, file):
    file["data/conv/weight"] = BIAS


def leading_zero(h5py, file):
    file["data/conv/00"] = BIAS


HOSTILE = (
    soft_link, external_link, external_data, external_storage, virtual, cycle, twice, same_data_often, deep,
    never_stored, bomb, big_chunk, strings, records, ragged, enumeration, reference, no_space, dataset_for_a_layer,
    dataset_for_data, named_type, other_name, leading_zero,
)  # fmt: skip


@pytest.mark.parametrize("fill", HOSTILE, ids=lambda fill: fill.__name__)
def test_hostile_hdf5(h5py, fill, tmp_path):
    path = tmp_path / "hostile.caffemodel.h5"
    build(path, fill)
    error = refused(read_weights, path)
    assert isinstance(error, FormatError)
    assert error.file == str(path)
    assert "broken HDF5" not in error.message


def test_hdf5_with_a_size_that_lies(h5py, tmp_path):
    path = tmp_path / "lying.caffemodel.h5"
    build(path, lambda _, file: file.create_dataset("data/conv/0", data=np.zeros((1234, 5), np.float32)))
    data = path.read_bytes()
    sizes = (1234).to_bytes(8, "little") + (5).to_bytes(8, "little")
    assert data.count(sizes) >= 1
    for huge in ((1 << 40, 1 << 10), (1 << 62, 4), ((1 << 64) - 1, 1), (12340, 5)):
        lie = b"".join(size.to_bytes(8, "little") for size in huge)
        path.unlink()
        path.write_bytes(data.replace(sizes, lie))
        assert refused(read_weights, path).file == str(path)


def test_truncated_hdf5(h5py, tmp_path):
    whole = shared_file("models/cifar10_full_h5/cifar10_full_iter_100000.caffemodel.h5").read_bytes()
    path = tmp_path / "cut.caffemodel.h5"
    for cut in (8, 9, 40, 95, 96, 97, 500, 800, 2048, 5000, 100_000, len(whole) // 2, len(whole) - 1):
        path.unlink(missing_ok=True)
        path.write_bytes(whole[:cut])
        assert refused(read_weights, path).file == str(path)


def test_mutated_hdf5(h5py, tmp_path):
    path = tmp_path / "mutated.caffemodel.h5"
    build(path, lambda _, file: file.update({"data/conv/0": CONV, "data/conv/1": BIAS, "data/fc/0": FC}))
    whole = path.read_bytes()
    accepted = 0
    for case in range(200):
        rng = random.Random(case)
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 4))):
            data[rng.randrange(8, len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        path.unlink()
        path.write_bytes(data)
        with suppress(CaffeCompatError):
            read_weights(path)
            accepted += 1
    assert 20 < accepted < 200
