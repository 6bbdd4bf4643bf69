from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from caffecompat.data.preprocessing import Preprocessing, Segmentation
from caffecompat.errors import FormatError, ShapeError, UnsupportedError, UsageError

RNG = np.random.default_rng(7)
IMAGE = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_one_pixel_by_hand():
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    mean = (104.0, 117.0, 123.0)
    assert Preprocessing(mean=mean, scale=0.5).apply([pixel]).tolist() == [[[[-47.0]], [[-48.5]], [[-46.5]]]]
    # The mean is in the order of the net's channels.
    rgb = Preprocessing(channels="rgb", mean=mean, scale=0.5).apply([pixel])
    assert rgb.tolist() == [[[[-37.0]], [[-48.5]], [[-56.5]]]]
    # OpenCV's grey: 0.299 R + 0.587 G + 0.114 B = 21.85, rounded.
    assert Preprocessing(channels="gray", mean=(2.0,)).apply([pixel]).tolist() == [[[[20.0]]]]


def test_mean_is_subtracted_before_the_scale():
    values = Preprocessing(mean=(100.0,), scale=0.25).apply([np.full((2, 3, 3), 104, np.uint8)])
    assert values.dtype == np.float32
    assert np.array_equal(values, np.ones((1, 3, 2, 3), np.float32))


@pytest.mark.parametrize("method", ["linear", "area", "nearest", "cubic", "lanczos4"])
def test_warp_is_opencvs_resize(method):
    flag = getattr(cv2, f"INTER_{method.upper()}")
    expected = cv2.resize(IMAGE, (40, 24), interpolation=flag).transpose(2, 0, 1)[None].astype(np.float32)
    got = Preprocessing(size=(24, 40), interpolation=method).apply([IMAGE])
    assert np.array_equal(got, expected)


def test_grey_is_made_before_resizing():
    grey = cv2.cvtColor(IMAGE, cv2.COLOR_BGR2GRAY)
    expected = cv2.resize(grey, (20, 10), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(Preprocessing(channels="gray", size=(10, 20)).apply([IMAGE])[0, 0], expected)
    assert np.array_equal(Preprocessing(channels="gray", size=(10, 20)).apply([grey])[0, 0], expected)
    assert np.array_equal(Preprocessing().apply([grey])[0], np.stack([grey] * 3))


def test_fit_small_covers_the_size_and_the_middle_is_cut():
    # 37 x 53 to cover 20 x 20: the height becomes 20, the width floor(53 / 37 * 20) = 28; the cut starts at column 4.
    record = Preprocessing(size=(20, 20), resize="fit_small", crop=(20, 20))
    whole = cv2.resize(IMAGE, (28, 20), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(record.apply([IMAGE])[0], whole[:, 4:24].transpose(2, 0, 1))
    tall = IMAGE.transpose(1, 0, 2).copy()
    whole = cv2.resize(tall, (20, 28), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(record.apply([tall])[0], whole[4:24].transpose(2, 0, 1))


def test_fit_large_pads_the_odd_line_at_the_end():
    # 37 x 53 into 20 x 20: the width becomes 20, the height floor(20 / (53 / 37)) = 13; 3 lines above, 4 below.
    record = Preprocessing(size=(20, 20), resize="fit_large_pad", pad_values=(1.0, 2.0, 3.0))
    whole = cv2.resize(IMAGE, (20, 13), interpolation=cv2.INTER_LINEAR)
    got = record.resized(IMAGE)
    assert np.array_equal(got[3:16], whole)
    assert (got[:3] == [1, 2, 3]).all()
    assert (got[16:] == [1, 2, 3]).all()
    mirrored = replace(record, pad="mirrored").resized(IMAGE)
    assert np.array_equal(mirrored[2], whole[1])
    assert np.array_equal(replace(record, pad="repeat_nearest").resized(IMAGE)[19], whole[12])
    assert (replace(record, pad_values=(9.0,)).resized(IMAGE)[0] == 9).all()


@pytest.mark.parametrize("resize", ["warp", "fit_small", "fit_large_pad"])
@pytest.mark.parametrize("crop", [None, (16, 12)])
def test_geometry_agrees_with_what_apply_does(resize, crop):
    # A bright square of 8 x 8 pixels must come out where the geometry says.
    image = np.zeros((96, 160, 3), np.uint8)
    image[40:48, 72:80] = 255
    record = Preprocessing(size=(48, 48), resize=resize, crop=crop, interpolation="area")
    values = record.apply([image])[0, 0]
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    weight = values.sum()
    placed = record.geometry(96, 160)
    assert (rows * values).sum() / weight == pytest.approx(44 * placed.scale_y + placed.offset_y, abs=0.15)
    assert (columns * values).sum() / weight == pytest.approx(76 * placed.scale_x + placed.offset_x, abs=0.15)


def test_mean_image_is_subtracted_at_the_pixels_place_before_the_crop():
    mean = RNG.uniform(0, 255, (3, 20, 24)).astype(np.float32)
    record = Preprocessing(size=(20, 24), crop=(11, 16), mean_image=mean, scale=0.1)
    whole = cv2.resize(IMAGE, (24, 20)).transpose(2, 0, 1).astype(np.float32)
    # Caffe's offset is (20 - 11) / 2 = 4, rounded down, and (24 - 16) / 2 = 4.
    expected = (whole - mean)[:, 4:15, 4:20] * np.float32(0.1)
    assert np.array_equal(record.apply([IMAGE])[0], expected)


def test_mean_image_of_the_inputs_size():
    mean = RNG.uniform(0, 255, (3, 11, 16)).astype(np.float32)
    record = Preprocessing(size=(20, 24), crop=(11, 16), mean_image=mean)
    whole = cv2.resize(IMAGE, (24, 20)).transpose(2, 0, 1).astype(np.float32)
    assert np.array_equal(record.apply([IMAGE])[0], whole[:, 4:15, 4:20] - mean)


def test_what_does_not_fit_is_said():
    with pytest.raises(ShapeError, match=r"expected a mean image of \(3, 37, 53\)"):
        Preprocessing(mean_image=np.zeros((3, 5, 5), np.float32)).apply([IMAGE])
    with pytest.raises(ShapeError, match="expected one mean value or 3, one a channel, got 2"):
        Preprocessing(mean=(1.0, 2.0)).apply([IMAGE])
    with pytest.raises(ShapeError, match="cannot cut 50x50"):
        Preprocessing(crop=(50, 50)).apply([IMAGE])
    with pytest.raises(ShapeError, match="come out in 2 sizes"):
        Preprocessing().apply([IMAGE, IMAGE[:10]])
    with pytest.raises(ShapeError, match="float64"):
        Preprocessing().apply([IMAGE / 255.0])
    with pytest.raises(ShapeError, match="0x5"):
        Preprocessing().apply([np.zeros((0, 5, 3), np.uint8)])
    with pytest.raises(ShapeError, match="would be resized to"):
        Preprocessing(size=(300, 300), resize="fit_small").apply([np.zeros((1, 60000, 3), np.uint8)])
    with pytest.raises(UnsupportedError, match="takes no picture"):
        Preprocessing(channels="none").apply([IMAGE])
    with pytest.raises(UsageError):
        Preprocessing().apply([])


@pytest.mark.parametrize(
    "record",
    [
        Preprocessing(size=(24, 40), mean=(104.0, 117.0, 123.0), scale=0.017),
        Preprocessing(size=(24, 40), channels="rgb", mean=(5.0,)),
        Preprocessing(size=(24, 40), channels="gray", scale=1 / 255),
        Preprocessing(
            size=(28, 43), crop=(24, 40), mean_image=RNG.uniform(0, 255, (3, 28, 43)).astype(np.float32), scale=0.5
        ),
        Preprocessing(size=(24, 40)),
    ],
    ids=["bgr", "rgb", "gray", "mean_image", "plain"],
)
def test_embedded_equals_apply(record):
    expected = record.apply([IMAGE, IMAGE[::-1]])
    at_net_size = replace(record, channels="bgr", mean=(), mean_image=None, scale=1.0)
    pixels = np.stack([item[::-1].transpose(1, 2, 0) for item in at_net_size.apply([IMAGE, IMAGE[::-1]])])
    if record.channels == "gray":
        # Grey is made of the resized colours here, and before resizing by `apply`.
        grey = [cv2.cvtColor(item.astype(np.uint8), cv2.COLOR_RGB2GRAY) for item in pixels]
        expected = np.stack(grey)[:, None].astype(np.float32) * np.float32(record.scale)
    embedded = record.embed(torch.nn.Identity())
    got = embedded(torch.from_numpy(pixels.astype(np.uint8)))
    assert got.dtype == torch.float32
    assert np.array_equal(got.numpy(), expected)


def test_embedded_grey_is_opencvs_for_every_kind_of_colour():
    pixels = RNG.integers(0, 256, (1, 200, 300, 3), dtype=np.uint8)
    got = Preprocessing(channels="gray").embed(torch.nn.Identity())(torch.from_numpy(pixels))
    assert np.array_equal(got[0, 0].numpy(), cv2.cvtColor(pixels[0], cv2.COLOR_RGB2GRAY))


def test_embedded_hands_other_inputs_on_and_exports():
    class Add(torch.nn.Module):
        def forward(self, x, y):
            return x + y

    embedded = Preprocessing(mean=(1.0, 2.0, 3.0), scale=2.0, size=(4, 5)).embed(Add())
    pixels = torch.from_numpy(RNG.integers(0, 256, (1, 4, 5, 3), dtype=np.uint8))
    other = torch.ones(1, 3, 4, 5)
    program = torch.export.export(embedded, (pixels, other))
    assert torch.equal(program.module()(pixels, other), embedded(pixels, other))


FULL = Preprocessing(
    input="image",
    channels="rgb",
    mean=(1.5, 2.5, 3.5),
    mean_image=RNG.uniform(0, 255, (3, 4, 5)).astype(np.float32),
    scale=1 / 255,
    size=(8, 9),
    resize="fit_large_pad",
    interpolation="cubic",
    pad="mirrored",
    pad_values=(7.0,),
    crop=(4, 5),
    labels=("background", "tench, Tinca tinca", "été"),
    variances=(0.1, 0.1, 0.2, 0.2),
    segmentation=Segmentation(8, 8, 186, ((0, 0, 0), (128, 64, 0))),
)


@pytest.mark.parametrize("record", [Preprocessing(), FULL])
def test_json_gives_the_same_record(record):
    text = record.to_json()
    again = Preprocessing.from_json(text)
    assert again == record
    assert again.to_json() == text
    assert '"schema": "caffecompat.preprocessing/1"' in text


def test_records_differ_by_their_mean_image():
    other = replace(FULL, mean_image=FULL.mean_image + 1)
    assert other != FULL
    assert replace(FULL, mean_image=FULL.mean_image.copy()) == FULL
    assert replace(FULL, mean_image=None) != FULL


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON"),
        ("[" * 100_000, "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        ("[]", "got list"),
        ("{}", "got None"),
        ('{"schema": "caffecompat.preprocessing/2"}', "preprocessing/2"),
        ('{"schema": "caffecompat.preprocessing/1", "chanels": "bgr"}', "did you mean"),
        ('{"schema": "caffecompat.preprocessing/1", "channels": "cmyk"}', "one of bgr, rgb"),
        ('{"schema": "caffecompat.preprocessing/1", "channels": ["bgr"]}', "one of bgr, rgb"),
        ('{"schema": "caffecompat.preprocessing/1", "scale": NaN}', "a number"),
        ('{"schema": "caffecompat.preprocessing/1", "scale": 1' + "0" * 4000 + "}", "scale"),
        ('{"schema": "caffecompat.preprocessing/1", "scale": true}', "a number"),
        ('{"schema": "caffecompat.preprocessing/1", "size": [1]}', "a list of 2"),
        ('{"schema": "caffecompat.preprocessing/1", "size": [0, 5]}', "from 1"),
        ('{"schema": "caffecompat.preprocessing/1", "labels": [1]}', "a string"),
        ('{"schema": "caffecompat.preprocessing/1", "mean_image": {"shape": [3, 9, 9], "float32": "AAAA"}}', "bytes"),
        ('{"schema": "caffecompat.preprocessing/1", "mean_image": {"shape": [1, 1, 1], "float32": "?"}}', "base64"),
        ('{"schema": "caffecompat.preprocessing/1", "mean_image": 3}', "an object"),
        ('{"schema": "caffecompat.preprocessing/1", "segmentation": {"palette": [[0, 0, 256]]}}', "from 0 to 255"),
        ('{"schema": "caffecompat.preprocessing/1", "segmentation": {"zom": 1}}', "zom"),
    ],
)
def test_json_of_another_kind_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        Preprocessing.from_json(text)
