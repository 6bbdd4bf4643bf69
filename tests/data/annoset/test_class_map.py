"""Label maps: read, made of names, and those of SSD's authors."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from caffecompat.data.annoset.class_map import (
    COCO_CATEGORIES,
    coco_classes,
    given_classes,
    named_classes,
    read_class_map,
    voc_classes,
)
from caffecompat.errors import CaffeCompatError, FormatError, UsageError
from caffecompat.schema import caffe_pb2
from tests.data.annoset.shapes import SHAPES


def test_read():
    found = read_class_map(SHAPES / "labelmap.prototxt", check=True)
    assert found.labels == {"none_of_the_above": 0, "circle": 1, "square": 2, "triangle": 3}
    again = text_format.Parse(found.text, caffe_pb2.LabelMap())
    assert again == text_format.Parse((SHAPES / "labelmap.prototxt").read_text(), caffe_pb2.LabelMap())


def test_a_name_that_stands_twice(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text('item { name: "a" label: 1 }\nitem { name: "b" label: 2 }\nitem { name: "a" label: 3 }\n')
    # As in the original, the last one counts unless it is to be checked.
    assert read_class_map(path).labels == {"a": 3, "b": 2}
    with pytest.raises(FormatError, match="'a' stands twice") as caught:
        read_class_map(path, check=True)
    assert caught.value.line == 3


def test_voc():
    found = voc_classes()
    assert found.text.startswith('item {\n  name: "none_of_the_above"\n  label: 0\n  display_name: "background"\n}\n')
    assert (found.labels["aeroplane"], found.labels["diningtable"], found.labels["tvmonitor"]) == (1, 11, 20)
    assert len(found.labels) == 21


def test_coco():
    assert len(COCO_CATEGORIES) == 80
    found = coco_classes({1: "person", 90: "toothbrush"})
    # Ids leave numbers out, labels do not.
    assert {found.labels[key] for key in map(str, COCO_CATEGORIES)} == set(range(1, 81))
    assert (found.labels["1"], found.labels["13"], found.labels["67"], found.labels["90"]) == (1, 12, 61, 80)
    display = {item.label: item.display_name for item in text_format.Parse(found.text, caffe_pb2.LabelMap()).item}
    assert (display[0], display[12], display[61]) == ("background", "stop sign", "dining table")
    # Others' categories are numbered in the order of their ids.
    assert coco_classes({10: "x", 2: "y"}).labels == {"none_of_the_above": 0, "2": 1, "10": 2}
    assert coco_classes({1: "person", 2: "cat"}).labels == {"none_of_the_above": 0, "1": 1, "2": 2}
    with pytest.raises(UsageError, match="no categories"):
        coco_classes({})


def test_given(tmp_path):
    expected = {"none_of_the_above": 0, "a": 1, "b c": 2}
    assert given_classes("a, b c").labels == expected
    names = tmp_path / "names.txt"
    names.write_text("a\nb c\n")
    assert given_classes(str(names)).labels == expected
    names.write_text("background\na\nb c\n")
    assert given_classes(str(names)).labels == expected
    assert given_classes(str(SHAPES / "labelmap.prototxt")).labels["triangle"] == 3
    with pytest.raises(UsageError, match="no such file"):
        given_classes("names.txt")


@pytest.mark.parametrize("names", [["a", "a"], ["a", ""], ["a", "none_of_the_above"]])
def test_wrong_names(names):
    with pytest.raises(UsageError, match="among the classes"):
        named_classes(names)


@pytest.mark.parametrize("text", ["", "item {", "nonsense: 3", "\0\1"])
def test_no_label_map(tmp_path, text):
    path = tmp_path / "map.prototxt"
    path.write_text(text)
    with pytest.raises(CaffeCompatError) as caught:
        read_class_map(path)
    assert caught.value.file == str(path)
