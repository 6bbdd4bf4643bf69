from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from caffecompat.cli.files import keep_inputs, tell_written
from caffecompat.cli.main import main
from caffecompat.errors import UsageError
from tests.support import shared_file


def test_an_input_is_not_overwritten_under_any_name(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    keep_inputs(None, [tmp_path / "a"])
    keep_inputs(tmp_path / "b", [tmp_path / "a", None])
    for name in ("a", "link"):
        with pytest.raises(UsageError, match="is an input"):
            keep_inputs(tmp_path / name, [None, tmp_path / "a"])


def test_what_was_written_is_told_on_stderr(tmp_path, capsys):
    (tmp_path / "a").write_bytes(b"x" * 1234)
    tell_written(tmp_path / "a")
    tell_written(tmp_path)
    assert capsys.readouterr() == ("", f"wrote {tmp_path / 'a'} (1,234 bytes)\nwrote {tmp_path}\n")


def test_commands_do_not_overwrite_their_images(tmp_path):
    folder = shared_file("models/wechat_detect")
    photo = tmp_path / "photo.png"
    shutil.copy(shared_file("photos/coffee_qr.png"), photo)
    before = photo.read_bytes()
    command = ["detect", folder / "detect.prototxt", "-w", folder / "detect.caffemodel", photo, "--scale", 1 / 255]
    for more in (["-o", photo, "--format", "csv"], ["--draw", tmp_path]):
        result = CliRunner().invoke(main, [str(argument) for argument in [*command, *more]])
        assert result.exit_code == 2
        assert "is an input of this command" in result.stderr
        assert photo.read_bytes() == before
