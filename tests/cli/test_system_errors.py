"""A system that does not give a file: one failed row or one line of every command, whichever file and error it is."""

from __future__ import annotations

import csv
import errno
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failing_files import Watch, watched
from toy_sets import toy_inputs

from ctseg.cli.main import main

pytestmark = pytest.mark.slow

CODES = (
    errno.EIO, errno.ESTALE, errno.EMFILE, errno.EFBIG, errno.ENOMEM, errno.EBUSY, errno.ETIMEDOUT, errno.ELOOP,
    errno.EACCES, None,
)  # fmt: skip
"""None stands for a MemoryError."""
SETS = ["--src", "mr", "--tgt", "ct"]
SMOKE = [*SETS, "--pairs", "pairs.csv", "--preset", "smoke", "--device", "cpu"]
SEGMENT = ["--model", "seg", "--device", "cpu", "--workers", "0"]
COMMANDS: dict[str, list[str]] = {
    "segment": ["segment", "scans", *SEGMENT],
    "segment list": ["segment", "list.txt", *SEGMENT],
    "segment set": ["segment", "ct", "--model", "seg", "--device", "cpu"],
    "preprocess": [
        "preprocess", "scans", "--masks", "truth", "--splits", "splits.csv", "--size", "32", "--workers", "0",
    ],
    "match": ["match", *SETS, "--top", "1"],
    "evaluate": ["evaluate", "--pred", "pred", "--ref", "truth", "--set", "resamples=100"],
    "evaluate tables": [
        "evaluate", "--pred", "pred", "--ref", "truth", "--cases", "cases.csv", "--group", "group.csv",
        "--set", "resamples=100",
    ],
    "das-train": ["das-train", *SMOKE],
    "finetune": ["finetune", "--data", "ct", "--folds", "2", "--preset", "smoke", "--device", "cpu"],
    "inspect": ["inspect", "scans"],
    "inspect set": ["inspect", "ct"],
    "inspect masks": ["inspect", "truth"],
    "inspect pairs": ["inspect", "pairs.csv"],
    "models show": ["models", "show", "./seg"],
}  # fmt: skip
TOLERATED = {"seg/metrics.jsonl"}
"""What a command may do without: it tells of a training, and nothing is computed from it."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything that the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    with toy_inputs(folder):
        shutil.copytree("truth", "pred")
        Path("list.txt").write_text("scans/a.nii.gz\nscans/b.nii.gz\n")
        Path("group.csv").write_text("case,patient\na,p1\nb,p2\n")
        Path("splits.csv").write_text("patient_id,split\na,train\nb,val\n")
        Path("cases.csv").write_text("case,ref,pred\na,a.nii.gz,a.nii.gz\nb,b.nii.gz,b.nii.gz\n")
        assert main([*COMMANDS["das-train"], "-o", "seg"]) == 0
        yield folder


class Call:
    """One command, called again and again on one place."""

    def __init__(self, name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self.capsys, self.out = place, capsys, place / "out"
        reads = name.startswith(("inspect", "models"))
        self.argv = [*COMMANDS[name], *([] if reads else ["-o", str(self.out)])]

    def __call__(self) -> tuple[int, str]:
        shutil.rmtree(self.place)
        self.place.mkdir()
        self.capsys.readouterr()
        code = main(self.argv)
        return code, self.capsys.readouterr().err

    def names(self) -> list[str]:
        """What it wrote."""
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob("*"))

    def check(self, code: int, err: str, what: str) -> None:
        """One failed row, or one line; nothing half-written, and the good case is there."""
        assert code in (1, 2), f"{what}: {code}"
        assert "Traceback" not in err, what
        left = [path.name for path in self.place.rglob("*") if path.name.startswith((".partial-", ".ctseg-lock-"))]
        assert not left, what
        if code == 2:
            assert len(err.splitlines()) == 1, f"{what}: {err}"
            assert err.startswith("ctseg: error: "), what
            assert not any(word in err for word in ("again with --overwrite", "preprocess again", "train it")), err
        elif (self.out / "volumes.csv").exists():
            with (self.out / "volumes.csv").open(newline="") as file:
                states = [row["status"] for row in csv.DictReader(file)]
            assert sorted(states) == ["failed", "ok"], what


def error_of(code: int | None, path: str) -> BaseException:
    return MemoryError() if code is None else OSError(code, os.strerror(code), path)


def fail_at(watch: Watch, path: str, step: str, code: int | None) -> None:
    watch.bad, watch.step, watch.hits = path, step, 0
    watch.make = lambda name: error_of(code, name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_file_of_every_command(name: str, inputs: Path, tmp_path: Path, capsys: Any) -> None:
    call = Call(name, tmp_path / "place", capsys)
    call.place.mkdir()
    with watched(inputs) as watch:
        assert call()[0] == (1 if name == "inspect" else 0), "one of the toy heads is none that ctseg likes"
        whole = call.names()
        opened, looked_at = list(watch.seen["open"]), list(watch.seen["stat"])
        steps = [*((path, "open") for path in opened), *((path, "stat") for path in looked_at)]
        steps += [(path, "read") for path in opened if not path.endswith((".npy", ".safetensors"))]
        assert len(opened) > 0
        for number, (path, step) in enumerate(steps):
            code = CODES[(number + len(name)) % len(CODES)]
            fail_at(watch, path, step, code)
            ended, err = call()
            hits, watch.step = watch.hits, ""
            what = f"{step} {os.path.relpath(path, inputs)} {code and errno.errorcode[code]}"
            if step == "stat" and ended == 0:  # whoever asked could do without the answer
                assert call.names() == whole, what
            elif hits and os.path.relpath(path, inputs) not in TOLERATED:
                call.check(ended, err, what)


TRAIN = ["das-train", *SETS, "--preset", "smoke", "--device", "cpu", "-o", "out"]
PIPES: dict[str, list[str]] = {
    "evaluate --group": ["evaluate", "--pred", "pred", "--ref", "truth", "--group", "PIPE", "-o", "out"],
    "evaluate --cases": ["evaluate", "--pred", "pred", "--ref", "truth", "--cases", "PIPE", "-o", "out"],
    "evaluate --labels": ["evaluate", "--pred", "pred", "--ref", "truth", "--labels", "PIPE", "-o", "out"],
    "preprocess --splits": ["preprocess", "scans", "--splits", "PIPE", "-o", "out"],
    "preprocess --labels": ["preprocess", "scans", "--labels", "PIPE", "-o", "out"],
    "das-train --pairs": [*TRAIN, "--pairs", "PIPE"],
    "das-train --source-list": [*TRAIN, "--pairs", "pairs.csv", "--source-list", "PIPE"],
    "das-train --pretrained": [*TRAIN, "--pairs", "pairs.csv", "--pretrained", "PIPE"],
    "segment": ["segment", "PIPE", "-o", "out"],
    "run": ["run", "PIPE"],
    "inspect": ["inspect", "PIPE"],
    "models show": ["models", "show", "./PIPE"],
}


@pytest.fixture
def impatient() -> Iterator[None]:
    """A test that waits for a pipe ends by itself."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def suffixes(name: str) -> tuple[str, ...]:
    """Of what such an option takes; of inputs, of everything."""
    wanted = {"run": ".toml", "das-train --pretrained": ".safetensors", "models show": ".safetensors"}
    return (".csv", ".txt", ".toml", ".safetensors") if name in ("segment", "inspect") else (wanted.get(name, ".csv"),)


@pytest.mark.parametrize(("name", "suffix"), [(name, suffix) for name in PIPES for suffix in suffixes(name)])
def test_no_command_waits_for_a_pipe(
    name: str, suffix: str, inputs: Path, tmp_path: Path, capsys: Any, impatient: None
) -> None:
    pipe, out = tmp_path / f"pipe{suffix}", tmp_path / "out"
    os.mkfifo(pipe)
    argv = [str(pipe) if "PIPE" in word else str(out) if word == "out" else word for word in PIPES[name]]
    capsys.readouterr()
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pipe" in line
    assert "no such file" not in line
    assert not out.exists()


@pytest.mark.parametrize("name", [".ctseg.json", "checkpoint.pt", "metrics.jsonl"])
def test_no_training_waits_for_a_pipe_in_its_folder(name: str, inputs: Path, tmp_path: Path, impatient: None) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.toml").write_text("")
    os.mkfifo(out / name)
    assert main([*TRAIN[:-1], str(out), "--pairs", "pairs.csv", "--resume"]) == 2
