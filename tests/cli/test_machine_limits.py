"""A full disk, closed streams and missing memory: one line, and the last checkpoint as it was."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ctseg.checkpoints import load_checkpoint, save_checkpoint
from ctseg.cli import common
from ctseg.cli.main import main

pytestmark = pytest.mark.slow

CALL = [sys.executable, "-m", "ctseg"]


def limited() -> None:
    """No file of more than 64 KiB; writing further is an error, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"epoch": 1, "weights": torch.ones(10)})
    before = (tmp_path / "checkpoint.pt").read_bytes()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            limited()
            save_checkpoint(tmp_path, {"epoch": 2, "weights": torch.ones(100_000)})
        except OSError as error:
            code = 7 if "checkpoint.pt" in str(error) else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert load_checkpoint(tmp_path)["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "run/checkpoint.pt"), "run/checkpoint.pt: No space left on device"),
        (OSError(5, "Input/output error", "run/x"), "run/x: Input/output error"),
        (MemoryError(), "out of memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
    ],
)
def test_the_machine_s_limits_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, error: BaseException, words: str
) -> None:
    monkeypatch.setattr(common, "STATE", common.State(quiet=True))

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("ctseg.study.read_study", fail)
    assert main(["run", str(tmp_path / "study.toml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]


def test_a_defect_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("ctseg.study.read_study", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        main(["run", str(tmp_path / "study.toml")])


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&-", "1>&- 2>&-", "2>/dev/full", "0<&- 1>&- 2>&-"])
def test_closed_and_full_streams_do_not_end_a_command(tmp_path: Path, closed: str) -> None:
    (tmp_path / "study.toml").write_text('[[step]]\ncommand = "plugins"\n')
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *CALL, "run", "study.toml"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr + done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.state.json", "study.toml"]
    missing = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *CALL, "run", "gone.toml"], cwd=tmp_path, capture_output=True, check=False
    )
    assert missing.returncode == 2
    assert b"Traceback" not in missing.stderr + missing.stdout
