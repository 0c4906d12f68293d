"""`--share`: calls of one command share the cases of one output, whoever of them is killed."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import cohorts
import numpy as np
import pandas as pd
import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.errors import OutputExistsError
from ctseg.inference import finish
from ctseg.inference import shared as segment_shared
from ctseg.inference.results import CaseResult
from ctseg.locks import Busy
from ctseg.outputs import Mark, guard_output, read_mark
from ctseg.outputs import claims as claims_module
from ctseg.outputs import sharing as sharing_module
from ctseg.outputs.leftovers import share_folder
from ctseg.outputs.mark import write_mark
from ctseg.preprocess import shared as preprocess_shared
from ctseg.preprocess.brain import MuschelliExtractor
from ctseg.preprocess.cases import CaseSlices
from ctseg.preprocess.coarse import CoarseBrain
from ctseg.preprocess.shared import save_outcome
from ctseg.same_code import codes_of

pytestmark = pytest.mark.slow
NOT_OURS = "not what a call of this version of ctseg leaves there; remove it and call again"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(quiet=True))
    monkeypatch.chdir(tmp_path)


def test_preprocess_shared_and_killed_gives_the_bytes_of_one_call(tmp_path: Path) -> None:
    cohorts.mr_scans(tmp_path / "scans", 60)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o"]
    assert main([*words, "alone"]) == 0
    cohorts.race([*words, "out", "--share"], tmp_path, 60, processes=3, kills=3)
    assert cohorts.contents(tmp_path / "out") == cohorts.contents(tmp_path / "alone")
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"] == 60
    mark = read_mark(tmp_path / "out")
    assert mark is not None
    assert mark.finished
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    # One that comes late finds all done; other work on the same output is refused.
    before = (tmp_path / "out" / "images.npy").stat().st_mtime_ns
    assert main([*words, "out", "--share"]) == 0
    assert (tmp_path / "out" / "images.npy").stat().st_mtime_ns == before
    assert main([*words, "out", "--share", "--set", "min_brain_mm2=50"]) == 2


def test_segment_shared_and_killed_does_each_scan_once(tmp_path: Path) -> None:
    cohorts.ct_scans(tmp_path / "scans", 16)
    cohorts.model(tmp_path / "run")
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "--set", "preview=false", "-o"]
    texts = cohorts.race([*words, "out", "--share"], tmp_path, 16, processes=2, kills=2)
    assert main([*words, "alone"]) == 0
    rows = {name: table(tmp_path / name) for name in ("alone", "out")}
    assert rows["out"] == rows["alone"]
    assert [row["case"] for row in rows["out"]] == [f"scan_{place:03d}" for place in range(16)]
    masks = {name: cohorts.contents(tmp_path / name) for name in ("alone", "out")}
    for folder in masks.values():
        del folder["volumes.csv"], folder["volumes.json"]
    assert masks["out"] == masks["alone"]
    said = cohorts.said(texts)
    assert len(said) == len(set(said))  # no scan counts for two calls
    assert len(said) >= 14  # one that is killed may not have said it any more
    assert not share_folder(tmp_path / "out").exists()
    # Resumed by a call that works alone, as any other segmentation.
    assert main([*words, "out", "--resume"]) == 0


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "volumes.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture
def half_done(tmp_path: Path) -> list[str]:
    """Shared work whose calls were all killed."""
    cohorts.mr_scans(tmp_path / "scans", 30)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out"]
    call = cohorts.start([*words, "--share"], tmp_path)
    done = tmp_path / ".ctseg-share-out" / "done"
    deadline = time.monotonic() + 120
    while not (done.exists() and len(list(done.iterdir())) > 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    call.kill()
    call.communicate()
    assert not (tmp_path / "out").exists()
    return words


def test_calls_that_do_not_fit_are_refused_in_one_line(
    half_done: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(preprocess_shared, "CODE", "ctseg 99.0")
        assert main([*half_done, "--share"]) == 2
        assert "or code of ctseg" in error(capsys)
    assert main([*half_done, "--share", "--set", "min_brain_mm2=50"]) == 2
    assert "out: is shared by calls with other scans, settings, plugin or code of ctseg; call with the same" in error(
        capsys
    )
    assert main([*half_done, "--share", "--overwrite"]) == 2
    assert "--share and --overwrite" in error(capsys)
    shutil.copy(tmp_path / "scans" / "case_000.nii.gz", tmp_path / "scans" / "more.nii.gz")
    assert main([*half_done, "--share"]) == 2
    assert "with other scans, settings, plugin or code of ctseg" in error(capsys)
    (tmp_path / "scans" / "more.nii.gz").unlink()
    # The work goes on, and is not done again: what a case gave is taken from its record.
    before = {path.name for path in (tmp_path / ".ctseg-share-out" / "done").glob("case_*")}
    again: list[str] = []
    save = preprocess_shared.save_outcome
    monkeypatch.setattr(
        preprocess_shared, "save_outcome", lambda path, outcome: (again.append(outcome.case_id), save(path, outcome))
    )
    assert main([*half_done, "--share"]) == 0
    assert sorted([*before, *again]) == [f"case_{place:03d}" for place in range(30)]
    assert not (tmp_path / ".ctseg-share-out").exists()


def test_a_mask_that_was_changed_since_is_other_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases that were done before had kept the old mask, and the set was put together of both."""
    cohorts.label(cohorts.mr_scans(tmp_path / "scans", 3))
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    with monkeypatch.context() as patch:
        patch.setattr(preprocess_shared, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(words) == 130
    capsys.readouterr()
    assert len(list((tmp_path / ".ctseg-share-out" / "done").glob("case_*"))) == 3
    mask = tmp_path / "scans/case_001/case_001_seg.nii.gz"
    before = mask.read_bytes()
    mask.write_bytes(before)  # the same size, another time
    assert main(words) == 2
    assert "with other scans, settings, plugin or code of ctseg" in error(capsys)
    shutil.rmtree(tmp_path / ".ctseg-share-out")
    assert main(words) == 0


def test_a_mask_in_a_folder_below_that_was_changed_since_is_other_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DICOM masks are found there; the folder itself does not change with them."""
    cohorts.mr_scans(tmp_path / "scans", 1)
    cohorts.label(cohorts.mr_scans(tmp_path / "labelled", 1))
    (tmp_path / "masks" / "below").mkdir(parents=True)
    (tmp_path / "labelled/case_000/case_000_seg.nii.gz").rename(tmp_path / "masks/case_000.nii.gz")
    other = tmp_path / "masks" / "below" / "a.dcm"
    other.write_text("no mask yet")
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "--masks", "masks", "-o", "out"]
    with monkeypatch.context() as patch:
        patch.setattr(preprocess_shared, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([*words, "--share"]) == 130
    capsys.readouterr()
    other.write_text("another")
    assert main([*words, "--share"]) == 2
    assert "with other scans, settings, plugin or code of ctseg" in error(capsys)


def plugin(folder: Path, lines: str) -> Any:
    """A brain extractor of another package, as its modules are now."""
    package = folder / "their_plugin"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(f"class Brain:\n    def __call__(self, volume):\n        return {lines}\n")
    spec = spec_from_file_location("their_plugin", package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["their_plugin"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Brain()


def test_a_plugin_of_other_code_is_other_work(tmp_path: Path) -> None:
    """Two machines with two versions of a brain extractor had shared one output, cases of both in it."""
    try:
        first = codes_of(CoarseBrain(plugin(tmp_path, "volume.voxels > 0")), None)
        assert len(first) == 1
        assert first[0].startswith("their_plugin ")
        assert codes_of(plugin(tmp_path, "volume.voxels > 0")) == first
        assert codes_of(plugin(tmp_path, "volume.voxels > 5")) != first
    finally:
        del sys.modules["their_plugin"]
    assert codes_of(MuschelliExtractor(), None) == []


@pytest.mark.parametrize("command", ["segment", "preprocess"])
def test_calls_with_another_plugin_do_not_share(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohorts.ct_scans(tmp_path / "scans", 1)
    cohorts.model(tmp_path / "run")
    words = {
        "segment": ["segment", "scans", "--model", "run", "--device", "cpu"],
        "preprocess": ["preprocess", "scans", "--domain", "ct", "--size", "32"],
    }[command]
    module = {"segment": segment_shared, "preprocess": preprocess_shared}[command]
    (tmp_path / ".ctseg-share-out").mkdir()
    (tmp_path / ".ctseg-share-out" / "key").write_text("of another plugin")
    seen: list[Any] = []
    monkeypatch.setattr(module, "codes_of", lambda *parts: [str(seen.extend(parts))])
    assert main([*words, "--workers", "0", "--share", "-o", "out"]) == 2
    assert "plugin or code of ctseg" in error(capsys)
    assert any(isinstance(part, MuschelliExtractor) for part in seen)


@pytest.mark.parametrize("step", ["link", "open", "mkdir"])
def test_a_full_disk_beside_the_output_names_the_output(
    step: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims and records lie in a folder of ours; the line had named nothing, or that folder's files."""
    cohorts.mr_scans(tmp_path / "scans", 1)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    real = getattr(os, step)

    def full(path: Any, *more: Any, **named: Any) -> Any:
        if step == "link":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if f".ctseg-share-out{os.sep}claims" in os.fspath(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        return real(path, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        if step == "link":
            patch.setattr(Path, "replace", full)
        assert main(words) == 2
    assert error(capsys).startswith("ctseg: error: out: No space left on device; check the path, its permissions")
    assert main(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans"]


def test_a_disk_that_lost_the_shared_folder_names_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network disk that calls every file stale; the line had said that somebody removes the shared folder."""
    cohorts.mr_scans(tmp_path / "scans", 1)

    def stale(new: Path, _: Path) -> bool:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(new))

    monkeypatch.setattr(sharing_module, "appear", stale)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    assert main(words) == 2
    line = error(capsys)
    assert line.startswith("ctseg: error: out: Stale file handle; ")


def test_claims_that_stay_stale_are_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network disk that opens no file for writing any more, and lists them all: the call had never ended."""
    monkeypatch.setattr(claims_module, "POLL_SECONDS", 0.001)
    (tmp_path / "claims").mkdir()
    with claims_module.Claims(tmp_path) as claims:
        (tmp_path / "claims" / "a.1").write_text("another")

        def stale(path: object, *_: object) -> int:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", stale)
            assert not claims._is_free("a", 1)
            with pytest.raises(OSError, match="tale"):
                for _ in range(200):
                    claims._is_free("a", 1)


def test_an_output_that_was_removed_before_all_was_done_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every further call had ended with `use --resume`, which changes nothing here."""
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o", "out", "--share"]
    with monkeypatch.context() as patch:
        patch.setattr(segment_shared, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(words) == 130
    capsys.readouterr()
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert main(words) == 2
    line = error(capsys)
    assert "out: was moved, removed or replaced since calls with --share began it; put it back, or remove " in line
    assert f"{share_folder(tmp_path / 'out')} to begin again" in line
    (tmp_path / "elsewhere").rename(tmp_path / "out")
    assert main(words) == 0
    assert [row["status"] for row in table(tmp_path / "out")] == ["ok", "ok"]


def test_a_pipe_among_the_claims_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohorts.mr_scans(tmp_path / "scans", 1)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    claim = tmp_path / ".ctseg-share-out" / "claims" / "case_000.1"
    claim.parent.mkdir(parents=True)
    os.mkfifo(claim)
    assert main(words) == 2
    assert "case_000.1: no claim of a call of ctseg; remove it and call again" in error(capsys)
    claim.unlink()
    assert main(words) == 0


def error(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_call_that_does_not_share_is_kept_out_and_keeps_others_out(
    half_done: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ctseg.locks import held

    with held(tmp_path / "out", shared=True):
        assert main(half_done) == 2
        assert "another call of ctseg writes there" in error(capsys)
        with held(tmp_path / "out", shared=True):
            pass
    with held(tmp_path / "out"):
        assert main([*half_done, "--share"]) == 2
        assert "another call of ctseg writes there" in error(capsys)
    assert not list(tmp_path.glob(".ctseg-lock-*"))


def test_what_cannot_be_put_together_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohorts.mr_scans(tmp_path / "scans", 2)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--set", "min_brain_mm2=1e9", "-o", "out"]
    assert main([*words, "--share", "--workers", "0"]) == 2
    assert "no slice is left" in error(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans"]


def test_failed_cases_are_rows_and_exit_code_1(tmp_path: Path) -> None:
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    (tmp_path / "scans" / "scan_001.nii.gz").write_bytes((tmp_path / "scans" / "scan_001.nii.gz").read_bytes()[:900])
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o", "out"]
    assert main([*words, "--share"]) == 1
    rows = table(tmp_path / "out")
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert main([*words, "--share"]) == 1  # all was done, and one scan had failed
    assert read_mark(tmp_path / "out") != Mark("segment")


def test_a_call_that_wakes_up_and_fails_removes_nothing_of_the_call_that_took_the_case_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    done, segment_one = share_folder(tmp_path / "out") / "done", finish._segment_one

    def late(case: Any, *arguments: Any) -> CaseResult:
        row = segment_one(case, *arguments)  # of the other call, which counts
        (done / case.case_id).write_text(json.dumps(row.row()))
        raise MemoryError

    monkeypatch.setattr(finish, "_segment_one", late)
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "--set", "preview=false"]
    assert main([*words, "-o", "out", "--share"]) == 0
    assert [row["status"] for row in table(tmp_path / "out")] == ["ok", "ok"]
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_a_failed_scan_leaves_no_mask_of_an_earlier_call(tmp_path: Path) -> None:
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "--set", "preview=false"]
    assert main([*words, "-o", "out", "--share"]) == 0
    scan = tmp_path / "scans" / "scan_001.nii.gz"
    scan.write_bytes(scan.read_bytes()[:900])
    assert main([*words, "-o", "out", "--share"]) == 1
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["scan_000.nii.gz"]


def test_what_another_call_does_meanwhile_refuses_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, scan = tmp_path / "out", tmp_path / "scan.nii.gz"
    out.mkdir()
    scan.touch()
    (out / ".partial-abcdefgh-.ctseg.json").touch()  # the call that came first is writing its mark
    guard_output(out, "segment", inputs=[scan], share=True)
    write_mark(out, Mark("segment", finished=False))
    (out / ".partial-abcdefgh-a.nii.gz").touch()
    status = Path.lstat

    def renamed(path: Path) -> os.stat_result:
        if path.name.startswith(".partial-"):
            raise FileNotFoundError(path)
        return status(path)

    monkeypatch.setattr(Path, "lstat", renamed)
    guard_output(out, "segment", inputs=[scan], share=True)
    (out / "notes.txt").touch()
    (out / ".ctseg.json").unlink()
    with pytest.raises(OutputExistsError, match="files that ctseg did not write"):
        guard_output(out, "segment", inputs=[scan], share=True)


def npz(**arrays: object) -> Callable[[Path], object]:
    """Something packed, which could swell."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    return write


def other_slices(path: Path) -> None:
    """What another case gave."""
    table = pd.DataFrame({"slice_id": ["a"]})
    outcome = CaseSlices("other", np.zeros((1, 4, 4), np.uint8), None, table, (), (), "")
    save_outcome(path, outcome)


RECORDS: dict[str, Callable[[Path], object]] = {
    "packed": npz(images=np.zeros((9, 9, 9), np.uint8)),
    "text": lambda path: path.write_text("mine"),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "other": other_slices,
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_no_call_left_costs_no_more_than_its_case(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohorts.mr_scans(tmp_path / "scans", 2)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    record = tmp_path / ".ctseg-share-out" / "done" / "case_000"
    (record.parent.parent / "claims").mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "note", "a.0x1", ".5", "b.99999999999"):
        (record.parent.parent / "claims" / name).write_text("mine")
    record.parent.mkdir()
    RECORDS[what](record)
    for _ in range(2):
        assert main(words) == 2
        assert error(capsys).endswith(f"{record.name}: {NOT_OURS}")
        assert (record.parent / "case_001").is_file()
    if record.is_dir():
        record.rmdir()
    else:
        record.unlink()
    assert main(words) == 0
    assert not record.parent.parent.exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"case": "a"}', '{"case": "scan_001", "status": "ok"}', '{"x": 1}'])
def test_a_row_that_no_call_left_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohorts.ct_scans(tmp_path / "scans", 1)
    cohorts.model(tmp_path / "run")
    record = tmp_path / ".ctseg-share-out" / "done" / "scan_000"
    record.parent.mkdir(parents=True)
    record.write_text(text)
    words = ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o", "out", "--share"]
    assert main(words) == 2
    assert error(capsys).endswith(f"{record.name}: {NOT_OURS}")
    record.unlink()
    assert main(words) == 0


def test_a_call_that_comes_late_removes_what_a_stopped_one_left(tmp_path: Path) -> None:
    cohorts.mr_scans(tmp_path / "scans", 1)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0", "-o", "out", "--share"]
    assert main(words) == 0
    mark = read_mark(tmp_path / "out")
    assert mark is not None
    left = tmp_path / ".ctseg-share-out"
    for key, stays in ((mark.inputs["share"], False), ("another", True)):
        left.mkdir()
        (left / "key").write_text(key)
        assert main(words) == 0
        assert left.exists() == stays


@pytest.mark.parametrize(("command", "at"), [("segment", "begin"), ("segment", "recover"), ("preprocess", "recover")])
def test_a_call_that_sleeps_in_a_step_while_another_does_all_ends_well(
    command: str, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had ended with 2: its folder was removed as a leftover, or it marked the finished output as unfinished."""
    module = {"segment": segment_shared, "preprocess": preprocess_shared}[command]
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    words = {
        "segment": ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0", "-o"],
        "preprocess": ["preprocess", "scans", "--size", "32", "--workers", "0", "-o"],
    }[command]
    assert main([*words, "alone"]) == 0
    monkeypatch.setattr(claims_module, "POLL_SECONDS", 0.02)
    monkeypatch.setitem(claims_module.Claims.__init__.__kwdefaults__, "lease", 0.2)
    real, slept = getattr(module, at), list[int]()

    def sleeping(*arguments: Any, **named: Any) -> Any:
        if not slept:
            slept.append(0)
            slept.append(main([*words, "out", "--share"]))  # its claim is not touched: TOUCH_SECONDS is longer
        return real(*arguments, **named)

    monkeypatch.setattr(module, at, sleeping)
    if command == "preprocess":
        whole = preprocess_shared.whole_folder

        @contextmanager
        def lost(*arguments: Any, **named: Any) -> Iterator[Path]:
            if slept[1:]:  # what it was making is gone, as one that was stopped right then finds
                raise Busy
            with whole(*arguments, **named) as folder:
                yield folder

        monkeypatch.setattr(preprocess_shared, "whole_folder", lost)
    assert main([*words, "out", "--share"]) == 0
    assert slept == [0, 0]
    mark = read_mark(tmp_path / "out")
    assert mark is not None
    assert mark.finished
    out, alone = (cohorts.contents(tmp_path / name) for name in ("out", "alone"))
    assert out.keys() == alone.keys()
    assert all(out[name] == alone[name] for name in out if not name.startswith("volumes."))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
