"""Exported programs: loaded by a process that cannot import caffecompat, they compute what the net computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UsageError
from caffecompat.export.pt2 import export_pt2
from tests.support import make_net, shared_file

pytestmark = pytest.mark.slow

RUN = """
import sys, torch
sys.modules["caffecompat"] = None
program, inputs, outputs = sys.argv[1:]
net = torch.export.load(program).module()
with torch.no_grad():
    torch.save([net(**each) for each in torch.load(inputs)], outputs)
"""

DETECTOR = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
layer { name: "features" type: "Convolution" bottom: "data" top: "features"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "loc" type: "Convolution" bottom: "features" top: "loc"
  convolution_param { num_output: 12 kernel_size: 1 weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "conf" type: "Convolution" bottom: "features" top: "conf"
  convolution_param { num_output: 9 kernel_size: 1 weight_filler { type: "gaussian" std: 1 } } }
layer { name: "p1" type: "Permute" bottom: "loc" top: "loc_p" permute_param { order: [0, 2, 3, 1] } }
layer { name: "p2" type: "Permute" bottom: "conf" top: "conf_p" permute_param { order: [0, 2, 3, 1] } }
layer { name: "f1" type: "Flatten" bottom: "loc_p" top: "loc_f" }
layer { name: "r2" type: "Reshape" bottom: "conf_p" top: "conf_r" reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "s2" type: "Softmax" bottom: "conf_r" top: "conf_s" softmax_param { axis: 2 } }
layer { name: "f2" type: "Flatten" bottom: "conf_s" top: "conf_f" }
layer { name: "priors" type: "PriorBox" bottom: "features" bottom: "data" top: "priors"
  prior_box_param { min_size: 5 aspect_ratio: 2 variance: [0.1, 0.1, 0.2, 0.2] } }
layer { name: "out" type: "DetectionOutput" bottom: "loc_f" bottom: "conf_f" bottom: "priors" top: "out"
  detection_output_param { num_classes: 3 code_type: CENTER_SIZE keep_top_k: 7 confidence_threshold: THRESHOLD
    nms_param { nms_threshold: NMS top_k: 20 eta: ETA } } }
"""


def detector(threshold=0.4, nms=0.45, eta=1.0):
    return make_net(DETECTOR.replace("THRESHOLD", str(threshold)).replace("NMS", str(nms)).replace("ETA", str(eta)))


def elsewhere(program, inputs, folder):
    """What the program gives for each of these inputs, in a process without caffecompat."""
    torch.save(inputs, folder / "inputs")
    subprocess.run(
        [sys.executable, "-c", RUN, str(program), str(folder / "inputs"), str(folder / "outputs")],
        check=True,
        cwd=folder,
    )
    return torch.load(folder / "outputs")


def check(net, inputs, folder, **options):
    program = folder / "net.pt2"
    dynamic = export_pt2(net, program, **options)
    with torch.no_grad():
        wanted = [net(**each) for each in inputs]
    for found, ours in zip(elsewhere(program, inputs, folder), wanted, strict=True):
        assert list(found) == list(ours)
        for name, value in ours.items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    return dynamic


@pytest.mark.parametrize("settings", [{}, {"nms": 0.8, "eta": 0.7}, {"threshold": 2}])
def test_a_detector_for_any_number_of_images(tmp_path, settings):
    net = detector(**settings)
    generator = torch.Generator().manual_seed(1)
    inputs = [{"data": torch.randn(images, 3, 12, 16, generator=generator)} for images in (1, 3)]
    if settings == {"threshold": 2}:
        assert net(**inputs[1])["out"].tolist() == [[[[image, *[-1] * 6] for image in range(3)]]]
    assert check(net, inputs, tmp_path)


def test_a_fixed_number_of_images(tmp_path):
    net = detector()
    assert not check(net, [{"data": torch.randn(1, 3, 12, 16)}], tmp_path, dynamic_batch=False)


def test_a_net_that_fixes_the_number_of_images(tmp_path):
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "y" type: "Reshape" bottom: "x" top: "y" reshape_param { shape { dim: 2 dim: 3 dim: 2 } } }'
    )
    assert not check(net, [{"x": torch.randn(2, 6)}], tmp_path)


def test_a_net_whose_steps_are_its_first_axis(tmp_path):
    """The steps of a recurrent layer are unrolled: the program takes as many as the net was built for."""
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 6 } } }\n'
        'layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 4 dim: 3 } } }\n'
        'layer { name: "l" type: "LSTM" bottom: "x" bottom: "c" top: "y" recurrent_param { num_output: 5 '
        'weight_filler { type: "xavier" } } }'
    )
    assert not check(net, [{"x": torch.randn(4, 3, 6), "c": torch.ones(4, 3)}], tmp_path)


def test_names_metadata_and_what_is_not_in_the_file(tmp_path):
    net = make_net(
        'layer { name: "in/put" type: "Input" top: "in/put" input_param { shape { dim: 1 dim: 4 } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "in/put" top: "out/put" '
        "inner_product_param { num_output: 2 } }"
    )
    (keyword,) = net.input_names
    check(net, [{keyword: torch.randn(2, 4)}], tmp_path, metadata={"preprocessing": "{}", "sources": "x"})
    program = tmp_path / "net.pt2"
    extra = {"preprocessing": "", "sources": ""}
    torch.export.load(program, extra_files=extra)
    assert extra == {"preprocessing": "{}", "sources": "x"}
    assert str(Path(caffecompat.__file__).parent).encode() not in program.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name not in ("net.pt2", "inputs", "outputs")]


def test_the_weights_are_in_the_file_once(tmp_path):
    text = "".join(
        f'layer {{ name: "fc{i}" type: "InnerProduct" bottom: "{bottom}" top: "y{i}" param {{ name: "w" }} '
        "inner_product_param { num_output: 500 bias_term: false } }"
        for i, bottom in enumerate(("x", "y0", "y1"))
    )
    net = make_net('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 500 } } }' + text)
    export_pt2(net, tmp_path / "net.pt2")
    assert (tmp_path / "net.pt2").stat().st_size < 1.2 * 500 * 500 * 4


def test_preprocessing_in_the_graph(tmp_path):
    net = detector()
    record = Preprocessing(channels="bgr", mean=(104.0, 117.0, 123.0), scale=0.02)
    export_pt2(net, tmp_path / "net.pt2", embed=record)
    pixels = torch.randint(0, 256, (2, 12, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    (found,) = elsewhere(tmp_path / "net.pt2", [{"data": pixels}], tmp_path)
    values = (pixels.flip(3).permute(0, 3, 1, 2).float() - torch.tensor([104.0, 117, 123])[:, None, None]) * 0.02
    torch.testing.assert_close(found["out"], net(data=values)["out"], rtol=1e-5, atol=1e-6)


def test_the_net_does_not_change(tmp_path):
    net = detector()
    net.train()
    net.layers[1].eval()
    export_pt2(net, tmp_path / "net.pt2")
    assert net.training
    assert not net.layers[1].training
    assert net.layers[2].training


def test_an_example_of_another_name(tmp_path):
    with pytest.raises(UsageError, match="example has 'date'"):
        export_pt2(detector(), tmp_path / "net.pt2", example={"date": torch.zeros(1)})
    assert not list(tmp_path.iterdir())


def test_a_real_detector(tmp_path):
    folder = shared_file("models/wechat_detect")
    net = caffecompat.load(
        folder / "detect.prototxt", folder / "detect.caffemodel", input_shapes={"data": (1, 1, 96, 128)}
    )
    generator = torch.Generator().manual_seed(0)
    inputs = [{"data": torch.rand(images, 1, 96, 128, generator=generator)} for images in (1, 2)]
    assert check(net, inputs, tmp_path)


@pytest.mark.parametrize("name", ["det1", "det2", "det3"])
def test_real_cascades(tmp_path, name):
    folder = shared_file("models/mtcnn")
    net = caffecompat.load(folder / f"{name}.prototxt", folder / f"{name}.caffemodel")
    shape = net.blob_shapes[net.graph.inputs[0]][1:]
    assert check(net, [{"data": torch.rand(images, *shape)} for images in (1, 4)], tmp_path)
