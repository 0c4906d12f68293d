"""A disk that refuses a write, at every write of every command: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import in_child
from toy_sets import toy_inputs

import ctseg.files
from ctseg.cli.main import main

pytestmark = pytest.mark.slow

SETS = ["--src", "mr", "--tgt", "ct"]
SMOKE = [*SETS, "--pairs", "pairs.csv", "--preset", "smoke", "--device", "cpu"]
COMMANDS: dict[str, list[str]] = {
    "preprocess": ["preprocess", "scans", "--size", "32", "--workers", "0"],
    "match": ["match", *SETS, "--top", "1"],
    "synth-train": ["synth-train", *SMOKE],
    "synthesize": ["synthesize", "--model", "gen", "--src", "mr", "--device", "cpu"],
    "synthesize nifti": ["synthesize", "--model", "gen", "--src", "mr", "--device", "cpu", "--format", "nifti"],
    "das-train": ["das-train", *SMOKE],
    "finetune": ["finetune", "--data", "ct", "--folds", "2", "--preset", "smoke", "--device", "cpu"],
    "segment": ["segment", "scans", "--model", "seg", "--device", "cpu", "--workers", "0", "--probabilities"],
    "segment set": ["segment", "ct", "--model", "seg", "--device", "cpu"],
    "evaluate": ["evaluate", "--pred", "truth", "--ref", "truth", "--images", "scans", "--set", "resamples=100"],
    "export": ["export", "seg", "--to", "onnx"],
    "plugins new": ["plugins", "new", "mine"],
}
GROWING = ("synth-train", "das-train", "finetune", "segment", "segment set")
"""These keep what they have: an unfinished output, which `--resume` continues."""
CODES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that the commands read; nothing below may change."""
    folder = tmp_path_factory.mktemp("inputs")
    with toy_inputs(folder):
        assert main([*COMMANDS["synth-train"], "-o", "gen"]) == 0
        assert main([*COMMANDS["das-train"], "-o", "seg"]) == 0
        yield folder


@pytest.fixture
def out(inputs: Path, tmp_path: Path) -> Path:
    """Where an output goes."""
    os.chdir(inputs)
    return tmp_path / "out"


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def check(err: str, code: int, number: int, out: Path, growing: bool) -> None:
    """One line that names the output, and nothing half-written."""
    lines = err.splitlines()
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("ctseg: error: ")
    assert os.strerror(number) in lines[0]
    assert str(out) in lines[0]
    assert "free space" in lines[0]
    left = [path.name for path in out.parent.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-"))]
    assert not left
    if not growing:
        assert not out.exists()


def limited(argv: list[str], limit: int) -> tuple[int, str]:
    """Exit code and stderr of a command in a process that can write no file of more bytes than `limit`."""

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = main(argv)
        gc.collect()  # what is closed late may complain late
        return code

    return in_child(work)


@pytest.mark.parametrize("limit", [0, 200, 2000, 20_000])
@pytest.mark.parametrize("name", COMMANDS)
def test_files_of_a_limited_size(inputs: Path, out: Path, name: str, limit: int) -> None:
    before = tree(inputs)
    code, err = limited([*COMMANDS[name], "-o", str(out)], limit)
    if code or limit < 2000:
        check(err, code, errno.EFBIG, out, name in GROWING)
    assert tree(inputs) == before


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in (*GROWING, "plugins new")])
def test_an_earlier_output_stays(inputs: Path, out: Path, name: str) -> None:
    assert main([*COMMANDS[name], "-o", str(out)]) == 0
    before = tree(out.parent)
    code, err = limited([*COMMANDS[name], "-o", str(out), "--overwrite"], 200)
    check(err, code, errno.EFBIG, out, growing=True)
    assert tree(out.parent) == before


TINY = [f"--set={name}" for name in ("mr_matrix=48", "mr_slices=31", "ct_matrix=64", "ct_slice_step_mm=12")]


@pytest.mark.parametrize(("limit", "workers"), [(0, "0"), (200, "0"), (12_000, "0"), (200, "1")])
def test_a_cohort_of_phantoms_is_whole_or_not_there(out: Path, limit: int, workers: str) -> None:
    """The marks, the first files and the largest are refused; each patient is written by a job, or by a worker."""
    code, err = limited(["phantom", "--mr", "1", "--ct", "1", "--ct-test", "0", *TINY, "--workers", workers,
                          "-o", str(out)], limit)  # fmt: skip
    check(err, code, errno.EFBIG, out, growing=False)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_phantom_that_the_disk_refuses_in_the_middle_ends_the_cohort(
    out: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A patient is there, the next is refused half way."""
    from ctseg.phantom import cohort

    def make(folder: Path, case: Any) -> dict[str, Any]:
        made = folder / "rsna" / f"{case.index}.dcm"
        made.parent.mkdir(parents=True)
        made.write_text("half")
        if case.index:
            raise OSError(number, os.strerror(number), str(made))
        return {"slices": 0}

    monkeypatch.setattr(cohort, "make_ct_case", make)
    capsys.readouterr()
    code = main(["phantom", "--mr", "1", "--ct", "2", "--ct-test", "0", "--workers", "0", "-o", str(out)])
    check(capsys.readouterr().err, code, number, out, growing=False)


class Refusing:
    """Fails at the n-th file that is written whole, as when it is flushed to a full disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.left, self.number, self.whole = -1, number, ctseg.files.sync
        monkeypatch.setattr(ctseg.files, "sync", self)

    def __call__(self, path: Path) -> None:
        if path.is_file():
            self.left -= 1
            if self.left == 0:
                raise OSError(self.number, os.strerror(self.number), str(path))
        self.whole(path)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in GROWING])
def test_each_write_in_turn(inputs: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    before, count = tree(inputs), 0
    while True:
        number = CODES[count % len(CODES)]
        refusing = Refusing(monkeypatch, number)
        refusing.left = count = count + 1
        capsys.readouterr()
        code = main([*COMMANDS[name], "-o", str(out)])
        if refusing.left > 0:
            break
        check(capsys.readouterr().err, code, number, out, growing=False)
    assert code == 0
    assert count > (0 if name == "plugins new" else 1)
    assert tree(inputs) == before


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_what_grows_can_be_continued(
    inputs: Path, out: Path, name: str, count: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    refusing = Refusing(monkeypatch, errno.ENOSPC)
    refusing.left = count
    code = main([*COMMANDS[name], "-o", str(out)])
    if refusing.left <= 0:
        check(capsys.readouterr().err, code, errno.ENOSPC, out, growing=True)
        assert main([*COMMANDS[name], "-o", str(out), "--resume"]) == 0
    assert not [path for path in out.rglob("*") if path.name.startswith(".partial-")]


def test_a_study_s_memory_that_cannot_be_written(inputs: Path, tmp_path: Path, capsys: Any) -> None:
    study = tmp_path / "study.toml"
    study.write_text('[[step]]\ncommand = "plugins"\n')
    code, err = limited(["run", str(study)], 10)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"ctseg: error: {tmp_path}/study.state.json: File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


def test_stdout_on_a_full_disk(inputs: Path) -> None:
    call = f"{sys.executable} -m ctseg -q match --src mr --tgt ct --top 1 -o - > /dev/full"
    done = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_disk_that_is_really_full(inputs: Path, tmp_path: Path) -> None:
    """On a file system of 128 KiB, where one can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (disk / "filler").write_bytes(b"0" * 100_000)
        for name in ("das-train", "preprocess", "segment"):
            code, err = limited([*COMMANDS[name], "-o", str(disk / name)], -1)
            check(err, code, errno.ENOSPC, disk / name, growing=True)
            assert name in GROWING or not (disk / name).exists()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
