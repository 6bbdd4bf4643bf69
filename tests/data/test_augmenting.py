"""rescale_param and color_shift_param: sizes and shifts against ones computed here, and their statistics."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data.draws import Draws
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.data.source import Reading
from caffecompat.data.sources.image import ImageSource
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, ShapeError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.layers.memory_data import MemoryData
from tests.data.records import layer

# Eigenvalues of 3, 2 and 1 hundred along R, G and B themselves.
AXES = "eigenvalue: 300 eigenvalue: 200 eigenvalue: 100 " + " ".join(
    f"eigenvector: {value}" for value in (0, 0, 1, 0, 1, 0, 1, 0, 0)
)


def spec(param, phase="TRAIN", kind="Data"):
    tops = 'top: "data" top: "label"'
    return layer(f'layer {{ name: "d" type: "{kind}" {tops} transform_param {{ {param} }} }}', phase)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def passes(param, image, count, phase="TRAIN"):
    """What so many passes of a picture give, and the transformer."""
    transformer = Transformer(spec(param, phase))
    root = Draws(5)
    crops, thread = transformer.stream(root), transformer.thread(root)
    made = []
    for _ in range(count):
        out = np.empty(transformer.shape((3, *image.shape[:2])), np.float32)
        transformer.picture(image, transformer.draw(crops, thread), out)
        made.append(out)
    return np.stack(made)


def test_a_fixed_side():
    image = picture(40, 60)
    (found,) = passes("crop_size: 8 rescale_param { min_side: 10 }", image, 1, "TEST")
    resized = cv2.resize(image, (15, 10))
    assert np.array_equal(found, resized[1:9, 3:11].transpose(2, 0, 1))
    # In TEST a range means its middle.
    (found,) = passes("crop_size: 8 rescale_param { min_side: 8 max_side: 13 }", image, 1, "TEST")
    assert np.array_equal(found, resized[1:9, 3:11].transpose(2, 0, 1))


def test_a_drawn_side_is_each_as_likely():
    """A gradient from left to right, in which a crop's slope tells how large the picture was."""
    image = np.broadcast_to(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], (50, 50, 3)).copy()
    found = passes("crop_size: 8 rescale_param { min_side: 8 max_side: 12 }", image, 400)[:, 0, 4]
    slopes = (found[:, 7] - found[:, 0]) / 7
    sides = np.rint(250 / slopes).astype(int)
    assert set(sides.tolist()) == set(range(8, 13))
    # Of 400 draws of five sides 80 are expected of each, with a deviation of 8.
    assert all(abs((sides == side).sum() - 80) < 32 for side in range(8, 13))


def test_frames_of_boxes_follow_the_drawn_side():
    transformer = Transformer(spec("crop_size: 8 mirror: true rescale_param { min_side: 8 max_side: 32 }"))
    root = Draws(5)
    crops, thread = transformer.stream(root), transformer.thread(root)
    for _ in range(20):
        drawn = transformer.draw(crops, thread)
        side = 8 + drawn[3] % 25
        _, frame = transformer.frame(100, 200, drawn)
        np.testing.assert_allclose((frame[2:] - frame[:2]) * (2 * side, side), 8, rtol=1e-5)


def test_what_the_originals_draw_stays():
    """Crops and mirrors are those of a transform_param without our fields."""
    image = picture(20, 20)
    plain = passes("crop_size: 8 mirror: true", image, 30)
    own = passes("crop_size: 8 mirror: true rescale_param { min_side: 20 } color_shift_param { std: 0 }", image, 30)
    assert np.array_equal(plain, own)


def test_shifts_have_the_deviations_that_are_asked_for():
    image = picture(3, 4)
    found = passes(f"color_shift_param {{ std: 0.2 {AXES} }}", image, 4000)
    shifts = found - image.transpose(2, 0, 1)
    # All pixels of a picture are shifted alike.
    np.testing.assert_allclose(shifts, np.broadcast_to(shifts[:, :, :1, :1], shifts.shape), atol=1e-3)
    amounts = shifts[:, :, 0, 0]
    # B is the last vector, of 100: a deviation of 20; the mean of 4000 has one of 1/63 of it.
    np.testing.assert_allclose(amounts.std(0), [20, 40, 60], rtol=0.05)
    assert (abs(amounts.mean(0)) < 4 * np.array([20, 40, 60]) / np.sqrt(4000)).all()
    correlation = np.corrcoef(amounts.T)
    assert abs(correlation - np.eye(3)).max() < 0.08


def test_the_default_is_imagenets():
    image = picture(3, 4)
    amounts = (passes("color_shift_param { }", image, 4000) - image.transpose(2, 0, 1))[:, :, 0, 0]
    vectors = np.array([[-0.5836, -0.5808, -0.5675], [-0.6948, -0.0045, 0.7192], [0.4203, -0.8140, 0.4009]])
    along = amounts @ vectors.T
    np.testing.assert_allclose(along.std(0), 0.1 * 255 * np.array([0.2175, 0.0188, 0.0045]), rtol=0.06)


def test_shifts_come_before_the_scale_and_with_means():
    image = picture(6, 6)
    settings = "crop_size: 4 mirror: true mean_value: 104 mean_value: 117 mean_value: 123 "
    shift = f"color_shift_param {{ {AXES} }}"
    with_scale = passes(f"{settings} scale: 0.5 {shift}", image, 10)
    without = passes(f"{settings} {shift}", image, 10)
    np.testing.assert_allclose(with_scale, without / 2, atol=1e-5)
    plain = passes(settings, image, 10)
    differences = without - plain
    assert abs(differences).max() > 5
    np.testing.assert_allclose(differences, np.broadcast_to(differences[:, :, :1, :1], differences.shape), atol=1e-4)


def test_nothing_is_shifted_in_test():
    image = picture(5, 5)
    (found,) = passes("color_shift_param { std: 5 }", image, 1, "TEST")
    assert np.array_equal(found, image.transpose(2, 0, 1))


def test_arrays_are_shifted_too():
    transformer = Transformer(spec(f"color_shift_param {{ {AXES} }}"))
    values = np.random.default_rng(1).uniform(0, 255, (3, 4, 5)).astype(np.float32)
    out = np.empty((3, 4, 5), np.float32)
    transformer.array(values, (77,), out)
    expected = np.random.default_rng(77).normal(0, 0.1, 3) * (300, 200, 100)
    np.testing.assert_allclose(out - values, np.broadcast_to(expected[::-1, None, None], out.shape), atol=1e-4)
    with pytest.raises(ShapeError, match="3 channels, got 1"):
        transformer.array(values[:1], (77,), out[:1])


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("crop_size: 8 rescale_param { }", "expected min_side from 1"),
        ("crop_size: 8 rescale_param { min_side: 9 max_side: 8 }", "got 9 and 8"),
        ("rescale_param { min_side: 9 }", "expected a crop that fits into 9x9, got none"),
        ("crop_size: 10 rescale_param { min_side: 9 }", "expected a crop that fits into 9x9"),
        ('crop_size: 8 mean_file: "m" rescale_param { min_side: 9 }', "does not go with mean_file"),
        (
            "crop_size: 8 rescale_param { min_side: 9 } resize_param { prob: 1 height: 9 width: 9 }",
            "does not go with resize_param",
        ),
        ("color_shift_param { eigenvalue: 1 }", "got 1 and 0"),
        ("color_shift_param { std: -1 }", "std from 0"),
        (f"color_shift_param {{ std: nan {AXES} }}", "finite numbers"),
    ],
)
def test_parameters_that_cannot_be(param, message):
    with pytest.raises(CaffeCompatError, match=message) as caught:
        Transformer(spec(param))
    assert caught.value.layer == "d"


def test_layers_that_do_not_heed_them_refuse_them():
    text = """layer { name: "m" type: "MemoryData" top: "data" top: "label" transform_param { color_shift_param { } }
      memory_data_param { batch_size: 1 channels: 3 height: 8 width: 8 } }"""
    with pytest.raises(CaffeCompatError, match="MemoryData has no color_shift_param"):
        MemoryData(layer(text, "TRAIN"), []).add_pictures([picture(8, 8)], np.zeros(1))


def test_preprocessing_follows_the_rescaling():
    """A net's record says how pictures are prepared as its data layer tests."""
    text = """layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { batch_size: 2 }
      transform_param { crop_size: 8 rescale_param { min_side: 8 max_side: 12 } mean_value: 3 } }"""
    record = Preprocessing.from_graph(build_graph(parse_net(text), "TEST"))
    assert (record.size, record.resize, record.crop) == ((10, 10), "fit_small", (8, 8))


def test_a_layer_reads_pictures_of_different_sizes_and_goes_on_from_a_state(tmp_path):
    sizes = ((20, 30), (40, 25), (16, 16))
    for number, size in enumerate(sizes):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(*size, seed=number))
    (tmp_path / "list.txt").write_text("".join(f"{number}.png {number}\n" for number in range(3)))
    made = spec(
        f"crop_size: 12 mirror: true rescale_param {{ min_side: 12 max_side: 20 }} color_shift_param {{ {AXES} }}",
        kind="ImageData",
    )
    made.message.image_data_param.source = "list.txt"
    made.message.image_data_param.batch_size = 2
    made.message.image_data_param.root_folder = f"{tmp_path}/"

    def source():
        made_here = ImageSource(made, Reading(root=tmp_path, draws=Draws(3)))
        assert made_here.shapes() == ((2, 3, 12, 12), (2,))
        return made_here

    first = source()
    batches = [first.load(first.tickets()).tops[0] for _ in range(3)]
    state = first.state()
    after = first.load(first.tickets()).tops[0]
    again = source()
    for batch in batches:
        assert np.array_equal(again.load(again.tickets()).tops[0], batch)
    other = source()
    other.restore(state)
    assert np.array_equal(other.load(other.tickets()).tops[0], after)
    assert abs(batches[0][0] - batches[1][1]).max() > 1
