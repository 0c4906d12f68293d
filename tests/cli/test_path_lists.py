"""Lists of paths in the encodings and with the line ends that systems write."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.cli.path_lists import listed_paths, read_lines
from ctseg.errors import InputError
from ctseg.files import read_json

NAMES = ["a.nii", "Größe 1.nii", "山田.nii"]


@pytest.fixture(autouse=True)
def _scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        Path(name).touch()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be+", "utf-32", "utf-16-le", "utf-16-be"])
def test_a_list_is_read_in_any_unicode_encoding(encoding: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = end.join([*NAMES, ""]) + end
    data = b"\xfe\xff" + text.encode("utf-16-be") if encoding.endswith("+") else text.encode(encoding)
    Path("list.TXT").write_bytes(data)
    wanted = [Path(name) for name in NAMES]
    assert common.existing_paths(["list.TXT"]) == wanted
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii", errors="surrogateescape"))
    assert common.existing_paths(["-"]) == wanted


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_an_8_bit_list_is_named_with_the_way_out(encoding: str) -> None:
    Path("list.txt").write_bytes("a.nii\nGröße 1.nii\n".encode(encoding))
    with pytest.raises(InputError, match=r"Größe 1.nii: no such .* list.txt, which is not UTF-8 .*save .* as UTF-8"):
        common.existing_paths(["list.txt"])


def test_a_file_name_that_is_no_utf8_is_found_as_it_stands() -> None:
    name = os.fsdecode(b"Gr\xf6\xdfe.nii")
    try:
        Path(name).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert listed_paths(b"Gr\xf6\xdfe.nii\n", "list") == [Path(name)]


def test_nul_separates_names_with_any_character() -> None:
    odd = "line\nbreak \u2028\x85 .nii "
    Path(odd).touch()
    data = b"\0".join([os.fsencode(odd), b"a.nii", b""])
    assert listed_paths(data, "stdin", null=True) == [Path(odd), Path("a.nii")]
    with pytest.raises(InputError, match="holds NUL bytes; add -0"):
        listed_paths(data, "stdin")
    assert listed_paths(b"a.nii\n", "x", null=False) == listed_paths(b"a.nii", "x", null=True)


def test_spaces_and_quotes_around_a_path() -> None:
    Path(" b.nii").touch()
    assert listed_paths(b' b.nii\n  a.nii  \n"a.nii"\n', "x") == [Path(" b.nii"), Path("a.nii"), Path("a.nii")]
    Path("form\x0cfeed\u2028.nii").touch()
    assert listed_paths("form\x0cfeed\u2028.nii\n".encode(), "x") == [Path("form\x0cfeed\u2028.nii")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfea\x00\n", "broken UTF-16"),
        (b"\xff\xfea\x00\x00\xd8\n\x00", "broken UTF-16"),
        (b"", "names no path"),
        (b"\xef\xbb\xbf\r\n \r\n", "names no path"),
        (b"x" * 5000, "x: cannot be looked at .*too long|xxx"),
        (b"a.nii\nb\0c\n", "holds NUL bytes"),
        (b"missing.nii\n", "missing.nii: no such file or folder .from list"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        listed_paths(data, "list")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_list_on_a_disk_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_text("a.nii\n")

    def broken(self: Path) -> bytes:
        raise OSError(5, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(InputError, match="list.txt: cannot be read .Input/output error."):
        common.existing_paths(["list.txt"])


@pytest.mark.parametrize("command", [["segment", "-", "--model", "none"], ["preprocess", "-", "-o", "out"]])
@pytest.mark.parametrize("flag", ["-0", "--null"])
def test_the_commands_take_find_print0(
    command: list[str], flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("two\nlines").mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"two\nlines\0a.nii\0")))
    assert main([command[0], flag, *command[1:]]) == 2
    error = capsys.readouterr().err
    assert "no such file or folder (from stdin)" not in error
    assert "none" in error or "two lines: an empty folder" in error


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_lists_of_slices_and_json_are_read_alike(encoding: str) -> None:
    Path("slices.txt").write_bytes("1.2.3\r\n\r\n1.2.4 \r\n".encode(encoding))
    assert read_lines(Path("slices.txt")) == ["1.2.3", "1.2.4"]
    Path("latin.txt").write_bytes(b"Gr\xf6\xdfe\n")
    with pytest.raises(InputError, match="latin.txt: not UTF-8 but Latin-1"):
        read_lines(Path("latin.txt"))
    Path("dataset.json").write_text('{"modality": {"0": "CT"}}', encoding="utf-8-sig")
    assert read_json(Path("dataset.json")) == {"modality": {"0": "CT"}}
