from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.errors import CaffeCompatWarning, FormatError, UsageError
from caffecompat.formats import read_weights, write_caffemodel
from caffecompat.formats.blob_writer import CAFFE_LIMIT
from caffecompat.formats.caffemodel import parse_caffemodel
from caffecompat.formats.weights import Weights
from caffecompat.schema import caffe_pb2
from tests.formats.weight_samples import BIAS, CONV, ENCODINGS, FC, blob, field, layer, number, shape, small_net
from tests.support import shared_file

CIFAR = "models/cifar10_quick_encodings/"
REAL = (
    CIFAR + "cifar10_quick_v0.caffemodel",
    CIFAR + "cifar10_quick_iter_5000",
    CIFAR + "cifar10_quick_v1_unpacked.caffemodel",
    CIFAR + "cifar10_quick_v1_double.caffemodel",
    "models/lenet_v1/lenet_iter_10000.caffemodel",
    "models/hyperlpr_fp16/HorizonalFinemapping.caffemodel",
    "models/mtcnn/det1.caffemodel",
    "models/mtcnn/det2.caffemodel",
    "models/mtcnn/det3.caffemodel",
    "models/wechat_detect/detect.caffemodel",
)


def expected_shape(proto: caffe_pb2.BlobProto) -> tuple[int, ...]:
    if any(map(proto.HasField, ("num", "channels", "height", "width"))):
        return (proto.num, proto.channels, proto.height, proto.width)
    return tuple(proto.shape.dim)


def array_of(proto: caffe_pb2.BlobProto) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = np.array(proto.double_data or proto.data, np.float64).astype(np.float32)
    return values.reshape(expected_shape(proto))


def assert_equals_protobuf(weights: Weights, net: caffe_pb2.NetParameter) -> None:
    """Compare with what protobuf itself reads."""
    old = [source.layer if source.HasField("layer") else source for source in net.layers]
    sources = old or list(net.layer)
    assert [found.name for found in weights.layers] == [source.name for source in sources]
    for found, source in zip(weights.layers, sources, strict=True):
        assert len(found.blobs) == len(source.blobs)
        for ours, theirs in zip(found.blobs, source.blobs, strict=True):
            assert ours.legacy == theirs.HasField("num")
            assert ours.array.dtype == np.float32
            np.testing.assert_array_equal(ours.array, array_of(theirs))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_layers(encoding, tmp_path):
    path = tmp_path / "small.caffemodel"
    path.write_bytes(small_net(encoding))
    weights = read_weights(path)
    assert weights.file == str(path)
    assert not weights.hdf5
    assert [(found.name, found.type) for found in weights.layers] == [
        ("conv", "Convolution"),
        ("relu", "ReLU"),
        ("fc", "InnerProduct"),
    ]
    conv, relu, fc = (found.blobs for found in weights.layers)
    half = np.float16 if encoding == "v2_half" else np.float32
    legacy = encoding.startswith(("v0", "v1"))
    assert relu == ()
    for ours, source in ((conv[0], CONV), (conv[1], BIAS), (fc[0], FC)):
        full = (1,) * (4 - source.ndim) + source.shape if legacy else source.shape
        assert ours.legacy == legacy
        np.testing.assert_array_equal(ours.array, source.astype(half).astype(np.float32).reshape(full))
    if encoding != "v2_half":
        assert_equals_protobuf(weights, caffe_pb2.NetParameter.FromString(small_net(encoding)))


@pytest.mark.parametrize("name", REAL)
def test_real_files_read_as_protobuf_reads_them(name):
    path = shared_file(name)
    assert_equals_protobuf(read_weights(path), caffe_pb2.NetParameter.FromString(path.read_bytes()))


def test_recorded_training_files_read_as_protobuf_reads_them():
    paths = sorted(shared_file("golden/training").glob("*/*.caffemodel"))
    assert len(paths) >= 28
    for path in paths:
        assert_equals_protobuf(read_weights(path), caffe_pb2.NetParameter.FromString(path.read_bytes()))


def test_four_encodings_of_one_model_are_bit_equal():
    first, *others = (read_weights(shared_file(name)) for name in REAL[:4])
    assert sum(len(found.blobs) for found in first.layers) == 10
    for other in others:
        for ours, theirs in zip(first.layers, other.layers, strict=True):
            assert (ours.name, ours.type) == (theirs.name, theirs.type)
            for one, two in zip(ours.blobs, theirs.blobs, strict=True):
                assert one.legacy
                assert two.legacy
                assert one.array.tobytes() == two.array.tobytes()
                assert one.array.shape == two.array.shape


def test_half_floats_are_widened_exactly():
    half = read_weights(shared_file("models/hyperlpr_fp16/HorizonalFinemapping_fp16.caffemodel"))
    full = read_weights(shared_file("models/hyperlpr_fp16/HorizonalFinemapping.caffemodel"))
    assert [found.name for found in half.layers] == [found.name for found in full.layers]
    pairs = [
        (one, two)
        for ours, theirs in zip(half.layers, full.layers, strict=True)
        for one, two in zip(ours.blobs, theirs.blobs, strict=True)
    ]
    assert len(pairs) == 8
    for one, two in pairs:
        np.testing.assert_array_equal(one.array, two.array.astype(np.float16).astype(np.float32))


blobs = st.one_of(
    st.builds(
        lambda dims, double: (list(dims), double),
        st.lists(st.integers(0, 4), min_size=1, max_size=5),
        st.booleans(),
    )
)
names = st.text(max_size=20)


@st.composite
def nets(draw):
    net = caffe_pb2.NetParameter(name=draw(names), input=draw(st.lists(names, max_size=2)))
    version = draw(st.sampled_from((0, 1, 2)))
    for _ in range(draw(st.integers(1, 4))):
        if version == 2:
            target = net.layer.add(name=draw(names), type=draw(names), loss_weight=draw(st.lists(st.floats(width=32))))
        elif version == 1:
            target = net.layers.add(name=draw(names), type=draw(st.integers(0, 39)), blobs_lr=[1, 2])
        else:
            outer = net.layers.add(bottom=[draw(names)])
            target = outer.layer
            target.name = draw(names)
            target.type = draw(names)
        for dims, double in draw(st.lists(blobs, max_size=3)):
            values = draw(
                st.lists(
                    st.floats(width=64 if double else 32, allow_nan=False),
                    min_size=int(np.prod(dims)),
                    max_size=int(np.prod(dims)),
                )
            )
            proto = target.blobs.add(**{"double_data" if double else "data": values})
            if len(dims) == 4 and draw(st.booleans()):
                proto.num, proto.channels, proto.height, proto.width = dims
            else:
                proto.shape.dim.extend(dims)
            if draw(st.booleans()):
                proto.diff.extend(values[:2])
    return net


@given(nets())
@settings(max_examples=200, deadline=None)
def test_whatever_protobuf_writes_reads_equal(net):
    assert_equals_protobuf(parse_caffemodel(net.SerializeToString()), net)


def test_arrays_are_views_that_torch_takes_without_a_copy_and_never_change_the_file(tmp_path):
    path = tmp_path / "small.caffemodel"
    path.write_bytes(small_net("v2"))
    array = read_weights(path).layers[0].blobs[0].array
    assert not array.flags.owndata
    assert array.flags.writeable
    tensor = torch.from_numpy(array)
    assert tensor.data_ptr() == array.ctypes.data
    tensor += 1
    np.testing.assert_array_equal(array, CONV + 1)
    assert path.read_bytes() == small_net("v2")
    np.testing.assert_array_equal(read_weights(path).layers[0].blobs[0].array, CONV)


def test_arrays_outlive_the_weights_and_the_file(tmp_path):
    path = tmp_path / "small.caffemodel"
    path.write_bytes(small_net("v2"))
    array = read_weights(path).layers[0].blobs[0].array
    net = caffe_pb2.NetParameter(layer=[{"name": "other"}])
    write_caffemodel(path, net, [[np.zeros(1000, np.float32)]])
    gc.collect()
    np.testing.assert_array_equal(array, CONV)
    path.unlink()
    np.testing.assert_array_equal(array, CONV)


def resident() -> int:
    path = Path("/proc/self/statm")
    if not path.exists():
        pytest.skip("needs /proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_grows_by_the_pages_that_are_touched(tmp_path):
    path = tmp_path / "big.caffemodel"
    size = 64 << 20
    write_caffemodel(path, caffe_pb2.NetParameter(layer=[{"name": "fc"}]), [[np.zeros(size // 4, np.float32)]])
    gc.collect()
    before = resident()
    weights = read_weights(path)
    assert resident() - before < 8 << 20
    assert weights.layers[0].blobs[0].array.sum() == 0
    assert resident() - before < 1.1 * size


def test_messages_that_come_in_parts_are_merged():
    parts = (
        field(1, field(1, b"first") + field(2, b"conv") + field(50, blob(CONV, "v0"))),
        field(1, field(1, b"second") + field(50, blob(BIAS, "v0"))),
    )
    (merged,) = parse_caffemodel(field(2, b"".join(parts))).layers
    assert (merged.name, merged.type, len(merged.blobs)) == ("second", "Convolution", 2)
    split = field(7, field(1, b"\x02")) + field(7, number(1, 3)) + field(5, bytes(24))
    (single,) = parse_caffemodel(field(100, field(7, split))).layers
    assert single.blobs[0].array.shape == (2, 3)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # Caffe: has_num() and its like go before shape.
        (shape(4) + number(1, 1) + number(2, 4) + number(3, 1) + number(4, 1) + field(5, bytes(16)), (1, 4, 1, 1)),
        (field(5, bytes(4)), ()),
        (shape() + field(5, bytes(4)), ()),
        (shape(0, 5), (0, 5)),
        (number(1, 2) + field(7, b""), (2, 0, 0, 0)),
        # double_data goes before data, and data before the forks' raw_data.
        (shape(1) + field(5, bytes(8)) + field(8, bytes(8)), (1,)),
        (shape(2) + field(5, bytes(8)) + field(12, bytes(3)), (2,)),
        (shape(2) + field(5, bytes(8)) + field(8, b""), (2,)),
        (shape(2) + field(5, b"") + number(10, 2) + field(12, bytes(4)), (2,)),
        (shape(2) + number(10, 1) + field(12, bytes(8)), (2,)),
        (shape(2) + field(12, bytes(16)), (2,)),
        # A known number with the wrong wire type is an unknown field to protobuf.
        (shape(1) + number(5, 7) + field(5, bytes(4)), (1,)),
    ],
)
def test_shapes_and_values_are_chosen_as_caffe_chooses_them(message, expected):
    (found,) = parse_caffemodel(field(100, field(7, message))).layers
    assert found.blobs[0].array.shape == expected


def test_type_names_of_old_layers_are_todays():
    for value, today in ((4, "Convolution"), (21, "SoftmaxWithLoss"), (39, "Deconvolution"), (0, ""), (1000, "")):
        assert parse_caffemodel(field(2, number(5, value))).layers[0].type == today
    for name, today in (("innerproduct", "InnerProduct"), ("padding", ""), ("images", "ImageData")):
        assert parse_caffemodel(field(2, field(1, field(2, name.encode())))).layers[0].type == today


def test_names_that_are_not_utf8_stay_visible():
    assert parse_caffemodel(field(100, field(1, b"conv\xff\xc3"))).layers[0].name == r"conv\xff\xc3"


def test_a_name_may_come_twice():
    data = layer("a", "ReLU", (BIAS,), "v2") * 2
    assert [found.name for found in parse_caffemodel(data).layers] == ["a", "a"]


# ---------------------------------------------------------------------------
# Writing


def filled(net: caffe_pb2.NetParameter, arrays: list[list[np.ndarray]]) -> caffe_pb2.NetParameter:
    full = caffe_pb2.NetParameter()
    full.CopyFrom(net)
    for target, own in zip(full.layer, arrays, strict=True):
        for array in own:
            proto = target.blobs.add(data=array.ravel().tolist())
            if array.ndim:
                proto.shape.dim.extend(array.shape)
    return full


def sample() -> tuple[caffe_pb2.NetParameter, list[list[np.ndarray]]]:
    net = caffe_pb2.NetParameter(name="n" * 200, input=["data"], input_shape=[{"dim": [1, 3, 300, 300]}])
    net.force_backward = True
    conv = net.layer.add(name="conv1/3x3", type="Convolution", bottom=["data"], top=["conv"], phase=caffe_pb2.TRAIN)
    conv.param.add(lr_mult=2)
    conv.convolution_param.kernel_size.append(3)
    conv.include.add(phase=caffe_pb2.TRAIN)
    net.layer.add(name="relu", type="ReLU", bottom=["conv"], top=["conv"])
    net.layer.add(name="bn", type="BatchNorm")
    arrays = [[CONV, BIAS], [], [np.float32(3), np.zeros((0, 4), np.float32), np.arange(300, dtype=np.float32)]]
    return net, [[np.asarray(array) for array in own] for own in arrays]


def test_the_bytes_are_those_that_protobuf_writes(tmp_path):
    net, arrays = sample()
    path = tmp_path / "out.caffemodel"
    write_caffemodel(path, net, arrays)
    assert path.read_bytes() == filled(net, arrays).SerializeToString()
    assert_equals_protobuf(read_weights(path), filled(net, arrays))


@given(nets())
@settings(max_examples=100, deadline=None)
def test_any_net_is_written_as_protobuf_writes_it(tmp_path_factory, net):
    arrays = [[array_of(proto) for proto in target.blobs] for target in net.layer]
    for target in net.layer:
        target.ClearField("blobs")
    net.ClearField("layers")
    path = tmp_path_factory.mktemp("any") / "out.caffemodel"
    write_caffemodel(path, net, arrays)
    assert path.read_bytes() == filled(net, arrays).SerializeToString()


def test_real_files_are_written_again_byte_by_byte(tmp_path):
    path = shared_file("golden/training/ssd_shapes/final.caffemodel")
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    arrays = [[ours.array for ours in found.blobs] for found in read_weights(path).layers]
    write_caffemodel(tmp_path / "again.caffemodel", net, arrays)
    assert (tmp_path / "again.caffemodel").read_bytes() == path.read_bytes()


def test_diffs_stand_beside_the_values(tmp_path):
    net, arrays = sample()
    diffs = [[np.asarray(array * 2 - 1) for array in own] for own in arrays]
    write_caffemodel(tmp_path / "diffs.caffemodel", net, arrays, diffs)
    expected = filled(net, arrays)
    for target, own in zip(expected.layer, diffs, strict=True):
        for proto, diff in zip(target.blobs, own, strict=True):
            proto.diff.extend(diff.ravel())
    assert (tmp_path / "diffs.caffemodel").read_bytes() == expected.SerializeToString()
    for wrong in (diffs[:-1], [[np.zeros((9, 9)) for _ in own] for own in diffs]):
        with pytest.raises(UsageError):
            write_caffemodel(tmp_path / "no.caffemodel", net, arrays, wrong)
    assert not (tmp_path / "no.caffemodel").exists()


def test_any_real_array_is_stored_as_float32(tmp_path):
    path = tmp_path / "out.caffemodel"
    net = caffe_pb2.NetParameter(layer=[{"name": "a"}])
    arrays = [CONV.astype(np.float64), CONV.T, np.arange(6).reshape(2, 3)[:, ::2], CONV.astype(np.float16)]
    write_caffemodel(path, net, [arrays])
    for ours, source in zip(read_weights(path).layers[0].blobs, arrays, strict=True):
        np.testing.assert_array_equal(ours.array, source.astype(np.float32))


def test_what_does_not_fit_together_is_not_written(tmp_path):
    path = tmp_path / "out.caffemodel"
    net, arrays = sample()
    with pytest.raises(UsageError, match="each of 3 layers, got 2"):
        write_caffemodel(path, net, arrays[:2])
    with pytest.raises(UsageError, match='layer "relu".*complex64'):
        write_caffemodel(path, net, [arrays[0], [np.zeros(2, np.complex64)], arrays[2]])
    with pytest.raises(UsageError, match="got one in V1"):
        write_caffemodel(path, caffe_pb2.NetParameter(layers=[{"name": "a"}]), [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_files_over_two_gibibytes(tmp_path):
    # A sparse file: one layer whose zeros take no disk, and one behind it.
    size = CAFFE_LIMIT + 1 + 4096
    big = field(7, shape(size // 4))[2:]
    head = bytes([5 << 3 | 2]) + varint_of(size)
    blob_size = len(big) + len(head) + size
    name = field(1, b"big")
    inner = name + bytes([7 << 3 | 2]) + varint_of(blob_size) + big + head
    path = tmp_path / "big.caffemodel"
    with open(path, "wb") as file:
        file.write(b"\xa2\x06" + varint_of(len(inner) + size) + inner)
        file.seek(size, os.SEEK_CUR)
        file.write(layer("behind", "InnerProduct", (FC,), "v2"))
    weights = read_weights(path)
    assert [found.name for found in weights.layers] == ["big", "behind"]
    array = weights.layers[0].blobs[0].array
    assert array.shape == (size // 4,)
    assert array[-1] == 0
    np.testing.assert_array_equal(weights.layers[1].blobs[0].array, FC)

    net = caffe_pb2.NetParameter(layer=[{"name": "big"}, {"name": "behind"}])
    half = array[: size // 8]
    with pytest.warns(CaffeCompatWarning, match="original Caffe reads at most 2147483647"):
        write_caffemodel(tmp_path / "again.caffemodel", net, [[half, half], [FC]])
    path.unlink()
    again = read_weights(tmp_path / "again.caffemodel")
    np.testing.assert_array_equal(again.layers[1].blobs[0].array, FC)
    (tmp_path / "again.caffemodel").unlink()


def varint_of(value: int) -> bytes:
    return number(1, value)[1:]


def test_no_layers_is_an_error():
    with pytest.raises(FormatError, match="expected the layers of a net, found none"):
        parse_caffemodel(field(1, b"only a name"))
