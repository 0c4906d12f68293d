from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctseg.errors import InputError
from ctseg.files import read_json, write_json, write_text, write_with
from ctseg.outputs import new_folder


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = write_text(tmp_path / "a.txt", "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_with(target, fail)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        path = write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


def test_json_refuses_nan_and_names_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert os.listdir(tmp_path) == []
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b\.json: not a JSON file"):
        read_json(tmp_path / "b.json")
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "c.json")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("place", ["out", "folder/out"])
def test_a_place_that_takes_no_files_is_named(place: str) -> None:
    path = Path("/proc") / place
    with pytest.raises(InputError, match=f"{path}: nothing can be written there"), new_folder(path):
        pass
    with pytest.raises(InputError, match=f"{path}: nothing can be written there"):
        write_text(path, "text")
