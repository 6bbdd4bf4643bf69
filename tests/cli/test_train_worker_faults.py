"""`caffecompat train` in two processes, where the data of one of them, or of both, is at fault."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.cli.test_train_workers import LAUNCHED, Run
from tests.solver.boxes import GOOD, LABEL_MAP, SSD, write_boxes

pytestmark = pytest.mark.slow

SOLVER = 'net: "net.prototxt" base_lr: 0.001 lr_policy: "fixed" display: 0 snapshot_prefix: "x" '


@pytest.fixture
def run(tmp_path):
    """Runs the small SSD until it ends: its status, and what it says after its beginning."""

    def go(max_iter=1_000_000):
        (tmp_path / "solver.prototxt").write_text(f"{SOLVER} max_iter: {max_iter} snapshot_after_train: false")
        made = Run(tmp_path, LAUNCHED)
        try:
            # Who started the processes waits for both.
            status = made.end(120)
        finally:
            made.close()
        assert "Traceback" not in made.text
        return status, made.text.partition("fillers\n")[2]

    return go


def boxes(folder, first, second):
    """A database of pictures: the first process reads every second record, from the first on."""
    write_boxes(folder / "train", [first, second] * 4)
    (folder / "map.prototxt").write_text(LABEL_MAP)
    (folder / "net.prototxt").write_text(SSD)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_value_that_is_not_finite_in_the_data_of_one(run, tmp_path, rank):
    """The process that has it says what it is, and the other says nothing."""
    pictures = np.zeros((8, 3, 32, 32), np.float32)
    pictures[rank::2, 0, 5, 5] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = pictures
        file["label"] = np.array([0, 1, 0, 0.1, 0.2, 0.4, 0.5, 0], np.float32).reshape(1, 1, 1, 8).repeat(8, 0)
    (tmp_path / "list").write_text("a.h5\n")
    source = 'hdf5_data_param { source: "list" batch_size: 1 }'
    data = f'layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" {source} }}\n'
    (tmp_path / "net.prototxt").write_text(data + SSD[SSD.index('layer { name: "conv"') :])
    status, said = run()
    assert status == 1
    who = "worker 1: " if rank else ""
    assert said == (
        f'Error: {who}net.prototxt:1:1: layer "data": the loss is nan at iteration 0: "data" is the first blob that is '
        "not finite, 1 of 3072 values\n"
        f'  the data: "data" is not finite in record a.h5#{rank}; mend the record, or leave it out\n'
        f"  records of the batch: a.h5#{rank}\n"
    )


def test_no_boxes_in_the_data_of_both(run, tmp_path):
    boxes(tmp_path, [], [])
    status, said = run()
    assert status == 1
    assert said.count("Error: ") == 1
    assert said.count("is 0 for 20 iterations in a row, the last of them 19: nothing is learnt") == 1
    assert "worker 1" not in said
    assert "records of the batch: 00000000, 00000002, 00000004, 00000006\n" in said


def test_no_boxes_in_the_data_of_one(run, tmp_path):
    """As in one process with iter_size: 2 the boxes of the other are learnt, and the run goes on; this is told."""
    boxes(tmp_path, GOOD, [])
    status, said = run(max_iter=100)
    assert status == 0
    assert said.count('warning: "mbox_loss" is 0 in some of the 2 processes for 20 iterations in a row') == 1
    assert "Error" not in said
    assert "iteration 100 is reached" in said
