"""Outputs that are one file, pages and pictures: they know what they were made from, and nobody's edit is lost."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from signalled import UNREACHED, leftovers, stopped_at, tree
from toy_sets import toy_inputs

from ctseg.cli.main import main
from ctseg.errors import OutputExistsError
from ctseg.files import write_text
from ctseg.inspection.scans import scan_row
from ctseg.io.discover import discover
from ctseg.io.input_digests import file_digest, set_digests
from ctseg.io.slices import open_slices
from ctseg.outputs import Mark, guard_file, read_file_mark, what_changed, write_file_mark, write_file_output
from ctseg.outputs.mark import file_mark

MATCH = ["match", "--src", "mr", "--tgt", "ct", "--top", "1", "--overwrite"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    with toy_inputs(folder):
        yield folder


@pytest.fixture
def out(inputs: Path, tmp_path: Path) -> Path:
    os.chdir(inputs)
    return tmp_path


@pytest.mark.slow
def test_a_page_of_pairs_knows_its_sets_and_keeps_edits(out: Path) -> None:
    page, call = out / "pairs.html", [*MATCH, "-o", str(out / "pairs.csv"), "--report", str(out / "pairs.html")]
    assert main(call) == 0
    mark = read_file_mark(page)
    assert mark is not None
    assert (mark.kind, mark.finished) == ("match", True)
    assert mark.inputs == {
        name: set_digests(open_slices(Path(sets))) for name, sets in (("source", "mr"), ("target", "ct"))
    }
    assert what_changed(page) == ""
    whole = page.read_text()
    page.write_text(whole.replace("</body>", "<p>mine</p></body>"))
    assert what_changed(page) == f"{page} (pairs.html changed)"
    assert main(call) == 0
    assert "<p>mine</p>" in (out / "pairs.html.changed").read_text()
    assert page.read_text() == whole
    assert main(call) == 0
    assert sorted(path.name for path in out.glob("*.changed*")) == ["pairs.html.changed"]


@pytest.mark.slow
@pytest.mark.parametrize("shown", ["ct", "scans"])
def test_a_picture_knows_what_it_shows_and_keeps_edits(
    out: Path, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = out / "a.png"
    call = ["inspect", shown, "--thumbnail", str(picture)]
    is_odd = shown == "scans"  # which hold one scan twice
    assert main(call) == is_odd
    mark = read_file_mark(picture)
    assert mark is not None
    if shown == "ct":
        assert mark.inputs == set_digests(open_slices(Path("ct")))
    else:
        digests = {scan_row(case).digest for case in discover(Path("scans")).cases}
        assert digests == {file_digest(path) for path in Path("scans").iterdir()}
        (found,) = mark.inputs.values()
        assert list(mark.inputs) == ["scans"]
        assert found not in digests
    assert main(call) == 2
    assert f"{picture}: exists already; choose another output or add --overwrite" in capsys.readouterr().err
    whole = picture.read_bytes()
    picture.write_bytes(whole + b"mine")
    assert main([*call, "--overwrite"]) == is_odd
    assert (picture.read_bytes(), (out / "a.png.changed").read_bytes()) == (whole, whole + b"mine")


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [False, True])
def test_a_kill_at_any_file_of_pairs_and_page_leaves_nothing(
    out: Path, earlier: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(place: Path) -> list[str]:
        return [*MATCH, "-o", str(place / "pairs.csv"), "--report", str(place / "pairs.html")]

    (out / "whole").mkdir()
    assert main(call(out / "whole")) == 0
    number, ends = 0, []
    while UNREACHED not in ends:
        number += 1
        place = out / str(number)
        place.mkdir()
        assert not earlier or main(call(place)) == 0
        ends.append(stopped_at(call(place), signal.SIGKILL, number)[0])
        assert main(call(place)) == 0
        assert tree(place) == tree(out / "whole"), number
        assert not leftovers(place)
    assert ends == [-signal.SIGKILL] * 6 + [UNREACHED]


def mark(path: Path) -> Mark:
    return Mark("match", (path.name,), inputs={"source": "0"})


@pytest.mark.parametrize("text", ["old", ""])
def test_a_disk_that_refuses_leaves_the_earlier_file_with_its_mark(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    if text:
        write_text(path, text)
        write_file_mark(path, Mark("match", ("a.html",)).seen(tmp_path))
    before = tree(tmp_path)

    def refuse(_: Path) -> None:
        raise OSError(28, "No space left on device", "elsewhere")

    with pytest.raises(OSError, match=r"No space left.*a\.html"):
        write_file_output(path, mark(path), refuse, str)
    assert tree(tmp_path) == before


def test_a_file_that_a_kill_left_is_written_again_and_no_other(tmp_path: Path) -> None:
    path, said = write_text(tmp_path / "a.html", "page"), list[str]()
    write_file_mark(path, Mark("match", ("a.html",), finished=False))
    assert guard_file(path, lambda _: True, say=said.append) == path
    assert said == [f"{path}: a killed run left it unfinished; it is written again"]
    with pytest.raises(OutputExistsError, match="is not what this command writes"):
        guard_file(path, lambda _: False)
    write_file_mark(path, Mark("match", ("a.html",), finished=False).seen(tmp_path))  # an earlier one was replaced
    with pytest.raises(OutputExistsError, match="add --overwrite"):
        guard_file(path, lambda _: True)
    assert guard_file(path, lambda _: True, overwrite=True) == path


def test_a_half_written_mark_is_removed(tmp_path: Path) -> None:
    path, said = tmp_path / "a.html", list[str]()
    half = file_mark(path).with_name(f".partial-0a1b2c3d-{file_mark(path).name}")
    half.write_text(json.dumps({}))
    guard_file(path, lambda _: True, say=said.append)
    assert not half.exists()
    assert said == [f"removed {half}: a killed run left it unfinished"]


def test_a_file_that_is_no_mark_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    file_mark(path).write_text("mine")
    write_file_output(path, mark(path), partial(write_text, text="page"), str)
    assert (path.read_text(), file_mark(path).read_text()) == ("page", "mine")
