"""Messages: each advises only what its command has, and raw scans where a slice set is expected are made into one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctseg.cli import common
from ctseg.cli.ending import out_of_memory, stopped_by_signal
from ctseg.cli.main import build_app, flags_of, main
from ctseg.cli.raw_sets import as_slice_set, cache_of
from ctseg.errors import CaseError, InputError
from ctseg.inference.results import _what_differs
from ctseg.io.hu_check import check_hu
from ctseg.io.slices import open_slices
from ctseg.io.volume import Volume


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(outside_plugins=False))
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 2
    _out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1, err
    return err


def test_bare_ctseg_shows_its_help_and_no_empty_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert "Usage: ctseg" in out + err
    assert "error" not in err


def test_a_split_that_sums_to_less_prints_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    Path("raw").mkdir()
    err = refused(capsys, "preprocess", "raw", "-o", "set", "--split", "0.5")
    assert err == (
        "ctseg: error: preprocess: split: one to three shares (train:val:test) that sum to 1, e.g. 0.8:0.2\n"
    )
    err = refused(capsys, "preprocess", "raw", "-o", "set", "--set", "window=[100, 0]")
    assert "the first value must be below the second" in err
    assert "{" not in err


def test_pairs_and_json_do_not_share_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--json and -o - both write to stdout" in refused(
        capsys, "match", "--src", "a", "--tgt", "b", "-o", "-", "--json"
    )


def test_a_flag_without_its_value_names_the_commands_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "segment", "scans", "-o")
    assert err == "ctseg: error: Option '-o' requires an argument; see `ctseg segment --help`\n"
    assert "see `ctseg models card --help`" in refused(capsys, "models", "card", "run", "-o")


def test_a_wrong_number_is_said_without_the_librarys_words(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "preprocess", "scans", "-o", "set", "--workers", "many")
    assert "unable to parse" not in err
    assert "'--workers'" in err
    assert "integer" in err


@pytest.mark.parametrize(
    ("command", "has", "lacks"),
    [
        ("segment", ("--workers", "--set batch_size", "--resume"), ("--batch-size",)),
        ("match", (), ("--workers", "batch_size", "--resume", "--batch-size")),
        ("synthesize", ("--batch-size",), ("--set", "--resume", "--workers")),
        ("evaluate", ("--workers",), ("batch_size", "--resume")),
    ],
)
def test_memory_at_its_end_advises_only_flags_that_the_command_has(
    command: str, has: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    import typer

    text = out_of_memory(flags_of(typer.main.get_command(build_app([command])), [command, "x"]))
    assert all(word in text for word in has), text
    assert not any(word in text for word in lacks), text


def test_an_interrupt_offers_resume_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped_by_signal(KeyboardInterrupt(), {"--resume"}) == 130
    assert "--resume continues it" in capsys.readouterr().err
    common.STATE.error = ""  # as at the beginning of a call
    stopped_by_signal(KeyboardInterrupt())
    err = capsys.readouterr().err
    assert "start it again" in err
    assert "--resume" not in err


def test_resume_names_the_settings_and_models_that_differ() -> None:
    assert _what_differs("settings", {"threshold": 0.5, "tta": False}, {"threshold": 0.3, "tta": False}) == (
        "threshold 0.5, now 0.3"
    )
    old, new = ({"segmenter": "fcn", "weights": digest} for digest in ("aaa", "bbb"))
    assert _what_differs("models", [old, old], [old, new]) == "fcn aaa, now fcn bbb"


def scan(voxels: Any) -> Volume:
    return Volume(
        np.asarray(voxels, np.float32), np.arange(len(voxels))[:, None] * [0.0, 0.0, 5.0], np.array([0, 0.5, 0]),
        np.array([0.5, 0, 0]), "ct", "case", "case",
    )  # fmt: skip


def fat_slice(rng: np.random.Generator, offset: float = 0.0) -> Any:
    """A slice through the scalp: a disc of fat with a little skin in air."""
    rows, columns = np.indices((1, 60, 60))[1:] - 29.5
    radius = np.hypot(rows, columns)
    hu = np.where(radius < 24, -95.0, -1000.0) + np.where((radius > 22) & (radius < 24), 120.0, 0.0)
    return np.maximum(hu + rng.normal(0, 8, hu.shape), -1024) + offset


def test_a_slice_of_fat_is_hu_and_is_said(rng: np.random.Generator) -> None:
    notes = check_hu(scan(fat_slice(rng))).notes
    assert any("mostly fat: soft tissue peaks at -9" in note for note in notes)


def test_a_scale_that_is_off_is_still_refused(rng: np.random.Generator) -> None:
    rows, columns = np.indices((3, 60, 60))[1:] - 29.5
    brain = np.where(np.hypot(rows, columns) < 24, -65.0, -1100.0) + rng.normal(0, 8, (3, 60, 60))
    with pytest.raises(CaseError, match="not HU"):
        check_hu(scan(brain))


def save(path: Path, voxels: Any) -> None:
    import nibabel as nib

    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(voxels, np.float32), np.eye(4)), path)


def test_scans_that_may_be_ct_are_not_taken_for_unlabelled_mr(
    rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        save(Path(f"raw/{name}.nii.gz"), rng.uniform(0, 90, (32, 32, 6)))
    err = refused(capsys, "-q", "preprocess", "raw", "-o", "set")
    assert "one.nii.gz and 1 more: MR or CT? neither name nor voxels tell; add --domain ct or --domain mr" in err
    assert not Path("set").exists()


def test_raw_folders_are_named_with_the_command_that_makes_a_set(capsys: pytest.CaptureFixture[str]) -> None:
    task = Path("Task01")
    task.mkdir()
    (task / "dataset.json").write_text(json.dumps({"modality": {"0": "FLAIR"}}))
    with pytest.raises(InputError, match="another program's.*ctseg preprocess Task01 -o Task01-slices"):
        open_slices(task)
    with pytest.raises(
        InputError, match="--src Task01: holds scans.*ctseg preprocess Task01 -o Task01-slices --domain"
    ):
        as_slice_set(task, "--src", None)
    assert cache_of(Path("a/pairs.csv")) == Path("a/pairs.sets")


def test_a_set_of_raw_scans_is_made_once_and_again_when_they_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    def preprocess(argv: list[str], *, raises: bool) -> int:
        assert raises
        calls.append(argv)
        made = Path(argv[argv.index("-o") + 1])
        made.mkdir(parents=True, exist_ok=True)
        (made / "slices.csv").touch()
        return 0

    monkeypatch.setattr("ctseg.cli.main.main", preprocess)
    save(Path("brats/a.nii.gz"), np.ones((4, 4, 4)))
    made = as_slice_set(Path("brats"), "--src", Path("pairs.csv"))
    assert made == Path("pairs.sets/src")
    assert "`ctseg preprocess brats -o pairs.sets/src --domain mr` and kept" in capsys.readouterr().err
    assert as_slice_set(Path("brats"), "--src", Path("pairs.csv")) == made
    assert "is used again" in capsys.readouterr().err
    assert len(calls) == 1
    os.utime("brats/a.nii.gz", ns=(1, 1))
    as_slice_set(Path("brats"), "--src", Path("pairs.csv"))
    assert calls[1][-1] == "--overwrite"
    assert as_slice_set(made, "--tgt", Path("pairs.csv")) == made  # a slice set is taken as it is
    assert len(calls) == 2


@pytest.mark.slow
def test_match_takes_raw_folders(rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "phantom", "-o", "raw", "--mr", "2", "--ct", "2", "--ct-test", "0", "--workers", "0",
                 "--set", "mr_matrix=48", "--set", "mr_slices=24", "--set", "ct_matrix=64",
                 "--set", "ct_slice_step_mm=15"]) == 0  # fmt: skip
    argv = ["match", "--src", "raw/Task01_BrainTumour", "--tgt", "raw/rsna/stage_2_train", "-o", "pairs.csv"]
    assert main([*argv, "--split", "all"]) == 0
    assert "for the next commands: --src pairs.sets/src --tgt pairs.sets/tgt" in capsys.readouterr().err
    assert open_slices("pairs.sets/src").masks is not None
    first = Path("pairs.csv").read_bytes()
    assert main([*argv, "--split", "all", "--overwrite"]) == 0
    assert capsys.readouterr().err.count("is used again") == 2
    assert Path("pairs.csv").read_bytes() == first


@pytest.mark.slow
def test_find_print0_gives_segment_its_paths(tmp_path: Path) -> None:
    import subprocess
    import sys

    save(tmp_path / "scans" / "a b\nc.nii.gz", np.zeros((4, 4, 4)))
    command = f"find scans -type f -print0 | {sys.executable} -m ctseg segment -0 - --model nowhere -o out"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("ctseg: error: unknown model 'nowhere'")  # the paths were read before


@pytest.mark.parametrize("value", ["nan", "0.5:nan", "inf:0.2", "-inf"])
def test_a_share_that_is_no_finite_number_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("raw").mkdir()
    err = refused(capsys, "preprocess", "raw", "-o", "set", "--split", value)
    assert f"--split {value}: expected numbers joined by colons" in err
    assert "--window nan:80: expected LOW:HIGH" in refused(
        capsys, "preprocess", "raw", "-o", "set", "--window", "nan:80"
    )


def test_a_wrong_setting_of_finetune_is_refused_before_the_data_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "finetune", "--data", "not-there", "-o", "run", "--set", "epoch=3")
    assert "unknown setting 'epoch' (did you mean 'epochs'?)" in err


@pytest.mark.parametrize("flag", ["--src", "--tgt"])
def test_a_broken_scan_for_match_is_one_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        Path(f"{name}.dcm").write_bytes(b"junk")
    assert main(["-q", "match", "--src", "one.dcm", "--tgt", "two.dcm", "-o", "pairs.csv"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert "--src one.dcm: holds no MR scan that can be read; not a readable DICOM file" in err
    assert "--src takes scans of MR or a slice set (are --src and --tgt swapped?)" in err
    with pytest.raises(InputError, match=f"{flag} one.dcm: holds no"):
        as_slice_set(Path("one.dcm"), flag, Path("pairs.csv"))


def test_ctrl_c_while_a_set_is_made_for_match_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    save(Path("raw/one.nii.gz"), np.zeros((8, 8, 4)))
    monkeypatch.setattr("ctseg.io.discover.discover", interrupted)
    assert main(["-q", "match", "--src", "raw", "--tgt", "raw", "-o", "pairs.csv"]) == 130
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert "interrupted" in err
    assert not Path("pairs.sets").exists()


def test_an_interrupted_step_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ctseg.phantom.cohort.make_cohort", interrupted)
    Path("study.toml").write_text('[[step]]\ncommand = "phantom"\noutput = "phantom"\n')
    for _ in range(2):  # a later call says it again
        assert main(["run", "study.toml"]) == 130
        err = capsys.readouterr().err
        assert err.count("interrupted;") == 1, err


def test_a_line_is_never_longer_than_anybody_reads(capsys: pytest.CaptureFixture[str]) -> None:
    Path("raw").mkdir()
    Path("labels.csv").write_text("slice_id,any\n" + "x" * 5_000_000 + ",1\n", encoding="utf-8")
    Path("scan.toml").write_text(f"[[step]]\ncommand = {'y' * 5_000_000!r}\n", encoding="utf-8")
    assert len(refused(capsys, "preprocess", "raw", "-o", "set", "--labels", "labels.csv")) < 5000
    assert len(refused(capsys, "run", "scan.toml")) < 5000
