from __future__ import annotations

import pytest

from caffecompat.detection.label_map import read_label_map
from caffecompat.errors import CaffeCompatError


def test_names_and_names_to_show(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text('item { name: "n01" label: 1 display_name: "a dog" } item { name: "n00" label: 0 }')
    found = read_label_map(path)
    assert found.names == {1: "n01", 0: "n00"}
    assert found.display_names == {1: "a dog", 0: "n00"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('item { name: "a" label: 1 }\nitem { name: "b" label: 1 }', "map:2:.*label 1 is 'a' already, and 'b' again"),
        ('item { name: "a" label: -1 }', "label from 0 to 999999, got -1"),
        ('item { name: "a" label: 1000000 }', "label from 0 to 999999"),
        ('item { name: "a" lable: 1 }', "no field 'lable'"),
        ("item {", "map"),
        ("aeroplane\nbird\n", "map"),
    ],
)
def test_what_is_no_label_map(tmp_path, text, message):
    path = tmp_path / "map"
    path.write_text(text)
    with pytest.raises(CaffeCompatError, match=message):
        read_label_map(path)
