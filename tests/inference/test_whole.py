"""Several worker processes on the CPU, each of which does whole cases: the files, rows and ends of one process."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import cohorts
import pydicom
import pytest
import torch
from segment_helpers import (
    Head,
    NonAirIsBrain,
    Stack,
    blind,
    bright_model,
    bright_models,
    kinds_model,
    write_dicom,
    write_nifti,
)  # fmt: skip
from signalled import leftovers, said_once, tree
from whole_helpers import KilledWriting, NoRoom

from ctseg.inference import segment as segment_module
from ctseg.inference.brain_cache import BrainMaskCache
from ctseg.inference.models import by_preprocessing, with_other_blood
from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.inference.whole import FEWEST, whole_cases
from ctseg.io.discover import discover
from ctseg.outputs import guard_output

PLAIN = SegmentSettings(preview=False, dicom_seg=False)
SCANS = 16
ALL = SegmentSettings(probabilities=True, recovery=True, rtstruct=True, sr=True, label_tables=True)


def run(inputs, out, settings=PLAIN, extractor=None, groups=None, **more):
    cases = discover([inputs]).cases
    groups = groups or bright_models()
    return segment_cases(cases, groups, out, settings, extractor=extractor or NonAirIsBrain(), **more)


@pytest.fixture
def scans(tmp_path):
    for name in "abcd":
        write_nifti(tmp_path / "scans" / f"{name}.nii.gz", Head())
    return tmp_path / "scans"


@pytest.fixture
def no_prefetch(monkeypatch):
    """The calling process must not prepare a case itself."""

    def prepared(*_args, **_more):
        raise AssertionError("prepared for the calling process")

    monkeypatch.setattr(segment_module, "prefetch_prepared", prepared)


def without_times(rows):
    return [replace(row, seconds=0) for row in rows]


def same_files(one: Path, other: Path) -> None:
    """DICOM objects hold the time and random UIDs: their own UID says what they say."""
    there, here = (
        {name: digest for name, digest in tree(folder).items() if ".dcm" not in name} for folder in (one, other)
    )
    assert there == here
    for path in one.glob("*.dcm"):
        made, again = pydicom.dcmread(path), pydicom.dcmread(other / path.name)
        assert made.SOPInstanceUID == again.SOPInstanceUID
        assert made.get("PixelData") == again.get("PixelData")


@pytest.mark.slow
def test_every_file_and_row_is_that_of_one_process(scans, tmp_path, monkeypatch, no_prefetch):
    write_dicom(scans / "series", Stack(torch.arange(12).numpy() * 5.0), Head())
    caches = [tmp_path / "brains", tmp_path / "others"]
    preprocessing = bright_model().preprocessing
    ours, theirs = (BrainMaskCache(NonAirIsBrain(), cache, preprocessing) for cache in caches)
    seen = []
    there = run(scans, tmp_path / "there", ALL, ours, workers=2, on_case=lambda row: seen.append(row.case))
    monkeypatch.undo()
    here = run(scans, tmp_path / "here", ALL, theirs)
    assert without_times(there) == without_times(here)
    assert seen == [row.case for row in here]
    assert {row.status for row in here} == {"ok"}
    same_files(tmp_path / "here", tmp_path / "there")
    assert tree(caches[0]) == tree(caches[1])
    # What is gone is done again, and nothing else.
    (tmp_path / "there" / "b.nii.gz").unlink()
    kept = (tmp_path / "there" / "a.nii.gz").stat().st_mtime_ns
    assert without_times(run(scans, tmp_path / "there", ALL, ours, workers=2, resume=True)) == without_times(here)
    assert (tmp_path / "there" / "a.nii.gz").stat().st_mtime_ns == kept
    same_files(tmp_path / "here", tmp_path / "there")


@pytest.mark.slow
def test_other_blood_is_that_of_one_process(scans, tmp_path, no_prefetch, monkeypatch):
    groups = with_other_blood(blind(), kinds_model())
    settings = SegmentSettings(other_blood=True, label_tables=True, dicom_seg=False)
    there = run(scans, tmp_path / "there", settings, groups=groups, workers=2)
    monkeypatch.undo()
    here = run(scans, tmp_path / "here", settings, groups=groups)
    assert without_times(there) == without_times(here)
    assert all(row.other_ml > 1 and row.ml == 0 for row in here)
    masks = {f"other_blood/{name}.nii.gz" for name in "abcd"}
    assert masks <= set(tree(tmp_path / "here"))
    same_files(tmp_path / "here", tmp_path / "there")
    only = tmp_path / "there" / "other_blood" / "c.nii.gz"
    only.unlink()
    assert without_times(run(scans, tmp_path / "there", settings, groups=groups, workers=2, resume=True)) == (
        without_times(here)
    )
    assert only.exists()
    same_files(tmp_path / "here", tmp_path / "there")


@pytest.mark.slow
def test_a_killed_worker_costs_one_case_and_leaves_nothing_of_it(scans, tmp_path, no_prefetch):
    out = tmp_path / "out"
    rows = run(scans, out, extractor=KilledWriting("b", out), workers=2)
    assert [(row.case, row.status) for row in rows] == [("a", "ok"), ("b", "failed"), ("c", "ok"), ("d", "ok")]
    assert "a worker process left with exit code 9" in rows[1].error
    assert not leftovers(out)
    assert not list(out.glob("b.*"))


@pytest.mark.slow
def test_a_full_disk_ends_the_call_and_resume_goes_on(scans, tmp_path, no_prefetch, monkeypatch):
    with pytest.raises(OSError, match="File too large") as caught:
        run(scans, tmp_path / "out", extractor=NoRoom("c"), workers=2)
    assert caught.value.__traceback__ is not None  # while the error is still held
    assert not active_children()
    assert not leftovers(tmp_path / "out")
    assert not list((tmp_path / "out").glob("c.*"))
    with (tmp_path / "out" / "volumes.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a", "b"]
    monkeypatch.undo()
    assert [row.status for row in run(scans, tmp_path / "out", workers=0, resume=True)] == ["ok"] * 4


@pytest.mark.slow
def test_shared_with_another_call(scans, tmp_path, no_prefetch):
    out = guard_output(tmp_path / "out", "segment", inputs=[scans], share=True)
    rows = run(scans, out, workers=2)
    assert [(row.case, row.status) for row in rows] == [(name, "ok") for name in "abcd"]


def test_when_the_calling_process_runs_the_network():
    usual, extractor = bright_models(), NonAirIsBrain()
    assert whole_cases(usual, extractor, 1) is None
    assert whole_cases(by_preprocessing([replace(bright_model(), device=torch.device("meta"))]), extractor, 4) is None
    odd = bright_model()
    odd.module.hook = lambda: None  # as some networks of plugins have
    assert whole_cases(by_preprocessing([odd]), extractor, 4) is None
    whole = whole_cases(usual, extractor, 4)
    assert [whole.pays(cases) for cases in (0, 1, FEWEST - 1, FEWEST)] == [False, False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_the_same_call_after_a_signal_gives_the_whole(tmp_path, number):
    cohorts.ct_scans(tmp_path / "scans", SCANS)
    cohorts.model(tmp_path / "run")
    words = [sys.executable, "-m", "ctseg", "-q", "segment", "scans", "--model", "run", "--device", "cpu"]
    call = [*words, "--workers", "2", "-o", "out"]
    with subprocess.Popen(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as child:
        wait_for(tmp_path / "out", child)
        if number == signal.SIGKILL:
            child.kill()
        else:
            os.killpg(child.pid, number)  # as a terminal does: the workers get it, too
        err = child.communicate()[1]
    assert child.returncode == {signal.SIGINT: 130, signal.SIGKILL: -9}[number], err
    if number == signal.SIGINT:
        assert said_once(err, "interrupted"), err
        assert not leftovers(tmp_path)
    assert not ended_well(tmp_path / "out")
    deadline = time.monotonic() + 60
    while workers_of(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not workers_of(child.pid)
    subprocess.run([*call, "--resume"], cwd=tmp_path, check=True)
    assert not leftovers(tmp_path)
    subprocess.run([*words, "--workers", "0", "-o", "alone"], cwd=tmp_path, check=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def wait_for(out: Path, child: subprocess.Popen[str]) -> None:
    """Until a mask is written."""
    while not list(out.glob("*.nii.gz")):
        assert child.poll() is None
        time.sleep(0.005)


def ended_well(out: Path) -> bool:
    return len(list(out.glob("*.nii.gz"))) == SCANS


def workers_of(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
