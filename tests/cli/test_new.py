"""new: from a name to a net that trains."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.zoo import MODELS
from tests.data.records import raw, write_lmdb


def new(*arguments, status=0):
    done = CliRunner().invoke(main, ["new", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


def test_list():
    lines = new("--list").stdout.splitlines()
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == set(MODELS)
    ssd = next(index for index, line in enumerate(lines) if line.startswith("ssd300 "))
    assert [line.strip() for line in lines[ssd + 1 : ssd + 3]] == [
        "--dataset voc (default), coco, ilsvrc",
        "--variant vgg (default), zf, resnet-101",
    ]
    rows = json.loads(new("--list", "--json").stdout)
    assert rows["lenet"] == {
        "summary": MODELS["lenet"].summary,
        "source": "LeCun et al. 1998",
        "classes": {"mnist": 10},
        "variants": [],
    }


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Pictures of two shades, 0 and 1."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("digits")

    def record(index):
        shade = index % 2
        return f"{index:05}".encode(), raw(random.integers(100 * shade, 100 * shade + 60, (1, 28, 28), np.uint8), shade)

    write_lmdb(folder / "train", map(record, range(128)))
    write_lmdb(folder / "test", map(record, range(40)))
    return folder


def test_the_command_trains(digits, tmp_path):
    """What the command prints does train, and the net learns."""
    folder = tmp_path / "lenet"
    done = new("lenet", "-o", folder, "--classes", 2, "--data", digits / "train", "--test-data", digits / "test")
    assert done.stderr.count("wrote") == 3
    words = shlex.split(done.stdout)
    assert words == ["caffecompat", "train", str(folder / "solver.prototxt")]
    trained = CliRunner().invoke(main, [*words[1:], "--device", "cpu", "--max-iter", "20", "--workers", "0"])
    assert trained.exit_code == 0, trained.output
    weights = folder / "lenet_iter_20.caffemodel"
    tested = CliRunner().invoke(
        main, ["test", str(folder / "train_val.prototxt"), "-w", str(weights), "--iterations", "1"]
    )
    assert tested.exit_code == 0, tested.output
    assert "accuracy = 1\n" in tested.stdout


def test_a_mean_image_that_is_not_there(digits, tmp_path, monkeypatch):
    """The first that is told is what makes it, and that does, so that it is not told again."""
    monkeypatch.chdir(tmp_path)
    asked = ("cifar10-full", "-o", "net", "--data", digits / "train", "--force")
    first, second, *_ = new(*asked).stderr.splitlines()
    mean = "examples/cifar10/mean.binaryproto"
    assert f"'{mean}' is subtracted, and is not there" in first
    assert second == f"  mkdir -p examples/cifar10 && caffecompat data mean {digits / 'train'} {mean}"
    assert new(*asked, "--mean", "a b").stderr.splitlines()[1] == f"  caffecompat data mean {digits / 'train'} 'a b'"
    (tmp_path / mean).parent.mkdir(parents=True)
    made = CliRunner().invoke(main, shlex.split(second)[5:])
    assert made.exit_code == 0, made.output
    assert "mean" not in new(*asked).stderr


def test_without_test_data(digits, tmp_path):
    assert "there are no tests" in new("lenet", "-o", tmp_path / "n", "--data", digits / "train").stderr


def test_data_that_is_not_there(tmp_path):
    """It is told, and the files are written all the same."""
    done = new("lenet", "-o", tmp_path / "n", "--data", "nothere_lmdb")
    assert "note: --data 'nothere_lmdb' is not there" in done.stderr
    assert "`caffecompat data imageset` makes one" in done.stderr
    assert (tmp_path / "n" / "solver.prototxt").is_file()


def test_weights_to_start_from(tmp_path):
    done = new("vgg-d", "-o", tmp_path / "a b")
    start = "vgg-a-start.caffemodel"
    assert shlex.split(done.stdout)[2:] == [str(tmp_path / "a b" / "solver.prototxt"), "--weights", start]
    assert f"--weights vgg-a.caffemodel --recipe vgg_start -o {start}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no NAME"),
        (["lenet"], "no -o DIR"),
        (["lennet", "-o", "x"], 'did you mean "lenet"?'),
        (["lenet", "-o", "x", "--classes", "0"], "1 to 100,000 classes, got 0"),
        (["lenet", "-o", "x", "--classes", "ten"], "not a valid integer"),
        (["lenet", "-o", "x", "--dataset", "voc"], "no dataset 'voc'"),
        (["lenet", "-o", "."], "has files already"),
    ],
)
def test_wrong_usage(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    done = new(*arguments, status=2)
    assert words in done.stderr
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
