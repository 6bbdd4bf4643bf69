"""The transformer against one that takes pixel after pixel, and draws with a generator of its own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data.draws import Draws
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffecompat.formats import write_mean
from tests.data.records import Twister, layer, picture

HEIGHT, WIDTH = 9, 11


def make(param: str, phase: str = "TRAIN", root=None) -> Transformer:
    return Transformer(
        layer(f'name: "d" layer {{ name: "d" type: "Data" top: "data" transform_param {{ {param} }} }}', phase), root
    )


def naive(values, settings, phase, twister):
    """data_transformer.cpp (BVLC), for `values` (channels, height, width) of any type."""
    channels, height, width = values.shape
    mirror = settings.get("mirror") and twister() % 2
    rows, columns = settings.get("crop", (height, width))
    top = left = 0
    if "crop" in settings:
        if phase == "TRAIN":
            top = twister() % (height - rows + 1)
            left = twister() % (width - columns + 1)
        else:
            top, left = (height - rows) // 2, (width - columns) // 2
    means, image = settings.get("means"), settings.get("image")
    scale = np.float32(settings.get("scale", 1))
    out = np.empty((channels, rows, columns), np.float32)
    for c in range(channels):
        for h in range(rows):
            for w in range(columns):
                value = np.float32(values[c, top + h, left + w])
                if image is not None:
                    value = value - image[c, top + h, left + w]
                elif means:
                    value = value - np.float32(means[c if len(means) > 1 else 0])
                out[c, h, columns - 1 - w if mirror else w] = value * scale
    return out


CASES = {
    "nothing": ("", {}),
    "scale": ("scale: 0.00390625", {"scale": 0.00390625}),
    "one_mean": ("mean_value: 33.3", {"means": [33.3]}),
    "means_scale": (
        "mean_value: 104 mean_value: 117.7 mean_value: 123 scale: 0.017",
        {"means": [104, 117.7, 123], "scale": 0.017},
    ),
    "mirror": ("mirror: true", {"mirror": True}),
    "crop": ("crop_size: 5", {"crop": (5, 5)}),
    "crop_whole": ("crop_size: 9", {"crop": (9, 9)}),
    "crop_rect": ("crop_h: 4 crop_w: 7 mirror: true", {"crop": (4, 7), "mirror": True}),
    "crop_size_wins": ("crop_size: 3 crop_h: 4 crop_w: 7", {"crop": (3, 3)}),
    "all": (
        'crop_size: 5 mirror: true scale: 0.3 mean_file: "mean.binaryproto"',
        {"crop": (5, 5), "mirror": True, "scale": 0.3, "image": True},
    ),
    "mean_file": ('mean_file: "mean.binaryproto"', {"image": True}),
    "mean_file_mirror": ('mean_file: "mean.binaryproto" mirror: true', {"image": True, "mirror": True}),
}


@pytest.mark.parametrize("kind", ["colour", "bytes", "floats"])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", CASES)
def test_every_pixel(name, phase, kind, tmp_path):
    param, settings = CASES[name]
    if "image" in settings:
        image = np.random.default_rng(5).uniform(0, 255, (3, HEIGHT, WIDTH)).astype(np.float32)
        write_mean(tmp_path / "mean.binaryproto", image)
        settings = {**settings, "image": image}
    transformer = make(param, phase, tmp_path)
    seed = 17
    crops, twister = transformer.stream(Draws(seed)), Twister(Twister(seed)())
    assert (crops is None) == (not settings.get("mirror") and (phase == "TEST" or "crop" not in settings))
    for item in range(6):
        pixels = picture(item, HEIGHT, WIDTH)
        values = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if kind == "floats":
            values = (values + np.float32(0.37)).astype(np.float32)
        expected = naive(values, settings, phase, twister)
        out = np.full(transformer.shape(values.shape), np.nan, np.float32)
        if kind == "colour":
            transformer.picture(pixels, transformer.draw(crops), out)
        else:
            transformer.array(values, transformer.draw(crops), out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_numbers_of_channels(channels):
    pixels = picture(3, HEIGHT, WIDTH, channels)
    transformer = make("mean_value: 7 crop_size: 5 mirror: true")
    crops, twister = transformer.stream(Draws(2)), Twister(Twister(2)())
    values = pixels.reshape(HEIGHT, WIDTH, channels).transpose(2, 0, 1)
    out = np.empty((channels, 5, 5), np.float32)
    transformer.picture(pixels, transformer.draw(crops), out)
    np.testing.assert_array_equal(out, naive(values, {"means": [7], "crop": (5, 5), "mirror": True}, "TRAIN", twister))


def test_read_only_arrays_are_taken():
    values = np.frombuffer(bytes(range(99)), np.uint8).reshape(1, 9, 11)
    out = np.empty((1, 9, 11), np.float32)
    make("mirror: true").array(values, (1,), out)
    np.testing.assert_array_equal(out, values[:, :, ::-1])


@pytest.mark.parametrize(
    ("param", "size", "into"),
    [
        ("height: 6 width: 8", (9, 11), (6, 8)),
        ("height: 6 width: 8 resize_mode: FIT_SMALL_SIZE", (9, 11), (6, 8)),
        ("height: 6 width: 6 resize_mode: FIT_SMALL_SIZE", (9, 11), (6, 7)),
        ("height: 20 width: 10 resize_mode: FIT_SMALL_SIZE", (9, 11), (20, 24)),
    ],
)
def test_resize(param, size, into):
    pixels = picture(1, *size)
    transformer = make(f"resize_param {{ {param} }}")
    shape = transformer.shape((3, *size))
    out = np.empty(shape, np.float32)
    transformer.picture(pixels, transformer.draw(None), out)
    expected = cv2.resize(pixels, shape[:0:-1], interpolation=cv2.INTER_LINEAR)
    assert shape == (3, *into)
    np.testing.assert_array_equal(out, expected.transpose(2, 0, 1))


def test_resize_pads_to_the_size():
    pixels = picture(1, 9, 12)
    transformer = make(
        "resize_param { height: 8 width: 8 resize_mode: FIT_LARGE_SIZE_AND_PAD interp_mode: NEAREST "
        "pad_value: 1 pad_value: 2 pad_value: 3 }"
    )
    out = np.empty(transformer.shape((3, 9, 12)), np.float32)
    transformer.picture(pixels, transformer.draw(None), out)
    assert out.shape == (3, 8, 8)
    for channel in range(3):
        assert set(out[channel, [0, 7]].ravel()) == {channel + 1}
    middle = cv2.resize(pixels, (8, 6), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(out[:, 1:7], middle.transpose(2, 0, 1))


def test_interpolations_are_drawn_by_the_thread():
    transformer = make(
        "mirror: true resize_param { height: 4 width: 4 interp_mode: NEAREST interp_mode: AREA interp_mode: CUBIC }"
    )
    crops, thread = transformer.stream(Draws(1)), transformer.thread(Draws(2))
    twister = Twister(Twister(2)())
    methods = (cv2.INTER_NEAREST, cv2.INTER_AREA, cv2.INTER_CUBIC)
    seen = set()
    for item in range(12):
        draws = transformer.draw(crops, thread)
        pixels = picture(item)
        out = np.empty((3, 4, 4), np.float32)
        transformer.picture(pixels, draws, out)
        chosen = int(twister() / 2**32 * 3)
        seen.add(chosen)
        expected = cv2.resize(pixels, (4, 4), interpolation=methods[chosen])[:, :: -1 if draws[0] % 2 else 1]
        np.testing.assert_array_equal(out, expected.transpose(2, 0, 1))
    assert seen == {0, 1, 2}


def test_crop_and_mean_come_after_resizing(tmp_path):
    mean = np.random.default_rng(0).random((3, 6, 8)).astype(np.float32)
    write_mean(tmp_path / "m.binaryproto", mean)
    transformer = make('crop_size: 4 mean_file: "m.binaryproto" resize_param { height: 6 width: 8 }', "TEST", tmp_path)
    pixels = picture(2)
    out = np.empty((3, 4, 4), np.float32)
    transformer.picture(pixels, (), out)
    resized = cv2.resize(pixels, (8, 6)).transpose(2, 0, 1)
    np.testing.assert_array_equal(out, (resized - mean)[:, 1:5, 2:6])


@pytest.mark.parametrize(
    ("param", "kind", "text"),
    [
        ("force_color: true force_gray: true", CaffeCompatError, "force_color and force_gray are both set"),
        ('mean_value: 3 mean_file: "x"', CaffeCompatError, "mean_file and mean_value are both set"),
        ('mean_file: "nowhere.binaryproto"', CaffeCompatError, "mean_file .nowhere.binaryproto. is not there"),
        ("crop_h: 3", CaffeCompatError, "crop_h and crop_w must be stated together, got 3 and 0"),
        ("scale: nan", CaffeCompatError, "scale"),
        ("mean_value: inf", CaffeCompatError, "mean_value"),
        ("resize_param { height: 3 }", CaffeCompatError, "got 3 and 0"),
        ("resize_param { height: 100000 width: 100000 }", CaffeCompatError, "at most"),
    ],
)
def test_parameters_that_make_no_sense(param, kind, text, tmp_path):
    with pytest.raises(kind, match=text) as caught:
        make(param, root=tmp_path)
    assert 'layer "d"' in str(caught.value)


def test_items_that_do_not_fit(tmp_path):
    out = np.empty((3, 9, 11), np.float32)
    with pytest.raises(ShapeError, match="crop of 10x10 does not fit into 9x11"):
        make("crop_size: 10").shape((3, 9, 11))
    with pytest.raises(ShapeError, match="crop of 4294967295x4294967295 does not fit"):
        make("crop_size: 4294967295").picture(picture(0), (0, 0), out)
    with pytest.raises(ShapeError, match="expected one mean_value or 3, one a channel, got 2"):
        make("mean_value: 1 mean_value: 2").picture(picture(0), (), out)
    with pytest.raises(ShapeError, match=r"expected an item of shape \(3, 9, 11\).* got \(3, 9, 12\)"):
        make("").array(np.zeros((3, 9, 12), np.uint8), (), out)
    with pytest.raises(ShapeError, match=r"got \(1, 9, 11\)"):
        make("").picture(picture(0, channels=1), (), out)
    write_mean(tmp_path / "m.npy", np.zeros((3, 5, 5)))
    with pytest.raises(
        ShapeError, match=r"expected a mean of shape \(3, 9, 11\), that of the item before any crop, got"
    ):
        make('crop_size: 5 mean_file: "m.npy"', root=tmp_path).shape((3, 9, 11))
    with pytest.raises(UnsupportedError, match="array of floats"):
        make("resize_param { height: 3 width: 3 }").array(np.zeros((3, 9, 11), np.float32), (), out)
    with pytest.raises(ShapeError, match="up to 4 channels, got 5"):
        make("resize_param { height: 3 width: 3 }").array(np.zeros((5, 9, 11), np.uint8), (), out)
    with pytest.raises(ShapeError, match="would be resized to 3x0"):
        make("resize_param { height: 3 width: 3 resize_mode: FIT_LARGE_SIZE_AND_PAD }").shape((3, 1000, 1))


def test_a_seed_is_taken_only_where_something_is_random():
    draws = Draws(4)
    assert make("crop_size: 3", "TEST").stream(draws) is None
    assert make("scale: 2").stream(draws) is None
    assert draws() == Twister(4)()
    draws = Draws(4)
    make("mirror: true", "TEST").stream(draws)
    expected = Twister(4)
    expected()
    assert draws() == expected()
