"""A solver's test nets write the files of results that their DetectionOutput layers state."""

from __future__ import annotations

import pytest

from caffecompat.errors import CaffeCompatWarning
from caffecompat.solver import Solver
from tests.support import shared_file

SAVE = """save_output_param {{ output_directory: "{}" output_name_prefix: "det_" output_format: "ILSVRC"
  label_map_file: "shapes/labelmap.prototxt" name_size_file: "shapes/test_name_size.txt" num_test_image: 48 }}"""


def make_solver(folder, test_iter):
    run = shared_file("golden/training/ssd_shapes")
    test = (run / "test.prototxt").read_text()
    param = SAVE.format(folder / "out")
    (folder / "test.prototxt").write_text(
        test.replace("detection_output_param {", f"detection_output_param {{ {param}")
    )
    text = f'train_net: "{run / "train.prototxt"}" test_net: "{folder / "test.prototxt"}" test_iter: {test_iter} '
    text += 'test_interval: 100 base_lr: 0.001 lr_policy: "fixed" max_iter: 1 eval_type: "detection" random_seed: 1'
    (folder / "solver.prototxt").write_text(text)
    weights = run / "final.caffemodel"
    return Solver.from_prototxt(folder / "solver.prototxt", weights, root=shared_file("data"), device="cpu")


def images(folder):
    return {line.split()[0] for line in (folder / "out" / "det_.txt").read_text().splitlines()}


def test_after_a_complete_test(tmp_path):
    solver = make_solver(tmp_path, 6)
    assert not (tmp_path / "out").exists()
    solver.test()
    assert images(tmp_path) == {f"test_{index:04d}" for index in range(48)}
    (tmp_path / "out" / "det_.txt").unlink()
    solver.test()
    assert len(images(tmp_path)) == 48
    solver.close()


def test_short_tests_go_on_where_the_last_one_ended(tmp_path):
    solver = make_solver(tmp_path, 2)
    solver.test()
    solver.test()
    assert not (tmp_path / "out").exists()
    with pytest.warns(CaffeCompatWarning, match="detections of 32 images, not of 48"):
        solver.close()
    assert images(tmp_path) == {f"test_{index:04d}" for index in range(32)}
