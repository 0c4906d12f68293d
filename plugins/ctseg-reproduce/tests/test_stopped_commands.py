"""The commands of this package after Ctrl-C, SIGTERM and SIGKILL, and on a disk that is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from implant_toys import write_cohort
from signalled import SIGNALS, UNREACHED, leftovers, said_once, stopped_at, tree
from toy_sets import toy, toy_inputs, write_pairs

import ctseg.files
from ctseg.cli.main import main
from ctseg.inspection.outputs import inspect_outputs
from ctseg.outputs import read_mark

pytestmark = pytest.mark.slow

GRID = ["--places", "1", "--ml", "5", "--hu", "60:70", "--oedema-mm", "0"]
COMMANDS = {
    "implant": ["implant", "scans", "--model", "seg", *GRID, "--device", "cpu"],
    "recovery-study": ["recovery-study", "cohort", "--model", "seg", "--scans", "4", "--device", "cpu"],
    "planted-faults": ["planted-faults", "scans", "--model", "seg"],
    "source-subsets": ["source-subsets", "--src", "mr", "--pairs", "some.csv"],
    "shuffle-labels": ["shuffle-labels", "--src", "mr"],
    "location-prior": ["location-prior", "--src", "mr", "--data", "ct"],
}
GROWING = ("implant", "recovery-study")
"""These keep what they have measured, and go on."""
MOMENTS = (1, 3, 4)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that the commands read; nothing of it may change."""
    folder = tmp_path_factory.mktemp("inputs")
    with toy_inputs(folder):
        write_cohort(folder / "cohort", 1)
        write_pairs(folder / "some.csv", range(4))
        toy(folder / "many", "ct", 2, count=12)  # of enough scans for a profile
        train = ["--set", "matched=false", "--preset", "smoke", "--device", "cpu"]
        assert main(["das-train", "--src", "mr", "--tgt", "many", *train, "-o", "seg"]) == 0
        yield folder


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What a command leaves when nothing stops it; each is called once."""

    @cache
    def call(name: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("undisturbed")
        assert main([*COMMANDS[name], "-o", str(folder / "out")]) == 0
        return tree(folder)

    return call


@pytest.mark.parametrize("moment", range(len(MOMENTS)))
@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_call_after_a_signal_gives_the_whole(
    inputs: Path, undisturbed: Callable[[str], dict[str, str]], tmp_path: Path, name: str, moment: int
) -> None:
    number, code, word = SIGNALS[(list(COMMANDS).index(name) + moment) % len(SIGNALS)]
    before, argv, out = tree(inputs), [*COMMANDS[name], "-o", str(tmp_path / "out")], tmp_path / "out"
    ended, err = stopped_at(argv, number, MOMENTS[moment])
    if ended == UNREACHED:
        return
    assert ended == code, err
    assert said_once(err, word) if word else not err, err
    assert not (word and leftovers(tmp_path))
    if out.exists():
        assert name in GROWING
        assert not getattr(read_mark(out), "finished", False)
    assert main(argv) == 0
    assert tree(tmp_path) == undisturbed(name)
    assert not leftovers(tmp_path)
    assert tree(inputs) == before


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", GROWING)
def test_a_folder_that_a_full_disk_left_unfinished_says_so_and_is_gone_on_with(
    inputs: Path, undisturbed: Callable[[str], dict[str, str]], tmp_path: Path, name: str, count: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole, left, out = ctseg.files.sync, [count], tmp_path / "out"
    argv = [*COMMANDS[name], "-o", str(out)]

    def full(path: Path) -> None:
        left[0] -= path.is_file()
        if left[0] <= 0 and path.is_file():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(ctseg.files, "sync", full)
        assert main(argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ctseg: error: {out}")
    assert "No space left on device; check the path, its permissions and the free space" in line
    mark = read_mark(out)
    assert mark is None or not mark.finished
    if mark is not None:
        assert inspect_outputs(out).problems == ["unfinished: its command was stopped; call it again"]
    assert not leftovers(tmp_path)
    assert main(argv) == 0
    assert getattr(read_mark(out), "finished", False)
    assert tree(tmp_path) == undisturbed(name)
