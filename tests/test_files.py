from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from toy_sets import toy

from ctseg.errors import InputError, UnreadableError
from ctseg.files import read_csv, read_json, read_json_beside, regular, write_json, write_text, write_with
from ctseg.outputs import new_folder
from ctseg.temporary_names import temporary_name


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


@pytest.mark.parametrize(
    "name", ["a" * 240 + ".nii.gz", "a" * 255, "山" * 83 + ".nii", "a." * 120 + "csv", "x.tar" * 50]
)
def test_names_as_long_as_the_file_system_takes_are_written(tmp_path: Path, name: str) -> None:
    seen = []

    def write(temporary: Path) -> None:
        seen.append(temporary.name)
        temporary.write_text("whole")

    assert write_with(tmp_path / name, write).read_text() == "whole"
    assert len(seen[0].encode()) < 128
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_long_temporary_name_keeps_suffix_and_tells_targets_apart() -> None:
    one, other = temporary_name("a" * 200 + "1.nii.gz"), temporary_name("a" * 200 + "2.nii.gz")
    assert one != other
    assert one.endswith(".nii.gz")
    assert temporary_name("case.nii.gz") == "case.nii.gz"


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    for read in (regular, read_json):
        with pytest.raises(InputError, match=r"a\.json: a .*, not a file; it is not opened"):
            read(path)
    assert read_json_beside(path) is None


def test_what_lies_beside_is_missed_only_where_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    assert read_json_beside(path) is None
    path.write_text("{")
    assert read_json_beside(path) is None
    path.write_text("{}")
    assert read_json_beside(path) == {}
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(UnreadableError, match="Too many levels"):
        read_json_beside(path)


BROKEN = {
    "zip": b"PK\3\4xx",
    "gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3cut",
    "bz2": b"BZh9x",
    "xz": b"\xfd7zXZ\0x",
    "tar": b"x",
}


@pytest.mark.parametrize("ending", BROKEN)
def test_a_table_in_a_broken_archive_is_one_line(ending: str, tmp_path: Path) -> None:
    from ctseg.evaluation.cases import read_table
    from ctseg.inspection.artefacts import inspect_pairs
    from ctseg.io.rsna_labels import read_labels
    from ctseg.io.slices import open_slices
    from ctseg.matching.pairs import read_pairs
    from ctseg.preprocess.labels import read_splits

    table = tmp_path / f"table.csv.{ending}"
    table.write_bytes(BROKEN[ending])
    one = open_slices(toy(tmp_path / "ct", "ct", 0, count=2))
    pairs = partial(read_pairs, source=one, target=one)
    readers = (partial(read_table, columns=["case"]), read_labels, pairs, read_splits)
    for reader in readers:
        with pytest.raises(InputError) as caught:
            reader(table)
        message = str(caught.value)
        assert message.startswith(f"{table}: "), message
        assert len(message.splitlines()) == 1
        assert "raceback" not in message
    assert inspect_pairs(table).problems


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_table_with_other_separators_says_so(tmp_path: Path, mark: str, word: str) -> None:
    (tmp_path / "a.csv").write_text(f"case{mark}patient\na{mark}0,5\n")
    with pytest.raises(ValueError, match=f"separated by {word}, not by commas"):
        read_csv(tmp_path / "a.csv")
