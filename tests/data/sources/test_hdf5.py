"""HDF5Data: rows in the order of files and rows, or shuffled; what files must be like; hostile files."""

from __future__ import annotations

import threading

import h5py
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from tests.data.sources.sources import (
    check_no_state,
    check_ranks,
    check_restore,
    check_workers,
    keys_of,
    passes,
    reading_net,
)

ROWS = (5, 2, 4)
TOTAL = sum(ROWS)


def prototxt(batch=3, tops=("data", "label", "weight"), more="", **fields):
    values = {"source": '"files.txt"', "batch_size": batch, **fields}
    param = " ".join(f"{name}: {value}" for name, value in values.items() if value is not None)
    named = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "rows" type: "HDF5Data" {named} {more} hdf5_data_param {{ {param} }} }}'


def row_of(number):
    """The values of one row, of the three data sets."""
    return np.arange(6).reshape(2, 3) + 100 * number, number, np.full((1, 1, 2, 1), number + 0.5)


@pytest.fixture
def folder(tmp_path):
    """Three files of 5, 2 and 4 rows, which are numbered through: float64, int64, float32 in packed chunks."""
    first = 0
    for index, count in enumerate(ROWS):
        rows = [row_of(number) for number in range(first, first + count)]
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["data"] = np.stack([row[0] for row in rows]).astype(np.float64)
            file["label"] = np.array([row[1] for row in rows], np.int64)
            weights = np.stack([row[2] for row in rows]).astype(np.float32)
            file.create_dataset("weight", data=weights, chunks=(2, 1, 1, 2, 1), compression="gzip")
            file["other"] = ["text"]
        first += count
    (tmp_path / "files.txt").write_text("0.h5\n1.h5 2.h5\n")
    return tmp_path


def check_rows(tops, numbers):
    assert tops["label"].tolist() == numbers
    assert tops["data"].dtype == np.float32
    for place, number in enumerate(numbers):
        data, _, weight = row_of(number)
        np.testing.assert_array_equal(tops["data"][place], data)
        np.testing.assert_array_equal(tops["weight"][place], weight)


@pytest.mark.parametrize("batch", [1, 3, 4, 25])
def test_rows_come_in_order_and_batches_span_files(folder, batch):
    with reading_net(prototxt(batch), folder, workers=2) as net:
        for index, tops in enumerate(passes(net, 8)):
            check_rows(tops, [(index * batch + place) % TOTAL for place in range(batch)])
        assert net.readers[0].batch.keys[0] == f"{next_name(7 * batch)}"


def next_name(number):
    number %= TOTAL
    for index, count in enumerate(ROWS):
        if number < count:
            return f"{index}.h5#{number}"
        number -= count
    raise AssertionError(number)


def test_shuffle_keeps_rows_together_and_takes_each_once_a_round(folder):
    with reading_net(prototxt(shuffle="true"), folder) as net:
        taken = []
        for tops in passes(net, 22 * TOTAL):
            numbers = [int(number) for number in tops["label"]]
            check_rows(tops, numbers)
            taken += numbers
    rounds = [tuple(taken[start : start + TOTAL]) for start in range(0, len(taken), TOTAL)]
    files = []
    for numbers in rounds:
        assert sorted(numbers) == list(range(TOTAL))
        owners = [next_name(number)[0] for number in numbers]
        runs = [owner for place, owner in enumerate(owners) if place == 0 or owners[place - 1] != owner]
        assert len(runs) == 3, "the rows of a file come together"
        files.append("".join(runs))
    assert len(set(files)) == 6
    assert len(set(rounds)) == len(rounds)
    assert {numbers[0] for numbers in rounds} == set(range(TOTAL))


def test_one_file_is_shuffled_anew_in_each_round(folder):
    (folder / "files.txt").write_text("0.h5")
    with reading_net(prototxt(5, shuffle="true"), folder) as net:
        rounds = [tuple(tops["label"].tolist()) for tops in passes(net, 20)]
    assert all(sorted(numbers) == [0, 1, 2, 3, 4] for numbers in rounds)
    assert len(set(rounds)) > 10


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_workers_restore_and_ranks(folder, shuffle):
    text = prototxt(shuffle=shuffle)
    check_workers(text, folder, count=15)
    for before in (0, 1, 3, 4, 9):
        check_restore(text, folder, before=before, after=9)
    check_no_state(text, folder)
    # 11 rows for 11 processes: one for each; 1.h5 has none for most of them.
    names = {next_name(number) for number in range(TOTAL)}
    check_ranks(prototxt(1, shuffle=shuffle), folder, names, per_rank=1, world=TOTAL)
    with (
        pytest.raises(CaffeCompatError, match="an item for each of 12 processes or more, got 11"),
        reading_net(text, folder, world=12),
    ):
        pass
    with reading_net(prototxt(TOTAL, shuffle=shuffle), folder, "TEST", rank=1, world=2) as net:
        assert set(keys_of(net, 1)) == names


def test_another_seed_is_another_order(folder):
    orders = []
    for seed in (1, 1, 2):
        with reading_net(prototxt(TOTAL, shuffle="true"), folder, seed=seed) as net:
            orders.append(keys_of(net, 2))
    assert orders[0] == orders[1] != orders[2]


def test_many_threads_load_at_once(folder):
    with reading_net(prototxt(4), folder) as net:
        source = net.readers[0].source
        tickets = [source.tickets() for _ in range(44)]
        got = [None] * len(tickets)

        def load(start):
            for index in range(start, len(tickets), 8):
                got[index] = source.load(tickets[index])

        threads = [threading.Thread(target=load, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index, batch in enumerate(got):
        assert batch.tops[1].tolist() == [(4 * index + place) % TOTAL for place in range(4)]


def change(folder, name, values):
    with h5py.File(folder / "1.h5", "a") as file:
        del file[name]
        if values is not None:
            file[name] = values


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("label", None, r"expected a data set 'label', the file has \['data', 'other', 'weight'\]"),
        ("label", np.zeros(3), "as many rows each, got data 2, label 3, weight 2"),
        ("data", np.zeros((2, 2, 4)), r"rows of the shapes \(\(2, 3\), \(\), .* in .*0.h5, got \(\(2, 4\), \(\), "),
        ("data", np.zeros((2, 6)), r"got \(\(6,\), \(\)"),
        ("data", np.float32(3), r"expected 1 to 32 axes in the data set 'data', the first for its rows, got \(\)"),
        ("data", h5py.Empty("f4"), "the first for its rows, got None"),
        ("data", ["a", "b"], "expected numbers in the data set 'data', got object"),
        ("data", np.zeros(2, np.complex64), "expected numbers in the data set 'data', got complex64"),
        ("data", h5py.SoftLink("/weight"), "'data' leads to another place or file"),
        ("data", h5py.ExternalLink("0.h5", "/data"), "'data' leads to another place or file"),
    ],
)
def test_files_that_do_not_fit(folder, name, values, message):
    change(folder, name, values)
    with pytest.raises(CaffeCompatError, match=message) as error, reading_net(prototxt(), folder):
        pass
    assert 'files.txt:2: layer "rows": ' in str(error.value)
    assert "1.h5: " in str(error.value)


def test_a_group_and_no_rows(folder):
    change(folder, "data", None)
    with h5py.File(folder / "1.h5", "a") as file:
        file.create_group("data")
    with pytest.raises(CaffeCompatError, match="'data', found a group"), reading_net(prototxt(), folder):
        pass
    for name in ("data", "label", "weight"):
        change(folder, name, np.zeros((0, 2)))
    with (
        pytest.raises(CaffeCompatError, match="files.txt:2: .*expected rows, got none"),
        reading_net(prototxt(), folder),
    ):
        pass


def test_values_in_other_files_and_lying_sizes(folder, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(4 * 12))
    cases = {}
    with h5py.File(folder / "1.h5", "a") as file:
        file.create_dataset("external", (2, 2, 3), "f4", external=[(str(secret), 0, 48)])
        layout = h5py.VirtualLayout((2, 2, 3), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "0.h5"), "data", (2, 2, 3))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("unwritten", (2, 2**33, 3), "f4", chunks=(1, 2**10, 3))
        file.create_dataset("packed", (2, 2**33, 3), "f4", chunks=(1, 2**10, 3), compression="gzip")
        cases = {name: file[name] for name in ("external", "virtual", "unwritten", "packed")}
        for name, dataset in cases.items():
            with h5py.File(folder / f"{name}.h5", "w") as other:
                file.copy(dataset, other, "data")
    messages = {
        "external": "the values of the data set 'data' lie in another file",
        "virtual": "the values of the data set 'data' lie in another file",
        "unwritten": "claims 206158430208 bytes, 0 are stored",
        "packed": "claims 206158430208 bytes, 0 are stored",
    }
    for name, message in messages.items():
        (folder / "files.txt").write_text(f"{name}.h5")
        with pytest.raises(CaffeCompatError, match=message), reading_net(prototxt(tops=("data",)), folder):
            pass


def test_labels_that_are_all_the_same_may_be_packed_tightly(folder):
    with h5py.File(folder / "0.h5", "w") as file:
        file.create_dataset("data", data=np.full(100_000, 7, np.uint8), compression="gzip")
    (folder / "files.txt").write_text("0.h5")
    with reading_net(prototxt(2, tops=("data",)), folder) as net:
        assert net()["data"].tolist() == [7, 7]


@pytest.mark.parametrize("keep", [0, 10, 600, 2000])
def test_files_cut_short(folder, keep):
    (folder / "1.h5").write_bytes((folder / "1.h5").read_bytes()[:keep])
    with pytest.raises(CaffeCompatError, match=r"files.txt:2: .*1.h5: broken HDF5"), reading_net(prototxt(), folder):
        pass


def test_a_file_that_changes_while_it_is_read(folder):
    with reading_net(prototxt(5), folder) as net:
        change(folder, "data", np.zeros((3, 2, 3)))
        net()
        with pytest.raises(CaffeCompatError, match="files.txt:2: .*1.h5: the file changed while it was being read"):
            net()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (prototxt(batch=0), "batch_size of at least 1, got 0"),
        (prototxt(source=None), "hdf5_data_param: source is missing"),
        (prototxt(source='"absent.txt"'), "source 'absent.txt' is not there"),
        (prototxt(source='"empty.txt"'), "empty.txt: .*expected the names of files, got an empty list"),
        (prototxt(source='"wrong.txt"'), "wrong.txt:2: .*HDF5 file 'no.h5' is not there"),
        (prototxt(more="transform_param { scale: 2 }"), "HDF5Data does not transform data"),
        (prototxt(tops=("data", "labels")), "expected a data set 'labels'.*\n.*did you mean \"label\""),
        (prototxt(tops=("/data",)), "expected a data set '/data'"),
    ],
)
def test_faults_of_the_prototxt(folder, text, message):
    (folder / "empty.txt").write_text("")
    (folder / "wrong.txt").write_text("0.h5\n  no.h5")
    with pytest.raises(CaffeCompatError, match=message), reading_net(text, folder):
        pass
