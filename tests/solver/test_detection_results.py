"""A solver's test nets write the files of results that their DetectionOutput layers state."""

from __future__ import annotations

import pytest

from caffecompat.errors import CaffeCompatWarning
from caffecompat.solver import Solver
from tests.support import shared_file

SAVE = """save_output_param {{ output_directory: "{}" output_name_prefix: "det_" output_format: "ILSVRC"
  label_map_file: "shapes/labelmap.prototxt" name_size_file: "shapes/test_name_size.txt" num_test_image: 48 }}"""


def make_solver(folder, test_iter, **options):
    run = shared_file("golden/training/ssd_shapes")
    test = (run / "test.prototxt").read_text()
    param = SAVE.format(folder / "out")
    (folder / "test.prototxt").write_text(
        test.replace("detection_output_param {", f"detection_output_param {{ {param}")
    )
    text = f'train_net: "{run / "train.prototxt"}" test_net: "{folder / "test.prototxt"}" test_iter: {test_iter} '
    text += 'test_interval: 100 base_lr: 0.001 lr_policy: "fixed" max_iter: 1 eval_type: "detection" random_seed: 1'
    text += f' snapshot_prefix: "{folder / "run"}"'
    (folder / "solver.prototxt").write_text(text)
    weights = run / "final.caffemodel"
    return Solver.from_prototxt(folder / "solver.prototxt", weights, root=shared_file("data"), device="cpu", **options)


def results(folder):
    return (folder / "out" / "det_.txt").read_text().splitlines()


def images(folder):
    return {line.split()[0] for line in results(folder)}


def test_after_a_complete_test(tmp_path):
    solver = make_solver(tmp_path, 6)
    assert not (tmp_path / "out").exists()
    solver.test()
    assert images(tmp_path) == {f"test_{index:04d}" for index in range(48)}
    (tmp_path / "out" / "det_.txt").unlink()
    solver.test()
    assert len(images(tmp_path)) == 48
    solver.close()


@pytest.mark.parametrize("exact", [True, False])
def test_a_resumed_run_calls_images_by_their_names(tmp_path, exact):
    """Resumed as in the original, readers and names begin anew; exactly, both go on, and a torn round is left out."""
    solver = make_solver(tmp_path, 4, exact_resume=exact)
    solver.test()
    state = solver.snapshot()
    with pytest.warns(CaffeCompatWarning, match="of 32 images"):
        solver.close()
    whole = results(tmp_path)
    (tmp_path / "out" / "det_.txt").unlink()
    resumed = make_solver(tmp_path, 4, exact_resume=exact)
    resumed.restore(state)
    (writer,) = resumed.test_nets[0].layer("detection_out")._writers
    assert writer.place == (32 if exact else 0)
    resumed.test()
    # Images 32 to 47, and 0 to 15 of the next round; or 0 to 31.
    assert writer.place == (16 if exact else 32)
    assert not (tmp_path / "out").joinpath("det_.txt").exists()
    resumed.test()
    assert writer.place == (0 if exact else 16)
    again = results(tmp_path)
    assert len({line.split()[0] for line in again}) == 48
    # The net is the same, and so are the detections of images that are called the same.
    assert [line for line in again if line.split()[0] < "test_0032"] == whole
    resumed.close()


def test_short_tests_go_on_where_the_last_one_ended(tmp_path):
    solver = make_solver(tmp_path, 2)
    solver.test()
    solver.test()
    assert not (tmp_path / "out").exists()
    with pytest.warns(CaffeCompatWarning, match="detections of 32 images, not of 48"):
        solver.close()
    assert images(tmp_path) == {f"test_{index:04d}" for index in range(32)}
