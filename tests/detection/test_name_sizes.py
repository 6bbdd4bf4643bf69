from __future__ import annotations

import pytest

from caffecompat.detection import name_sizes
from caffecompat.detection.name_sizes import read_name_sizes
from caffecompat.errors import FormatError


def test_lines(tmp_path):
    path = tmp_path / "sizes.txt"
    path.write_bytes(b"000001 500 353\r\n\n  a/b.jpg\t10   20\n\xff 1 2147483647")
    found = read_name_sizes(path)
    assert found.names == ("000001", "a/b.jpg", "\udcff")
    assert found.sizes == ((500, 353), (10, 20), (1, 2147483647))
    assert len(found) == 3


@pytest.mark.parametrize("line", ["a 1", "a 1 2 3", "a one 2", "a 1.5 2", "a 0 2", "a -1 2", "a 1 2147483648", "a ١ 2"])
def test_what_is_no_line_is_named(tmp_path, line):
    path = tmp_path / "sizes.txt"
    path.write_text(f"a 1 2\n{line}\n")
    with pytest.raises(FormatError, match="expected a name, a height and a width") as caught:
        read_name_sizes(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)


def test_no_file_no_lines_too_many_bytes(tmp_path, monkeypatch):
    path = tmp_path / "sizes.txt"
    with pytest.raises(FormatError, match="no such file"):
        read_name_sizes(path)
    path.write_text("\n \n")
    with pytest.raises(FormatError, match="expected lines, got none"):
        read_name_sizes(path)
    monkeypatch.setattr(name_sizes, "MAX_BYTES", 4)
    path.write_text("a 1 2\n")
    with pytest.raises(FormatError, match="at most 4 bytes"):
        read_name_sizes(path)
