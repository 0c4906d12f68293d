"""`ctseg doctor`: what is installed and works, without anything that names a user, host or path."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest

from ctseg.cli import common, doctor
from ctseg.cli.main import main


@pytest.fixture(autouse=True)
def _fresh_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "STATE", common.State(quiet=True, outside_plugins=False))
    monkeypatch.setattr(doctor, "LOW_DISK_GB", 0.0)  # how full the machine is, is not what is tested


@pytest.mark.slow
def test_the_whole_of_it_passes_here_and_names_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    text = capsys.readouterr().out
    lines = {line["name"]: line for line in json.loads(text)["lines"]}
    assert lines["preprocess a head"]["value"].startswith("brain ")
    assert lines["network, one step"]["value"].startswith("loss ")
    assert lines["worker process"]["value"].startswith("answers")
    assert {"ctseg", "Python", "torch", "pydicom", "memory", "disk here", "JPEG 2000", "bfloat16"} <= lines.keys()
    hidden = {platform.node(), str(Path.home()), str(Path.cwd()), getpass.getuser()} - {"", "root"}
    assert not [word for word in hidden if word in text]


def test_a_fault_is_marked_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "devices", lambda device: [])
    monkeypatch.setattr(doctor, "decoders", lambda: [doctor.Line("DICOM decoders", "RLE", "none", ok=False)])
    assert main(["doctor", "--quick"]) == 1
    out = capsys.readouterr().out
    assert " ! RLE" in out
    assert "   numpy" in out


def test_a_test_that_fails_says_why_without_paths() -> None:
    def broken(device: str) -> str:
        raise OSError(28, "No space left on device", "/home/somebody/Smith_John.nii")

    line = doctor._timed("write and read", broken, "cpu")
    assert not line.ok
    assert "No space left on device" in line.value
    assert "Smith" not in line.value


def test_a_missing_package_is_named() -> None:
    line = doctor._package("no-such-package>=3")
    assert (line.ok, line.value) == (False, "missing; needed: no-such-package>=3")


def test_little_space_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK_GB", 1e9)
    assert [line.ok for line in doctor.machine() if line.name.startswith("disk")] == [False, False]
