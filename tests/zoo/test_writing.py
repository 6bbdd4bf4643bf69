"""What is asked of a net is checked, and fitted to the data that is there; its files are written whole."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError, UsageError
from caffecompat.formats import read_net, read_solver
from caffecompat.schema.plugins import parameters
from caffecompat.zoo import MODELS, ask, data_notes, find_model, make, write
from tests.data.records import raw, some, write_lmdb
from tests.zoo.made import made


def refused(name, words, **asked):
    with pytest.raises(UsageError, match=words):
        ask(find_model(name), **asked)


class TestWhatIsAsked:
    @pytest.mark.parametrize(
        ("name", "words"), [("vgg-f", 'did you mean "vgg-'), ("VGG-D", 'did you mean "vgg-d"'), ("x" * 999, "--list")]
    )
    def test_no_such_net(self, name, words):
        with pytest.raises(UsageError, match=words):
            find_model(name)

    @pytest.mark.parametrize("classes", [0, -1, 100_001])
    def test_classes_out_of_range(self, classes):
        refused("vgg-a", "vgg-a can have 1 to 100,000 classes, got", classes=classes)

    def test_settings_that_a_net_does_not_have(self):
        refused("lenet", "no dataset 'voc'\n.*it has mnist", dataset="voc")
        refused("lenet", "no dataset 'mnits'\n.*did you mean \"mnist\"", dataset="mnits")
        refused("lenet", "lenet has no variants, got 'zf'", variant="zf")
        refused("ssd512", "no variant 'resnet-101'\n.*it has vgg, zf", variant="resnet-101")
        refused("lenet", "lenet has no --labels", labels="list.txt")
        refused("alexnet", "alexnet has no --label-map\n.*it has --mean", label_map="map.prototxt")

    def test_widths_and_sizes(self):
        refused("lenet", "lenet has no --width", width=0.5)
        refused("ssd300", "ssd300 has no --size", size=64)
        refused("resnet-18", "no --width\n.*VGG, RepVGG, SSD and acnet-vgg-16 have it", width=0.5)
        for what, number in (("width", 0.5), ("size", 64)):
            assert [name for name in MODELS if name.startswith("acnet-") and what in MODELS[name].scales] == [
                "acnet-vgg-16"
            ]
            ask(find_model("acnet-vgg-16"), **{what: number})
        refused("vgg-a", "expected --width from 0.015625 to 8, got 0", width=0.0)
        refused("vgg-a", "expected --width .* got nan", width=float("nan"))
        refused("repvgg-a0", "expected --size from 32 to 1024, got 16", size=16)

    def test_paths(self):
        refused("lenet", "expected a path for --data, got an empty one", data="")
        refused("ssd300", "expected a path for --label-map, got an empty one", label_map="")
        with pytest.raises(CaffeCompatError, match="source"):
            made("lenet", data="\udcff")


class TestData:
    def test_both(self):
        net = made("lenet", data="train", test_data="test").nets["train_val"]
        assert [layer.data_param.source for layer in net.layer[:2]] == ["train", "test"]

    def test_none_to_test_on(self):
        nets = made("lenet", data="train")
        layers = nets.nets["train_val"].layer
        assert [layer.type for layer in layers].count("Data") == 1
        assert "Accuracy" not in {layer.type for layer in layers}
        assert not nets.solver.test_iter
        assert not nets.solver.HasField("test_interval")

    def test_all_is_tested(self, tmp_path):
        """250 digits in batches of 100."""
        write_lmdb(tmp_path / "test", some(250, 4))
        assert list(made("lenet", test_data=str(tmp_path / "test")).solver.test_iter) == [3]

    def test_what_is_no_database(self, tmp_path):
        with pytest.raises(CaffeCompatError, match="data"):
            made("lenet", test_data=str(tmp_path))

    def test_detection(self):
        """Who brings images of their own has no use for VOC's names and sizes."""
        nets = made("ssd300", classes=4, data="train", test_data="test", label_map="map.prototxt")
        texts = {name: str(net) for name, net in nets.nets.items()}
        assert not any("VOC0712/" in text for text in texts.values())
        assert 'source: "train"' in texts["train"]
        assert 'label_map_file: "map.prototxt"' in texts["test"]
        assert "save_output_param" not in texts["deploy"]
        assert made("ssd300", classes=4, data="train").nets.keys() == {"train", "deploy"}

    def test_small_sets_for_detection(self):
        """Who brings images is told what to shorten, of the fields that the solver has."""
        told = "make {} smaller, as docs/ssd.md does"
        asked = {"classes": 4, "data": "train", "test_data": "test"}
        assert made("ssd300", **asked).notes[-1].endswith(told.format("max_iter, stepvalue and test_interval"))
        residual = made("ssd300", classes=4, data="train", variant="resnet-101")
        assert residual.notes[-1].endswith(told.format("max_iter and stepsize"))
        assert not any("docs/ssd.md" in note for note in made("ssd300").notes)

    def test_segmentation(self, tmp_path):
        (tmp_path / "val.txt").write_text("a.jpg\nb.jpg\nc.jpg\n")
        lists = {"data": "t.txt", "labels": "tl.txt", "test_data": str(tmp_path / "val.txt"), "test_labels": "vl.txt"}
        nets = made("dilation-frontend", **lists)
        assert list(nets.solver.test_iter) == [2]
        train, test = (nets.nets[name].layer[0].image_label_data_param for name in ("train", "test"))
        assert (train.image_list_path, train.label_list_path) == ("t.txt", "tl.txt")
        assert (test.image_list_path, test.label_list_path) == (lists["test_data"], "vl.txt")
        refused("dilation-joint", "--data and --labels belong together.*\n.*give --labels too", data="t.txt")
        refused("dilation-joint", "--test-data and --test-labels belong.*\n.*give --test-data too", test_labels="v")

    def test_mean(self):
        net = made("alexnet", mean="mean.binaryproto").nets["train_val"]
        assert {layer.transform_param.mean_file for layer in net.layer[:2]} == {"mean.binaryproto"}

    def test_what_is_there(self, tmp_path, monkeypatch):
        """Only what is missing or of another kind is told."""
        monkeypatch.chdir(tmp_path)
        write_lmdb(tmp_path / "db", some(2, 4))
        (tmp_path / "list.txt").write_text("a.jpg\n")

        def notes(name, **asked):
            model = MODELS[name]
            settings = ask(model, **asked)
            return list(data_notes(model, settings, make(model, settings)))

        assert notes("lenet", data="db", test_data="db") == notes("lenet") == []
        assert notes("dilation-joint", data="list.txt", labels="list.txt") == []
        imageset = "lenet reads a database there; `caffecompat data imageset` makes one"
        assert notes("lenet", data="no", test_data="db") == [f"--data 'no' is not there: {imageset}"]
        assert notes("lenet", data="list.txt") == [f"--data 'list.txt' is no database: {imageset}"]
        (boxes,) = notes("ssd300", classes=2, data="no")
        assert "`caffecompat data voc`, or `data annoset`" in boxes
        images, labels = notes("dilation-joint", data="db", labels="no")
        lists = "dilation-joint reads a list there; `caffecompat data segmentation` makes one"
        assert (images, labels) == (f"--data 'db' is a database: {lists}", f"--labels 'no' is not there: {lists}")
        assert notes("matching-net", data="no")[0].startswith("--data 'no' is not there: matching-net reads a database")
        assert notes("matching-net-text", data="no") == [
            "--data 'no' is not there: matching-net-text reads a text there"
        ]


class TestHeldOutClasses:
    @pytest.fixture
    def classes(self, tmp_path):
        def write(count):
            records = [(f"{label:03}".encode(), raw(np.zeros((1, 2, 2), np.uint8), label)) for label in range(count)]
            return str(write_lmdb(tmp_path / str(count), records))

        return write

    @pytest.mark.parametrize(("count", "held_out"), [(10, 5), (24, 8), (70, 20)])
    def test_a_third(self, count, held_out, classes):
        """At least those of an episode, at most of four."""
        nets = made("matching-net", data=classes(count))
        for layer in nets.nets["train_val"].layer[:2]:
            assert parameters(layer, "episode_data_param").held_out_classes == held_out
        assert nets.notes[0].startswith(f"tests are of {held_out} classes")

    def test_too_few(self, classes):
        with pytest.raises(UsageError, match="has 9 classes; at least 10 are needed.*\n.*--test-data"):
            made("matching-net", data=classes(9))
        assert made("matching-net", data=classes(9), classes=2).notes[0].startswith("tests are of 3 classes")
        assert made("matching-net", data=classes(5), test_data=classes(9)).notes == ()


class TestWriting:
    def written(self, name, folder, **options):
        model = MODELS[name]
        return write(model, make(model, ask(model)), folder, **options)

    def test_files(self, tmp_path):
        paths = self.written("lenet", tmp_path / "new" / "lenet")
        assert [path.name for path in paths] == ["train_val.prototxt", "deploy.prototxt", "solver.prototxt"]
        nets = made("lenet").nets
        assert read_net(paths[0]).message == nets["train_val"]
        assert read_net(paths[1]).message == nets["deploy"]
        solver = read_solver(paths[2]).message
        assert (solver.net, solver.snapshot_prefix) == (paths[0].as_posix(), str(tmp_path / "new" / "lenet" / "lenet"))
        assert paths[0].read_text().startswith("# LeNet")

    def test_other_files_are_kept(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(UsageError, match="has files already, 'mine.txt' for one\n.*--force"):
            self.written("lenet", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
        self.written("lenet", tmp_path, replacing=True)
        assert len(list(tmp_path.iterdir())) == 4
        assert (tmp_path / "mine.txt").read_text() == "mine"

    def test_no_folder(self, tmp_path):
        with pytest.raises(UsageError, match="expected a folder with a name in UTF-8"):
            self.written("lenet", tmp_path / "\udcff")
        assert not list(tmp_path.iterdir())
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="expected a folder, got the file"):
            self.written("lenet", tmp_path / "file")
        with pytest.raises(CaffeCompatError, match="cannot be made"):
            self.written("lenet", tmp_path / "file" / "below")
