"""WindowData against a slow model of window_data_layer.cpp, its draws included; window files and their faults."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from tests.data.sources.sources import (
    Twister,
    check_no_state,
    check_restore,
    check_workers,
    keys_of,
    passes,
    reading_net,
)

RNG = np.random.default_rng(11)
SIZES = [(40, 50), (33, 21), (18, 60)]
PICTURES = [RNG.integers(0, 256, (*size, 3)).astype(np.uint8) for size in SIZES]
# For each picture: class, overlap, x1, y1, x2, y2.
WINDOWS = [
    [(3, 1.0, 5, 7, 30, 20), (2, 0.5, 0, 0, 49, 39), (1, 0.49, 10, 3, 12, 30), (0, 0.0, 40, 30, 49, 39)],
    [(7, 0.75, 0, 20, 6, 32), (4, 0.3, 3, 3, 17, 8), (1, 0.29, 20, 0, 20, 32), (5, 0.1, 1, 1, 1, 1)],
    [(1, 0.6, 55, 2, 59, 17), (9, 0.9, 0, 0, 59, 3), (2, 0.0, 30, 5, 44, 9)],
]
MEAN = RNG.uniform(50, 150, (3, 30, 26)).astype(np.float32)


def prototxt(batch=7, crop=16, transform="", **fields):
    values = {"source": '"windows.txt"', "batch_size": batch, "root_folder": '"pictures/"', **fields}
    param = " ".join(f"{name}: {value}" for name, value in values.items() if value is not None)
    return f"""layer {{ name: "windows" type: "WindowData" top: "data" top: "label"
      transform_param {{ crop_size: {crop} {transform} }} window_data_param {{ {param} }} }}"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(PICTURES):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), picture)
    (tmp_path / "windows.txt").write_text(listing())
    np.save(tmp_path / "mean.npy", MEAN)
    return tmp_path


def listing(windows=WINDOWS):
    lines = []
    for index, (own, (height, width)) in enumerate(zip(windows, SIZES, strict=True)):
        lines += [f"# {index}", f"{index}.png", "3", str(height), str(width), str(len(own))]
        lines += [" ".join(map(str, window)) for window in own]
    return "\n".join(lines) + "\n"


def c_round(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def model(
    seed,
    batches,
    batch=7,
    crop=16,
    phase="TRAIN",
    mirror=False,
    fg=0.5,
    bg=0.5,
    fraction=0.25,
    pad=0,
    square=False,
    scale=1,
    mean=None,
    values=(0, 0, 0),
):
    """window_data_layer.cpp, pixel by pixel."""
    f32 = np.float32
    every = [(index, *window) for index, own in enumerate(WINDOWS) for window in own]
    foreground = [window for window in every if f32(window[2]) >= f32(fg)]
    background = [(w[0], 0, *w[2:]) for w in every if f32(w[2]) < f32(fg) and f32(w[2]) < f32(bg)]
    net = Twister(seed)
    net.draws(1 if mirror or phase == "TRAIN" else 0)
    draw = Twister(net())
    count = int(f32(batch) * f32(fraction))
    tops = []
    for _ in range(batches):
        data, labels = np.zeros((batch, 3, crop, crop), f32), []
        for item in range(batch):
            kind = foreground if item >= batch - count else background
            index, label, _, x1, y1, x2, y2 = kind[draw() % len(kind)]
            flip = mirror and draw() % 2 == 1
            picture = PICTURES[index]
            rows, columns = picture.shape[:2]
            size_x = size_y = crop
            pad_w = pad_h = 0
            if pad > 0 or square:
                context = f32(crop) / f32(crop - 2 * pad)
                half_y, half_x = f32(f32(y2 - y1 + 1) / 2.0), f32(f32(x2 - x1 + 1) / 2.0)
                center_x, center_y = f32(x1) + half_x, f32(y1) + half_y
                if square:
                    half_x = half_y = max(half_x, half_y)
                x1, x2 = c_round(center_x - half_x * context), c_round(center_x + half_x * context)
                y1, y2 = c_round(center_y - half_y * context), c_round(center_y + half_y * context)
                whole_y, whole_x = y2 - y1 + 1, x2 - x1 + 1
                pad_x1, pad_y1 = max(0, -x1), max(0, -y1)
                pad_x2, pad_y2 = max(0, x2 - columns + 1), max(0, y2 - rows + 1)
                x1, x2, y1, y2 = x1 + pad_x1, x2 - pad_x2, y1 + pad_y1, y2 - pad_y2
                scale_x, scale_y = f32(crop) / f32(whole_x), f32(crop) / f32(whole_y)
                size_x, size_y = c_round(f32(x2 - x1 + 1) * scale_x), c_round(f32(y2 - y1 + 1) * scale_y)
                pad_h = c_round(f32(pad_y1) * scale_y)
                pad_w = c_round(f32(pad_x2 if flip else pad_x1) * scale_x)
                size_y, size_x = min(size_y, crop - pad_h), min(size_x, crop - pad_w)
            warped = cv2.resize(picture[y1 : y2 + 1, x1 : x2 + 1].copy(), (size_x, size_y))
            for h in range(size_y):
                for w in range(size_x):
                    for c in range(3):
                        pixel = f32(warped[h, size_x - 1 - w if flip else w, c])
                        off = 0 if mean is None else (mean.shape[2] - crop) // 2
                        less = f32(values[c]) if mean is None else mean[c, h + off + pad_h, w + off + pad_w]
                        data[item, c, h + pad_h, w + pad_w] = (pixel - less) * f32(scale)
            labels.append(label)
        tops.append((data, np.array(labels, f32)))
    return tops


CASES = [
    ("", {}, {}),
    ("", {"fg_threshold": 0.6, "bg_threshold": 0.3, "fg_fraction": 0.6}, {"fg": 0.6, "bg": 0.3, "fraction": 0.6}),
    ("mirror: true", {"context_pad": 3, "scale": 0.01}, {"mirror": True, "pad": 3, "scale": 0.01}),
    ("mean_value: [1, 2.5, 3]", {"crop_mode": '"square"'}, {"square": True, "values": (1, 2.5, 3)}),
    (
        'mirror: true mean_file: "mean.npy"',
        {"crop_mode": '"square"', "context_pad": 5, "fg_fraction": 1, "cache_images": "true"},
        {"mirror": True, "mean": MEAN, "square": True, "pad": 5, "fraction": 1},
    ),
    ("mean_value: 9", {"crop_mode": '"square"', "context_pad": 7}, {"square": True, "pad": 7, "values": (9, 9, 9)}),
]


@pytest.mark.parametrize(("transform", "fields", "options"), CASES)
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_as_the_original(folder, transform, fields, options, phase):
    want = model(5, 4, phase=phase, **options)
    with reading_net(prototxt(transform=transform, **fields), folder, phase, seed=5, workers=2) as net:
        for got, (data, labels) in zip(passes(net, 4), want, strict=True):
            np.testing.assert_array_equal(got["label"], labels)
            np.testing.assert_array_equal(got["data"], data)


def test_thresholds_are_single_floats(folder):
    # 0.6 in the file and in the prototxt are the same single float, which is above the double.
    with reading_net(prototxt(fg_threshold=0.6, fg_fraction=1), folder) as net:
        assert "2.png#55,2,59,17" in keys_of(net, 20)


RANDOM = prototxt(transform="mirror: true", context_pad=2, fg_fraction=0.5)


def test_workers_and_restore(folder):
    check_workers(RANDOM, folder)
    check_restore(RANDOM, folder)
    check_no_state(RANDOM, folder)


def test_ranks_have_windows_of_their_own(folder):
    every = {f"{index}.png#{','.join(map(str, w[2:]))}" for index, own in enumerate(WINDOWS) for w in own}
    taken = []
    for rank in range(2):
        with reading_net(prototxt(fg_fraction=0.5), folder, seed=rank, rank=rank, world=2) as net:
            taken.append(set(keys_of(net, 60)))
    assert not taken[0] & taken[1]
    assert taken[0] | taken[1] == every
    message = "an item for each of 7 processes or more, got 5"
    with pytest.raises(CaffeCompatError, match=message), reading_net(prototxt(), folder, world=7):
        pass


def test_cached_pictures_are_read_once(folder):
    with reading_net(prototxt(cache_images="true"), folder) as net:
        first = passes(net, 10)
        for index in range(3):
            (folder / "pictures" / f"{index}.png").unlink()
        passes(net, 10)
    with (
        reading_net(prototxt(), folder) as net,
        pytest.raises(CaffeCompatError, match="picture 'pictures/.* not there"),
    ):
        net()
    assert len(first) == 10


def test_windows_of_bad_pictures_are_passed_over(folder):
    (folder / "pictures" / "1.png").write_bytes(b"broken")
    with reading_net(prototxt(fg_fraction=0.5), folder, skip_bad_records=True) as net:
        for tops in passes(net, 10):
            batch = net.readers[0].batch
            pictures = [key[0] for key in batch.keys]
            assert set(pictures) <= {"0", "2"}
            # Three of seven are windows with an object, and stay so.
            assert (tops["label"] > 0).tolist() == [False] * 4 + [True] * 3
        reasons = net.readers[0].skipped
    assert reasons
    assert all('windows.txt:11: layer "windows": ' in reason and "1.png: not an image" in reason for reason in reasons)
    for index in (0, 2):
        (folder / "pictures" / f"{index}.png").unlink()
    message = "the last of 100 items in a row that cannot be read"
    with reading_net(prototxt(), folder, skip_bad_records=True) as net, pytest.raises(CaffeCompatError, match=message):
        net()


@pytest.mark.parametrize(
    ("window", "fields"),
    [
        ((1, 1.0, 5, 5, 50, 20), {}),
        ((1, 1.0, 5, 5, 20, 40), {}),
        ((1, 1.0, -1, 5, 20, 20), {}),
        ((1, 1.0, 20, 5, 10, 20), {}),
        ((1, 1.0, 20, 25, 30, 20), {"context_pad": 2}),
        ((1, 1.0, 200, 5, 220, 20), {"context_pad": 2}),
        ((1, 1.0, 5, -90, 20, -70), {"crop_mode": '"square"'}),
        # Grown to a square of 16777215 pixels, the picture in it is less than one pixel of the crop.
        ((1, 1.0, -8388600, 5, 8388600, 20), {"crop_mode": '"square"'}),
    ],
)
def test_windows_outside_their_picture(folder, window, fields):
    (folder / "windows.txt").write_text(listing([[window], [(0, 0, 1, 1, 2, 2)], []]))
    text = prototxt(1, fg_fraction=1, **fields)
    message = r"windows.txt:1: .*the window \(.*\) does not lie in the picture of 40x50"
    with reading_net(text, folder) as net, pytest.raises(CaffeCompatError, match=message):
        net()


GOOD = "# 0 0.png 3 40 50 2\n1 1 0 0 5 5\n0 0 0 0 5 5\n"


def test_white_space_does_not_matter(folder):
    (folder / "windows.txt").write_text(GOOD.replace(" ", "\n\n") + GOOD.replace("# 0", "#\t1").replace("\n", " "))
    with reading_net(prototxt(), folder) as net:
        assert set(keys_of(net, 1)) == {"0.png#0,0,5,5"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "windows.txt: .*expected pictures and their windows, got an empty file"),
        (GOOD + "# 2 1.png 3 4 5 0", "windows.txt:4: .*expected the picture '# 1', got '# 2'"),
        (GOOD + "0 0 0 0 5 5", "windows.txt:4: .*the file ends within the 7 words of a picture: 6 are left"),
        (GOOD + "0 0 0 0 0 5 5", "windows.txt:4: .*expected the picture '# 1', got '0 0'"),
        (GOOD.replace("50 2", "50 3"), "windows.txt:3: .*ends within the 18 words of 3 windows of the picture # 0: 12"),
        (GOOD.replace("50 2", "50 999999999"), "ends within the 5999999994 words of 999999999 windows"),
        (GOOD.replace("50 2", "50 99999999999999"), "windows.txt:1: .*a whole number, got '99999999999999'"),
        (GOOD.replace("50 2", "50 -2"), "windows.txt:1: .*expected a number of windows, got -2"),
        (GOOD.replace("0 5 5", "0 5.5 5"), "windows.txt:1: .*expected windows of numbers"),
        (GOOD.replace("0 5 5", "0 nan 5"), "windows.txt:1: .*expected windows of numbers"),
        (GOOD.replace("0 5 5", "x 5 5"), "windows.txt:1: .*expected windows of numbers"),
        (GOOD.replace("0 5 5", "0 1e9 5"), "windows.txt:1: .*expected windows of numbers"),
        (GOOD.replace("1 1 0", f"1 {'1' * 100_000} 0"), "windows.txt:1: .*expected windows of numbers"),
        (GOOD.replace("1 1 0", "0 1 0"), "windows.txt:1: .*to be of class 1 or more"),
        (GOOD.replace("png 3", "png 1"), "windows.txt:1: .*expected the last picture to have 3 channels, got 1"),
        (GOOD.replace("1 1 0", "1 0 0"), "expected windows with an object and without, got 0 of .* and 2 below 0.5"),
        (GOOD.replace("0 0 0 0", "2 1 0 0"), "got 2 of an overlap of at least 0.5 and 0 below 0.5"),
    ],
)
def test_broken_window_files(folder, text, message):
    (folder / "windows.txt").write_text(text)
    with pytest.raises(CaffeCompatError, match=message), reading_net(prototxt(), folder):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (prototxt(batch=0), "batch_size of at least 1, got 0"),
        (prototxt(crop=0), "expected a crop_size from 1 on, got 0"),
        (prototxt(crop=2**31), "expected a crop_size from 1 on, got 2147483648"),
        (prototxt(context_pad=8), "a context_pad of less than half of the crop 16, got 8"),
        (prototxt(fg_fraction=1.5), "fg_fraction from 0 to 1 and a finite scale, got 1.5 and 1"),
        (prototxt(scale="nan"), "got 0.25 and nan"),
        (prototxt(source=None), "window_data_param: source is missing"),
        (prototxt(source='"no.txt"'), "source 'no.txt' is not there"),
        (prototxt(transform="mean_value: 1 mean_value: 2"), "expected one mean_value or 3, got 2"),
        (prototxt(transform='mean_value: 1 mean_file: "mean.npy"'), "mean_file and mean_value are both set"),
        (prototxt(transform='mean_file: "windows.txt"'), "windows.txt: "),
        (prototxt(transform='mean_file: "mean.npy"', crop=27), "a crop of 27 from row and column -1 on, got the shape"),
    ],
)
def test_faults_of_the_prototxt(folder, text, message):
    with pytest.raises(CaffeCompatError, match=message), reading_net(text, folder):
        pass


def test_what_is_ignored_is_told_of(folder):
    for text, message in (
        (prototxt(transform="scale: 2"), "scale of transform_param is ignored, as in Caffe"),
        (prototxt(crop_mode='"Square"'), 'crop_mode "Square" is taken for "warp", as in Caffe'),
    ):
        warns = pytest.warns(CaffeCompatWarning, match=message)
        with warns, reading_net(text, folder, seed=5) as net, reading_net(prototxt(), folder, seed=5) as plain:
            assert (net()["data"] == plain()["data"]).all()
