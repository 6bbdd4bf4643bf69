"""The Data layer: records, order, transformation and faults, against what was put into the databases."""

from __future__ import annotations

import json
import shutil
import warnings

import cv2
import lmdb
import numpy as np
import pytest

from caffecompat import Net
from caffecompat.data.draws import Draws
from caffecompat.data.prefetch import Prefetcher
from caffecompat.data.source import Reading
from caffecompat.data.sources.database import DatabaseSource
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, FormatError, ShapeError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2
from tests.data.records import Twister, encoded, layer, picture, raw, write_lmdb
from tests.data.sources.databases import batches, open_source, text_of
from tests.support import shared_file

# --- values and order


@pytest.mark.parametrize("which", ["train", "test"])
def test_the_digits_of_the_original(which, tmp_path):
    folder = tmp_path / "db"
    shutil.copytree(shared_file(f"data/digits/{which}_lmdb"), folder)
    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
        expected = [(key, caffe_pb2.Datum.FromString(value)) for key, value in transaction.cursor()]
    source = open_source(folder, 64, "scale: 0.00390625")
    assert source.shapes() == ((64, 1, 8, 8), (64,))
    # Beyond the end, where it goes on with the first.
    for number, batch in enumerate(batches(source, len(expected) // 64 + 2)):
        for place in range(64):
            key, datum = expected[(64 * number + place) % len(expected)]
            pixels = np.frombuffer(datum.data, np.uint8).reshape(1, 8, 8) * np.float32(0.00390625)
            np.testing.assert_array_equal(batch.tops[0][place], pixels)
            assert batch.tops[1][place] == datum.label
            assert batch.keys[place] == key.decode()
        assert [top.dtype for top in batch.tops] == [np.float32, np.float32]


def test_a_net_reads_by_itself(bytes_db):
    graph = build_graph(parse_net(text_of(bytes_db, 4)), "TRAIN")
    net = Net(graph, reading=Reading(draws=Draws(1)))
    assert net.blob_shapes[graph.inputs[0]] == (4, 3, 9, 11)
    for start in (0, 4, 8):
        tops = net()
        assert tops["label"].tolist() == [10 * ((start + place) % 10) for place in range(4)]
        assert tops["data"][1, 2, 3, 4] == picture((start + 1) % 10)[3, 4, 2]
    net.close()


def test_one_top_takes_no_labels(bytes_db):
    spec = layer(text_of(bytes_db).replace('top: "label"', ""))
    source = DatabaseSource(spec, Reading(draws=Draws(1)))
    assert source.shapes() == ((4, 3, 9, 11),)
    assert len(batches(source, 1)[0].tops) == 1


def test_paths_start_at_the_root_or_beside_the_prototxt(bytes_db, monkeypatch):
    monkeypatch.chdir(bytes_db.parent.parent)
    assert open_source("db", root=bytes_db.parent).shapes()[0] == (4, 3, 9, 11)
    with pytest.raises(FormatError, match="source 'db' is not there"):
        open_source("db")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("forced", ["", "force_color: true", "force_gray: true", "in data_param"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_encoded_pictures(channels, forced, suffix, tmp_path):
    records = [(b"%d" % n, encoded(picture(n, channels=channels), suffix, n)) for n in range(4)]
    db = write_lmdb(tmp_path / "db", records)
    more = "backend: LMDB" + (" force_encoded_color: true" if forced == "in data_param" else "")
    source = open_source(db, 4, "" if forced == "in data_param" else forced, more)
    (batch,) = batches(source, 1)
    flags = {"": cv2.IMREAD_UNCHANGED, "force_gray: true": cv2.IMREAD_GRAYSCALE}
    for number, (_, value) in enumerate(records):
        data = np.frombuffer(caffe_pb2.Datum.FromString(value).data, np.uint8)
        expected = cv2.imdecode(data, flags.get(forced, cv2.IMREAD_COLOR))
        np.testing.assert_array_equal(batch.tops[0][number], expected.reshape(9, 11, -1).transpose(2, 0, 1))


def test_floats_of_many_channels(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype(np.float32)
    db = write_lmdb(tmp_path / "db", [(b"%d" % n, raw(item, n)) for n, item in enumerate(values)])
    (batch,) = batches(open_source(db, 3, "scale: 0.5 mean_value: 0.25"), 1)
    np.testing.assert_array_equal(batch.tops[0], (values - np.float32(0.25)) * np.float32(0.5))


def test_labels_as_large_as_the_field_allows(tmp_path):
    labels = (-(2**31), -1, 0, 16_777_216)
    db = write_lmdb(
        tmp_path / "db", [(b"%d" % n, raw(np.zeros((1, 1, 1), np.uint8), label)) for n, label in enumerate(labels)]
    )
    assert batches(open_source(db), 1)[0].tops[1].tolist() == list(labels)


def test_batches_may_differ_in_shape(tmp_path):
    sizes = ((9, 11), (9, 11), (5, 7), (5, 7))
    db = write_lmdb(tmp_path / "db", [(b"%d" % n, encoded(picture(n, *size), ".png")) for n, size in enumerate(sizes)])
    first, second = batches(open_source(db, 2), 2)
    assert (first.tops[0].shape, second.tops[0].shape) == ((2, 3, 9, 11), (2, 3, 5, 7))
    with pytest.raises(ShapeError, match=r"record '2' of .*expected an item of shape \(3, 9, 11\).*got \(3, 5, 7\)"):
        batches(open_source(db, 3), 1)


# --- several processes


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_take_turns(world, bytes_db):
    for rank in range(world):
        keys = [key for batch in batches(open_source(bytes_db, 4, rank=rank, world=world), 5) for key in batch.keys]
        assert keys == [f"{(number * world + rank) % 10:04d}" for number in range(20)]


def test_in_test_each_process_takes_all(bytes_db):
    source = open_source(bytes_db, 4, phase="TEST", rank=1, world=2)
    assert batches(source, 1)[0].keys == ("0000", "0001", "0002", "0003")


# --- what is random


@pytest.mark.parametrize("dialect", ["ssd", "bvlc"])
@pytest.mark.parametrize("kind", ["bytes", "png"])
def test_a_seed_gives_the_originals_crops(kind, dialect, tmp_path):
    make = (
        (lambda n: raw(picture(n).transpose(2, 0, 1))) if kind == "bytes" else (lambda n: encoded(picture(n), ".png"))
    )
    db = write_lmdb(tmp_path / "db", [(b"%d" % n, make(n)) for n in range(5)])
    draws = Draws(9)
    source = open_source(db, 4, "crop_size: 5 mirror: true", dialect=dialect, draws=draws)
    # The SSD branch's reader has a thread of its own; then InitRand twice, of which the second counts.
    main = Twister(9)
    for _ in range(2 if dialect == "ssd" else 1):
        main()
    twister = Twister(main())
    main()
    assert draws() == main()
    for number, batch in enumerate(batches(source, 3)):
        for place in range(4):
            mirror, top, left = twister() % 2, twister() % 5, twister() % 7
            pixels = picture((4 * number + place) % 5)[top : top + 5, left : left + 5]
            expected = (pixels[:, ::-1] if mirror else pixels).transpose(2, 0, 1)
            np.testing.assert_array_equal(batch.tops[0][place], expected)


def test_without_chance_only_threads_are_seeded(bytes_db):
    draws, main = Draws(9), Twister(9)
    open_source(bytes_db, phase="TEST", transform="crop_size: 5", draws=draws)
    main(), main()
    assert draws() == main()


@pytest.mark.parametrize("transform", ["crop_size: 5 mirror: true", ""])
def test_threads_change_nothing(transform, bytes_db):
    def read(workers: int) -> list:
        reader = Prefetcher(open_source(bytes_db, 3, transform, workers=workers))
        found = []
        for _ in range(12):
            tops = [top.clone() for top in reader.next()]
            assert reader.batch is not None
            found.append((tops, reader.batch.keys))
        reader.close()
        return found

    expected = read(0)
    for workers in (1, 3):
        for (ours, keys), (theirs, other_keys) in zip(read(workers), expected, strict=True):
            assert keys == other_keys
            assert all(bool((one == other).all()) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_reader_goes_on_from_its_state(workers, bytes_db):
    def reader(seed: int) -> Prefetcher:
        transform = (
            "crop_size: 5 mirror: true resize_param { height: 8 width: 8 interp_mode: NEAREST interp_mode: AREA }"
        )
        return Prefetcher(open_source(bytes_db, 3, transform, draws=Draws(seed), workers=workers))

    first = reader(1)
    for _ in range(5):
        first.next()
    state = json.loads(json.dumps(first.state()))
    expected = [tuple(top.clone() for top in first.next()) for _ in range(6)]
    second = reader(2)
    second.next()
    second.restore(state)
    for tops in expected:
        assert all(bool((one == other).all()) for one, other in zip(second.next(), tops, strict=True))
    first.close()
    second.close()


@pytest.mark.parametrize(
    "state",
    [{}, {"at": -1, "crops": None, "thread": None}, {"at": "x"}, {"at": 1, "crops": {}, "thread": None}, [], None],
)
def test_a_state_of_something_else(state, bytes_db):
    with pytest.raises(ValueError, match="it lacks what decides|a place of|draws other random numbers"):
        open_source(bytes_db).restore(state)


# --- what the prototxt says


def test_without_a_backend_the_database_is_what_it_is(bytes_db):
    with pytest.warns(
        CaffeCompatWarning, match="states no backend, for which Caffe takes LEVELDB; the source is an LMDB"
    ):
        source = open_source(bytes_db, more="")
    assert source.shapes()[0] == (4, 3, 9, 11)
    with pytest.raises(FormatError, match="expected a database of backend LEVELDB, got one of LMDB"):
        open_source(bytes_db, more="backend: LEVELDB")


def test_force_color_does_nothing_to_bytes(tmp_path):
    db = write_lmdb(tmp_path / "db", [(b"0", raw(np.zeros((1, 4, 5), np.uint8)))])
    source = open_source(db, 1, "force_color: true")
    with pytest.warns(CaffeCompatWarning, match="force_color and force_gray do nothing to records"):
        assert source.shapes() == ((1, 1, 4, 5), (1,))


def test_a_batch_that_no_blob_can_hold(tmp_path):
    db = write_lmdb(tmp_path / "db", [(b"0", encoded(np.zeros((2000, 2000, 3), np.uint8), ".png"))])
    source = open_source(db, 200)
    with pytest.raises(ShapeError, match=r"record '0' of .* would have shape \(200, 3, 2000, 2000\); at most"):
        batches(source, 1)


def test_rand_skip_is_ignored(bytes_db):
    with pytest.warns(CaffeCompatWarning, match='layer "data": rand_skip is ignored'):
        source = open_source(bytes_db, more="backend: LMDB rand_skip: 5")
    assert batches(source, 1)[0].keys[0] == "0000"


def test_parameters_that_make_no_sense(bytes_db, tmp_path):
    with pytest.raises(CaffeCompatError, match="expected a batch_size of at least 1, got 0"):
        open_source(bytes_db, 0)
    with pytest.raises(CaffeCompatError, match="source is missing"):
        DatabaseSource(layer('layer { name: "d" type: "Data" top: "x" data_param { batch_size: 1 } }'), Reading())
    for source in ("nowhere", "", "a\\0b"):
        with pytest.raises(CaffeCompatError, match="source") as caught:
            open_source(source)
        assert 'layer "data"' in str(caught.value)
    with pytest.raises(FormatError, match="no data.mdb") as caught:
        open_source(tmp_path)
    assert 'layer "data"' in str(caught.value)
    text = text_of(bytes_db, 2**32 - 1)
    with pytest.raises(ShapeError, match="at most"):
        Net(build_graph(parse_net(text), "TRAIN"), reading=Reading())


# --- memory


def test_a_batch_that_is_held_is_not_written_over(bytes_db):
    reader = Prefetcher(open_source(bytes_db, 3, workers=2))
    held = [(top := reader.next()[0])[1].view(-1) for _ in range(15)]
    del top
    for number, row in enumerate(held):
        expected = picture((3 * number + 1) % 10).transpose(2, 0, 1)
        np.testing.assert_array_equal(row.numpy().reshape(3, 9, 11), expected)
    reader.close()


def test_memory_is_used_again(bytes_db):
    reader = Prefetcher(open_source(bytes_db, 3, workers=0))
    places = set()
    for _ in range(10):
        (data, _) = reader.next()
        places.add(data.data_ptr())
        reader.batch = None
        del data
    assert len(places) <= 2
    reader.close()


def test_nothing_is_warned_of(bytes_db):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches(open_source(bytes_db), 1)
