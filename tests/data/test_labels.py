from __future__ import annotations

import pytest

from caffecompat.data.labels import read_labels
from caffecompat.errors import CaffeCompatError, FormatError


def test_label_map(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text(
        'item { name: "none_of_the_above" label: 0 display_name: "background" }\n'
        'item { name: "bicycle" label: 2 }\nitem { name: "a" label: 1 display_name: "aeroplane" }\n'
    )
    assert read_labels(path) == ("background", "aeroplane", "bicycle")


def test_label_map_with_a_gap(tmp_path):
    path = tmp_path / "map.prototxt"
    path.write_text('item: < name: "x" label: 3 >')
    assert read_labels(path) == ("", "", "", "x")


def test_synset_words_and_plain_names(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n\n")
    assert read_labels(path) == ("tench, Tinca tinca", "goldfish, Carassius auratus")
    path.write_bytes(b"\xef\xbb\xbfcat\r\n\r\nd\xc3\xa9j\xc3\xa0 vu\r\n")
    assert read_labels(path) == ("cat", "", "déjà vu")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no names"),
        (b"\n\n", "no names"),
        (b"a\nb\n\xff\n", "3: expected names in UTF-8"),
        (b"a\0b\n", "binary"),
        (b'item { name: "x" label: -1 }', "got -1"),
        (b'\nitem { name: "x" label: 99999999 }', "got 99999999"),
        (b'item { nam: "x" }', None),
        (b"item {" * 10_000, None),
    ],
)
def test_broken_labels_are_refused_by_name(tmp_path, data, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    with pytest.raises(CaffeCompatError, match=message or "labels"):
        read_labels(path)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(FormatError, match="absent"):
        read_labels(tmp_path / "absent.txt")
    with pytest.raises(FormatError):
        read_labels(tmp_path)
