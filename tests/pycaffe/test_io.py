"""caffe.io beside what the original computed with the libraries of its time: tests/reference/pycaffe_io."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.errors import FormatError, UnsupportedError, UsageError
from caffecompat.pycaffe import io
from tests.support import REFERENCE

PICTURES = REFERENCE / "pycaffe_io" / "pictures"
# The shapes and sizes of the recorder.
RESIZES = [
    ((12, 11, 3), (8, 7)),
    ((4, 5, 3), (9, 13)),
    ((13, 11, 1), (7, 23)),
    ((5, 4, 3), (1, 1)),
    ((5, 4, 1), (3, 1)),
    ((12, 11, 2), (8, 7)),
    ((4, 5, 4), (9, 13)),
    ((6, 7, 5), (6, 7)),
    ((5, 4, 2), (1, 3)),
    ((1, 1, 3), (3, 4)),
    ((1, 4, 2), (3, 8)),
]
RECORDED = [(order, n) for order in (1, 0) for n, (shape, _) in enumerate(RESIZES) if order or shape[-1] in (1, 3)]
MEAN = np.random.RandomState(1).uniform(90, 130, (3, 8, 7))


def assert_same(got, expected):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", sorted(path.name for path in PICTURES.iterdir()))
def test_pictures_load_as_the_original_loads_them(io_answers, name):
    assert_same(io.load_image(PICTURES / name), io_answers[f"load/colour/{name}"])
    assert_same(io.load_image(str(PICTURES / name), color=False), io_answers[f"load/grey/{name}"])


def test_floats_and_words_in_tiff_files_are_kept(tmp_path):
    words = np.array([[[1, 2, 3], [65535, 0, 300]]], np.uint16)
    cv2.imwrite(str(tmp_path / "words.tif"), words)
    assert_same(io.load_image(tmp_path / "words.tif"), (words[..., ::-1] / 65535).astype(np.float32))
    floats = np.array([[0.25, 0.5], [1, 0]], np.float32)
    cv2.imwrite(str(tmp_path / "floats.tiff"), floats)
    assert_same(io.load_image(tmp_path / "floats.tiff", color=False), floats[..., np.newaxis])


def test_a_picture_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"nowhere\.png"):
        io.load_image(tmp_path / "nowhere.png")


@pytest.mark.parametrize(("order", "number"), RECORDED)
def test_resizing_is_that_of_scikit_image_and_scipy(io_answers, order, number):
    shape, size = RESIZES[number]
    image = (np.random.RandomState(number).rand(*shape) * 300 - 40).astype(np.float32)
    before = image.copy()
    np.testing.assert_allclose(
        io.resize_image(image, size, interp_order=order), io_answers[f"resize/{order}/{number}"], rtol=1e-6, atol=3e-5
    )
    assert np.array_equal(image, before)


def test_resizing_other_kinds_of_images(io_answers):
    assert_same(io.resize_image(np.full((3, 4, 3), 2.5, np.float32), (5, 6)), io_answers["resize/constant"])
    doubles = np.random.RandomState(3).rand(6, 5, 3) - 9
    assert_same(io.resize_image(doubles, np.array([4, 9])), io_answers["resize/doubles"])


def test_resizing_bytes_of_four_channels_rounds(io_answers):
    seed, (height, width) = 5, (9, 8)
    r = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    planes = [
        127 + 100 * np.sin(x / (3.0 + c) + y / (5.0 - c) + seed) + r.uniform(-20, 20, (height, width)) for c in range(4)
    ]
    image = np.dstack(planes).clip(0, 255).astype(np.uint8)
    assert_same(io.resize_image(image, (5, 12)), io_answers["resize/bytes"])


def test_the_last_row_is_lost_where_scipy_loses_it(io_answers):
    edges = [
        io.resize_image(np.ones((old, 2, 2), np.float32), (new, 2))[-1, 0, 0]
        for old in range(2, 12)
        for new in range(2, 40)
    ]
    assert np.array_equal(edges, io_answers["resize/edges"])


def test_what_cannot_be_resized_is_refused():
    image = np.zeros((4, 5, 3), np.float32)
    with pytest.raises(ValueError, match=r"\(4, 5\)"):
        io.resize_image(image[..., 0], (2, 2))
    with pytest.raises(UsageError, match="0x2"):
        io.resize_image(image, (0, 2))
    with pytest.raises(UnsupportedError, match="not 3"):
        io.resize_image(image, (2, 2), interp_order=3)


def test_oversampling_odd_sizes(io_answers):
    batch = [np.random.RandomState(n).rand(13, 10, 2).astype(np.float32) for n in range(2)]
    assert_same(io.oversample(batch, (6, 7)), io_answers["oversample/odd"])
    assert_same(io.oversample(np.array(batch), np.array([13, 10])), io_answers["oversample/same"])


def test_oversampling_refuses_small_and_unequal_images():
    with pytest.raises(ValueError, match="does not fit"):
        io.oversample([np.zeros((4, 5, 3))], (5, 5))
    with pytest.raises(ValueError, match="one shape"):
        io.oversample([np.zeros((6, 5, 3)), np.zeros((5, 5, 3))], (5, 5))
    with pytest.raises(UsageError, match="one image"):
        io.oversample([], (5, 5))


@pytest.fixture
def transformer():
    made = io.Transformer({"data": (2, 3, 8, 7)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 0, 1))
    made.set_raw_scale("data", 255)
    made.set_mean("data", MEAN)
    made.set_input_scale("data", 0.5)
    return made


def test_transforming_and_back(io_answers, transformer):
    x = transformer.preprocess("data", np.random.RandomState(2).rand(11, 13, 3))
    np.testing.assert_allclose(x, io_answers["transformer/preprocess"], rtol=1e-6, atol=2e-5)
    assert x.dtype == np.float32
    assert_same(transformer.deprocess("data", x[np.newaxis]), io_answers["transformer/deprocess"])


def test_transforming_leaves_the_image_as_it_is():
    transformer = io.Transformer({"data": [1, 3, 4, 5]})
    transformer.set_raw_scale("data", 255)
    image = np.full((4, 5, 3), 0.5, np.float32)
    transformer.preprocess("data", image)
    assert image.max() == 0.5


def test_a_mean_of_another_size_is_resized(io_answers, transformer):
    transformer.set_mean("data", np.random.RandomState(1).uniform(90, 130, (3, 5, 12)))
    np.testing.assert_allclose(transformer.mean["data"], io_answers["transformer/mean"], rtol=1e-6, atol=2e-5)
    transformer.set_mean("data", np.full((5, 12), 3.0))
    assert transformer.mean["data"].shape == (1, 8, 7)
    assert np.all(transformer.mean["data"] == 3)


def test_the_transformer_refuses_what_does_not_fit(transformer):
    with pytest.raises(UsageError, match=r'"?data'):
        transformer.preprocess("date", np.zeros((4, 5, 3)))
    with pytest.raises(UsageError, match="3 axes"):
        transformer.set_transpose("data", (2, 0, 1, 3))
    with pytest.raises(UsageError, match="3 channels"):
        transformer.set_channel_swap("data", (1, 0))
    with pytest.raises(ValueError, match="3 channels"):
        transformer.set_mean("data", np.zeros(4))
    with pytest.raises(ValueError, match="1, 2 or 3 axes"):
        transformer.set_mean("data", np.zeros((1, 3, 8, 7)))
    transformer.mean["data"] = np.zeros((4, 8, 7))
    with pytest.raises(ValueError, match=r"\(4, 8, 7\)"):
        transformer.preprocess("data", np.zeros((8, 7, 3)))


def test_blobs_come_back_as_arrays():
    array = np.random.RandomState(4).rand(2, 3, 5).astype(np.float32)
    blob = io.array_to_blobproto(array, array * 2)
    assert list(blob.shape.dim) == [2, 3, 5]
    assert np.array_equal(io.blobproto_to_array(blob), array)
    assert np.array_equal(io.blobproto_to_array(blob, return_diff=True), array * 2)
    blob = type(blob)(num=1, channels=1, height=3, width=10, data=array.ravel())
    assert io.blobproto_to_array(blob).shape == (1, 1, 3, 10)
    assert io.blobproto_to_array(type(blob)(data=[7])) == 7
    assert io.blobproto_to_array(type(blob)(double_data=[7, 8], shape={"dim": [2]}))[1] == 8


def test_blobs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="100 values"):
        io.blobproto_to_array(io.caffe_pb2.BlobProto(data=[0.0] * 100))
    with pytest.raises(ValueError, match="diff"):
        io.array_to_blobproto(np.zeros((2, 3)), np.zeros((3, 2)))


def test_lists_of_arrays_travel_as_bytes():
    arrays = [np.arange(6.0).reshape(1, 2, 3, 1), np.ones((2,))]
    text = io.arraylist_to_blobprotovector_str(arrays)
    back = io.blobprotovector_str_to_arraylist(text)
    assert [a.tolist() for a in back] == [a.tolist() for a in arrays]
    with pytest.raises(FormatError, match="BlobProtoVector"):
        io.blobprotovector_str_to_arraylist(text[:-1])


def test_datums_hold_bytes_or_floats():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    datum = io.array_to_datum(pixels, 6)
    assert (datum.data, datum.label) == (pixels.tobytes(), 6)
    back = io.datum_to_array(datum)
    assert back.dtype == np.uint8
    assert np.array_equal(back, pixels)
    back += 1
    floats = io.array_to_datum(pixels.astype(np.float32) / 7)
    assert not floats.HasField("label")
    assert np.array_equal(io.datum_to_array(floats), (pixels.astype(np.float32) / 7).astype(float))


def test_datums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        io.array_to_datum(np.zeros((2, 3)))
    datum = io.caffe_pb2.Datum(channels=3, height=2, width=2, encoded=True, data=b"\x89PNG")
    with pytest.raises(ValueError, match="imdecode"):
        io.datum_to_array(datum)
