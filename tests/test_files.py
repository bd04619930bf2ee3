"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossbench.files import replacing, require_writable, write_text


def test_a_failed_write_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    path = write_text(tmp_path / "result.json", "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert write_text(tmp_path / "written", "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_folders_are_made(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a" / "b" / "c.txt", "ü").read_text(encoding="utf-8") == "ü"


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"taken' is not a folder; choose another with --output"):
        require_writable(tmp_path / "taken")
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        require_writable(tmp_path / "taken" / "below")


def test_an_output_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(PermissionError, match=r"cannot write to output '/proc/lossbench'.*--output"):
        require_writable(Path("/proc/lossbench"))  # holds for root too
