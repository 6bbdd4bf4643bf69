"""ImageData against a slow model of image_data_layer.cpp, its draws included; lists, faults, processes, states."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from tests.data.sources.sources import (
    Twister,
    check_no_state,
    check_ranks,
    check_restore,
    check_workers,
    keys_of,
    passes,
    reading_net,
)

COUNT = 7
HEIGHT, WIDTH = 9, 11
PICTURES = np.random.default_rng(5).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3)).astype(np.uint8)
LABELS = [3, 0, -2, 1000, 7, 16777216, 1]


def prototxt(batch=3, transform="", **fields):
    values = {"source": '"list.txt"', "batch_size": batch, "root_folder": '"pictures/"', **fields}
    param = " ".join(f"{name}: {value}" for name, value in values.items() if value is not None)
    return f"""layer {{ name: "pictures" type: "ImageData" top: "data" top: "label"
      transform_param {{ {transform} }} image_data_param {{ {param} }} }}"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for item, picture in enumerate(PICTURES):
        cv2.imwrite(str(tmp_path / "pictures" / f"{item}.png"), picture)
    write_list(tmp_path, [f"{item}.png {label}" for item, label in enumerate(LABELS)])
    return tmp_path


def write_list(folder, lines):
    (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))


def model(
    seed, batches, batch, phase="TRAIN", shuffle=False, skip=0, mirror=False, crop=0, mean=(0,), scale=1, resize=0
):
    """image_data_layer.cpp, data_transformer.cpp and rng.hpp, value by value."""
    net = Twister(seed)
    random = mirror or (phase == "TRAIN" and crop)
    net.draws(1 if random else 0)
    order = list(range(COUNT))
    shuffles = Twister(net()) if shuffle else None
    if shuffles:
        shuffles.shuffle(order)
    at = net() % skip if skip else 0
    places = Twister(net()) if random else None
    tops = []
    for _ in range(batches):
        data, labels = [], []
        for _ in range(batch):
            picture = PICTURES[order[at]]
            if resize:
                picture = cv2.resize(picture, resize)
            rows, columns = picture.shape[:2]
            flip = mirror and places() % 2
            top = left = 0
            if crop:
                top, left = (rows - crop) // 2, (columns - crop) // 2
                if phase == "TRAIN":
                    top, left = places() % (rows - crop + 1), places() % (columns - crop + 1)
                rows = columns = crop
            item = np.zeros((3, rows, columns), np.float32)
            for row in range(rows):
                for column in range(columns):
                    for channel in range(3):
                        value = np.float32(picture[top + row, left + column, channel])
                        value = (value - np.float32(mean[channel % len(mean)])) * np.float32(scale)
                        item[channel, row, columns - 1 - column if flip else column] = value
            data.append(item)
            labels.append(LABELS[order[at]])
            at += 1
            if at == COUNT:
                at = 0
                if shuffles:
                    shuffles.shuffle(order)
        tops.append((np.stack(data), np.array(labels, np.float32)))
    return tops


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (prototxt(), {}),
        (prototxt(batch=4, shuffle="true", rand_skip=7), {"batch": 4, "shuffle": True, "skip": 7}),
        (prototxt(transform="crop_size: 6"), {"crop": 6, "phase": "TEST"}),
        (
            prototxt(batch=5, shuffle="true", transform="crop_size: 6 mirror: true mean_value: 104.5 scale: 0.017"),
            {"batch": 5, "shuffle": True, "crop": 6, "mirror": True, "mean": (104.5,), "scale": 0.017},
        ),
        (
            prototxt(new_height=8, new_width=5, rand_skip=4, transform="mirror: true mean_value: [1.5, 2, 3]"),
            {"resize": (5, 8), "skip": 4, "mirror": True, "mean": (1.5, 2, 3), "phase": "TEST"},
        ),
    ],
)
@pytest.mark.parametrize("seed", [3, 8])
def test_as_the_original(folder, text, options, seed):
    want = model(seed, 5, **{"batch": 3, **options})
    with reading_net(text, folder, options.get("phase", "TRAIN"), seed=seed, workers=2) as net:
        for got, (data, labels) in zip(passes(net, 5), want, strict=True):
            np.testing.assert_array_equal(got["data"], data)
            np.testing.assert_array_equal(got["label"], labels)


def test_grey(folder):
    with reading_net(prototxt(is_color="false", batch=COUNT), folder) as net:
        data = net()["data"].numpy()
    assert data.shape == (COUNT, 1, HEIGHT, WIDTH)
    weighted = PICTURES @ np.array([0.114, 0.587, 0.299])
    assert np.abs(data[:, 0] - weighted).max() < 1.1


RANDOM = prototxt(
    shuffle="true",
    rand_skip=5,
    transform="crop_size: 5 mirror: true resize_param { height: 8 width: 8 "
    "interp_mode: LINEAR interp_mode: AREA interp_mode: NEAREST }",
)


def test_workers_and_restore(folder):
    check_workers(RANDOM, folder)
    check_restore(RANDOM, folder)
    check_no_state(RANDOM, folder)


def test_states_of_others_are_refused(folder):
    with reading_net(prototxt(shuffle="true"), folder) as net:
        state = net.readers[0].state()
    for text, changed, message in (
        (prototxt(), {"order": {"at": COUNT}}, "a place of 7 in a list of 7"),
        (prototxt(), {"order": {"at": -1}}, "a place of -1"),
        (prototxt(shuffle="true", transform="mirror: true"), {}, "draws other random numbers"),
        (prototxt(shuffle="true"), {"order": {**state["order"], "order": [0, 1, 2]}}, "the order of another list"),
    ):
        with reading_net(text, folder) as net, pytest.raises(ValueError, match=message):
            net.readers[0].restore({**state, **changed})


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_ranks(folder, shuffle):
    write_list(folder, [f"{item}.png 0" for item in range(6)])
    check_ranks(prototxt(batch=1, shuffle=shuffle), folder, {f"{item}.png" for item in range(6)}, per_rank=2)


def test_names_with_spaces_and_other_line_ends(folder):
    for item, name in enumerate(("a  b.png", " c.png", "d 5.png")):
        (folder / "pictures" / f"{item}.png").rename(folder / "pictures" / name)
    (folder / "list.txt").write_bytes(b"a  b.png 4\r\n c.png\t-1 \n\n\nd 5.png +5\n3.png 2.0")
    with reading_net(prototxt(batch=4), folder) as net:
        assert net()["label"].tolist() == [4, -1, 5, 2]
        assert net.readers[0].batch.keys == ("a  b.png", " c.png", "d 5.png", "3.png")


def test_no_labels_at_all(folder):
    write_list(folder, ["1.png", "", "2.png"])
    warns = pytest.warns(CaffeCompatWarning, match="no line of .*list.txt states a label; as in Caffe all are 0")
    with warns, reading_net(prototxt(batch=2), folder) as net:
        assert net()["label"].tolist() == [0, 0]
        assert net.readers[0].batch.keys == ("1.png", "2.png")


def test_names_that_are_no_utf8(folder):
    (folder / "pictures" / "0.png").rename(folder / "pictures" / b"\xe9.png".decode("utf-8", "surrogateescape"))
    (folder / "list.txt").write_bytes(b"\xe9.png 4\n")
    with reading_net(prototxt(batch=1), folder) as net:
        assert net()["label"].tolist() == [4]


def test_a_batch_takes_the_shape_of_its_first_picture(folder):
    cv2.imwrite(str(folder / "pictures" / "1.png"), np.zeros((4, 5, 3), np.uint8))
    with reading_net(prototxt(batch=1), folder) as net:
        assert [tops["data"].shape for tops in passes(net, 3)] == [(1, 3, 9, 11), (1, 3, 4, 5), (1, 3, 9, 11)]
    message = r"list.txt:2: .*expected an item of shape \(3, 9, 11\), as the first of its batch, got \(3, 4, 5\)"
    with reading_net(prototxt(batch=2), folder) as net, pytest.raises(CaffeCompatError, match=message):
        net()


def test_bad_pictures_are_passed_over(folder):
    (folder / "pictures" / "0.png").write_bytes(b"")
    (folder / "pictures" / "4.png").write_bytes((folder / "pictures" / "4.png").read_bytes()[:30])
    with reading_net(prototxt(batch=COUNT), folder, skip_bad_records=True, workers=1) as net:
        net()
        batch = net.readers[0].batch
        assert batch.keys == tuple(f"{item}.png" for item in (1, 1, 2, 3, 5, 5, 6))
        assert batch.tops[1].tolist() == [LABELS[item] for item in (1, 1, 2, 3, 5, 5, 6)]
        assert len(batch.skipped) == 2
        assert 'list.txt:1: layer "pictures": ' in batch.skipped[0]
        assert batch.skipped[0].endswith("0.png: expected an image, got an empty file")
        assert net.readers[0].skipped == list(batch.skipped)
    message = "list.txt:1: .*0.png: expected an image, got an empty file"
    with pytest.raises(CaffeCompatError, match=message), reading_net(prototxt(), folder):
        pass


def test_a_picture_that_claims_more_than_it_can_hold(folder):
    path = folder / "pictures" / "2.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    message = "list.txt:3: .*2.png: the image claims 30000x30000 pixels, in [0-9]* bytes"
    with reading_net(prototxt(), folder) as net, pytest.raises(CaffeCompatError, match=message):
        net()


def test_a_folder_beside_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with reading_net(prototxt(batch=1), None) as net:
        assert keys_of(net, 1) == ["0.png"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0.png 1", "1.png", "2.png 3"], "list.txt:2: .*this line states no label, others do"),
        (["0.png", "1.png 3"], "list.txt:1: .*this line states no label, others do"),
        (["0.png 1", "1.png two"], "list.txt:2: .*a whole number as label after the last space, got 'two'"),
        (["0.png 0.5"], "list.txt:1: .*got '0.5'\n.*HDF5Data"),
        (["0.png 2147483648"], "list.txt:1: .*got '2147483648'"),
        (["0.png 99999999999999999999999"], "list.txt:1: .*got '9999"),
        (["", "  "], "list.txt: .*expected the names of files, got an empty list"),
        (["absent.png 1"], "list.txt:1: .*picture 'pictures/absent.png' is not there"),
        (["a\0b 1"], r"list.txt:1: .*expected a path as picture, got 'pictures/a\\x00b'"),
        (["../list.txt 1"], "list.txt:1: .*not an image that OpenCV can read"),
    ],
)
def test_faults_of_the_list(folder, lines, message):
    write_list(folder, lines)
    with pytest.raises(CaffeCompatError, match=message), reading_net(prototxt(), folder):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (prototxt(batch=0), "batch_size of at least 1, got 0"),
        (prototxt(source=None), "image_data_param: source is missing"),
        (prototxt(source='"absent.txt"'), "source 'absent.txt' is not there"),
        (prototxt(source='"pictures"'), "expected a file, got a directory"),
        (prototxt(new_height=3), "new_height and new_width must be stated together, got 3 and 0"),
        (prototxt(new_height=2**31, new_width=2**31), "at most 268435456 pixels"),
        (prototxt(rand_skip=2**32 - 1), "rand_skip: .* pictures are to be skipped, the list has 7"),
        (prototxt(transform="crop_size: 10"), "list.txt:1: .*a crop of 10x10 does not fit into 9x11"),
        (prototxt(transform="mean_value: 1 mean_value: 2"), "list.txt:1: .*one mean_value or 3"),
    ],
)
def test_faults_of_the_prototxt(folder, text, message):
    with pytest.raises(CaffeCompatError, match=message), reading_net(text, folder) as net:
        net()
