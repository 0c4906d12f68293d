"""A resume compares what a run was made from; a study never takes a stale output for a new one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from children import in_child
from safetensors.torch import load_file
from toy_sets import toy, write_pairs

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.files import read_toml
from ctseg.locks import Busy, held
from ctseg.outputs import read_file_mark, read_mark

pytestmark = pytest.mark.slow

PAIRS = Path("pairs.csv")
TRAINED = ["--src", "mr", "--tgt", "ct", "--preset", "smoke", "--device", "cpu", "-o", "run"]
COMMANDS = {
    "das-train": ["das-train", *TRAINED, "--pairs", "pairs.csv"],
    "synth-train": ["synth-train", *TRAINED, "--pairs", "pairs.csv"],
    "finetune": ["finetune", "--data", "ct", "--folds", "2", "--preset", "smoke", "--device", "cpu", "-o", "run"],
}


@pytest.fixture(scope="module", autouse=True)
def _state_of_others() -> Iterator[None]:
    outer = common.STATE
    yield
    common.STATE = outer


@pytest.fixture
def sets(sets: Path) -> Path:
    """The slice sets with pairs."""
    common.STATE = common.State(quiet=True)
    write_pairs(PAIRS, range(8))
    return sets


def change_pixel(path: str, row: int = 0) -> None:
    array = np.load(path)
    array[row, 5, 5] = 1 - array[row, 5, 5] if path.endswith("masks.npy") else array[row, 5, 5] + 1
    np.save(path, array)


def change_position() -> None:
    table = pd.read_csv("mr/slices.csv")
    table["z_mm"] *= 1.1
    table.to_csv("mr/slices.csv", index=False)


def change_intensity() -> None:
    info = json.loads(Path("ct/dataset.json").read_text())
    info["intensity"]["a"] = 3.0
    Path("ct/dataset.json").write_text(json.dumps(info))


CHANGES: dict[str, tuple[Callable[[], None], list[str], str]] = {
    "source images": (lambda: change_pixel("mr/images.npy"), [], "source images.npy differs"),
    "source masks": (lambda: change_pixel("mr/masks.npy"), [], "source masks.npy differs"),
    "target images": (lambda: change_pixel("ct/images.npy"), [], "target images.npy differs"),
    "source table": (change_position, [], "source slices.csv differs"),
    "target intensity": (change_intensity, [], "target dataset.json differs"),
    "pairs": (lambda: write_pairs(PAIRS, [1, 0, 3, 2, 5, 4, 7, 6]), [], "--pairs differs"),
    "precision": (lambda: None, ["--precision", "bf16"], "--precision 32-true, now bf16-mixed, differs"),
}


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each training, with its inputs."""
    made = {}
    here = Path.cwd()
    for command, argv in COMMANDS.items():
        folder = tmp_path_factory.mktemp(command)
        os.chdir(folder)
        common.STATE = common.State(quiet=True)
        toy(folder / "mr", "mr", 0)
        toy(folder / "ct", "ct", 1)
        write_pairs(PAIRS, range(8))
        assert main(argv) == 0
        made[command] = folder
    os.chdir(here)
    return made


def error_of(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", ["das-train", "synth-train"])
def test_a_resume_with_other_inputs_is_refused(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, command: str,
    change: str,
) -> None:  # fmt: skip
    shutil.copytree(finished_runs[command], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    common.STATE = common.State(quiet=True)
    before = Path("run/.ctseg.json").read_text(), Path("run/model.safetensors").read_bytes()
    act, flags, words = CHANGES[change]
    act()
    message = error_of(capsys, [*COMMANDS[command], "--resume", *flags])
    assert "--resume with other inputs" in message
    assert words in message
    assert (Path("run/.ctseg.json").read_text(), Path("run/model.safetensors").read_bytes()) == before


def test_finetune_compares_its_data(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    shutil.copytree(finished_runs["finetune"], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    common.STATE = common.State(quiet=True)
    assert main([*COMMANDS["finetune"], "--resume"]) == 0
    change_pixel("ct/masks.npy", 3)
    assert "data masks.npy differs" in error_of(capsys, [*COMMANDS["finetune"], "--resume"])


def test_the_same_inputs_by_other_paths_are_resumed(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_runs["das-train"], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    common.STATE = common.State(quiet=True)
    before = Path("run/model.safetensors").read_bytes()
    assert main([*COMMANDS["das-train"], "--resume"]) == 0
    assert Path("run/model.safetensors").read_bytes() == before
    inputs = read_toml(Path("run/config.toml"))["inputs"]
    assert set(inputs) == {"source", "target", "pairs", "precision", "devices"}
    assert read_mark(Path("run")).inputs == inputs


def test_every_artefact_says_what_it_was_made_from(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_runs["synth-train"], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    common.STATE = common.State(quiet=True)
    source = read_toml(Path("run/config.toml"))["inputs"]["source"]
    assert main(["synthesize", "--model", "run", "--src", "mr", "-o", "pseudo", "--device", "cpu"]) == 0
    recorded = json.loads(Path("pseudo/dataset.json").read_text())["inputs"]
    assert recorded["source"] == source
    assert recorded == read_mark(Path("pseudo")).inputs
    assert main(["match", "--src", "mr", "--tgt", "ct", "-o", "new.csv"]) == 0
    assert read_file_mark(Path("new.csv")).inputs["source"] == source


# Studies

STUDY = """
[[step]]
command = "das-train"
src = "mr"
tgt = "ct"
pairs = "pairs.csv"
preset = "smoke"
device = "cpu"
seed = SEED
output = "run"
"""
POINTS = ["begin", "ready", "aside", "placed", "config", "epoch", "checkpoint", "model", "end"]


def run_in_child(point: str = "") -> int:
    """Run the study in a process of its own, killed at a point; gives its exit code, minus the signal's number."""

    def work() -> int:
        if point:
            _kill_at(point)
        return main(["-q", "run", "study.toml"])

    return in_child(work)[0]


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(point: str) -> None:
    import ctseg.outputs
    import ctseg.outputs.folders
    import ctseg.runs
    import ctseg.study
    import ctseg.training.loop

    if point in ("ready", "aside", "placed"):
        ctseg.outputs.folders.step = lambda name: _die() if name == point else None
    elif point == "begin":
        ctseg.outputs.growing_folder = _die
    elif point == "config":
        ctseg.runs.write_toml = _die
    elif point == "epoch":
        ctseg.training.loop.append_metrics = _die
    elif point == "checkpoint":
        real = ctseg.training.loop.save_checkpoint
        ctseg.training.loop.save_checkpoint = lambda *args: (real(*args), _die())
    elif point == "model":
        ctseg.runs.save_model = _die
        ctseg.segmentation.train.save_model = _die
    elif point == "end":
        real_remember = ctseg.study._remember

        def remember(study: Any, state: Any, name: str, record: Any) -> None:
            _die() if record.get("done") else real_remember(study, state, name, record)

        ctseg.study._remember = remember


def weights() -> dict[str, torch.Tensor]:
    return load_file("run/model.safetensors")


def write_study(seed: int) -> None:
    Path("study.toml").write_text(STUDY.replace("SEED", str(seed)))


@pytest.fixture(scope="module")
def fresh(finished_runs: dict[str, Path]) -> dict[str, torch.Tensor]:
    """The weights of a fresh run with the new seed."""
    here = Path.cwd()
    os.chdir(finished_runs["das-train"])
    assert main(["-q", *COMMANDS["das-train"][:-4], "-o", "fresh", "--pairs", "pairs.csv", "--seed", "5"]) == 0
    found = load_file("fresh/model.safetensors")
    shutil.rmtree("fresh")
    os.chdir(here)
    return found


@pytest.mark.parametrize("point", POINTS)
def test_a_changed_step_that_is_killed_ends_as_a_fresh_run(
    sets: Path, fresh: dict[str, torch.Tensor], point: str
) -> None:
    write_study(3)
    assert run_in_child() == 0
    old = weights()
    write_study(5)
    assert run_in_child(point) == -signal.SIGKILL
    assert run_in_child() == 0
    new = weights()
    assert any(not torch.equal(old[name], new[name]) for name in new)
    assert all(torch.equal(fresh[name], new[name]) for name in new)
    assert not [path.name for path in sets.iterdir() if path.name.startswith((".partial", ".replaced", ".ctseg-lock"))]
    before = Path("run/model.safetensors").stat().st_mtime_ns
    assert run_in_child() == 0
    assert Path("run/model.safetensors").stat().st_mtime_ns == before


def test_an_output_that_a_call_by_hand_replaced_is_not_taken_for_the_step_s(sets: Path, capsys: Any) -> None:
    write_study(3)
    assert main(["-q", "run", "study.toml"]) == 0
    assert main(["-q", *COMMANDS["das-train"], "--seed", "8", "--overwrite"]) == 0
    by_hand = Path("run/model.safetensors").read_bytes()
    assert "run exists and this study did not write it" in error_of(capsys, ["-q", "run", "study.toml"])
    assert Path("run/model.safetensors").read_bytes() == by_hand


def test_a_study_that_runs_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    common.STATE = common.State(quiet=True)
    Path("a.toml").write_text('[[step]]\ncommand = "run"\ninput = "./a.toml"\n')
    assert "runs the study that it is part of" in error_of(capsys, ["run", "a.toml"])
    Path("b.toml").write_text('[[step]]\ncommand = "run"\ninput = "c.toml"\n')
    Path("c.toml").write_text('[[step]]\ncommand = "run b.toml"\n')
    assert "runs the study that it is part of" in error_of(capsys, ["run", "b.toml"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.toml", "b.toml", "c.toml"]


# Two processes

SEGMENT = ["segment", "ct", "--model", "trained", "--device", "cpu", "-o", "run"]
BUSY = {
    "das-train": (COMMANDS["das-train"], "ctseg.training.loop.append_metrics"),
    "das-train resumed": ([*COMMANDS["das-train"], "--resume"], "ctseg.training.loop.append_metrics"),
    "das-train replaced": ([*COMMANDS["das-train"], "--overwrite"], "ctseg.training.loop.append_metrics"),
    "synth-train": (COMMANDS["synth-train"], "ctseg.training.loop.append_metrics"),
    "finetune": (COMMANDS["finetune"], "ctseg.training.loop.append_metrics"),
    "segment": (SEGMENT, "ctseg.inference.segment._segment_all"),
    "segment resumed": ([*SEGMENT, "--resume"], "ctseg.inference.segment._segment_all"),
    "preprocess": (["preprocess", "scans", "-o", "run", "--workers", "0"], "ctseg.preprocess.pipeline.preprocess"),
    "match": (["match", "--src", "mr", "--tgt", "ct", "-o", "run"], "ctseg.matching.pairs.pair_up"),
    "evaluate": (["evaluate", "--pred", "scans", "--ref", "scans", "-o", "run"], "ctseg.evaluation.evaluate.evaluate"),
    "phantom": (["phantom", "-o", "run"], "ctseg.phantom.cohort.make_cohort"),
    "synthesize": (
        ["synthesize", "--model", "gen", "--src", "mr", "--device", "cpu", "-o", "run"],
        "ctseg.synthesis.translate.translate",
    ),
    "export": (["export", "trained", "-o", "run"], "ctseg.export.export.export_model"),
    "bids": (
        ["bids", "data", "run", "participant", "--model", "trained", "--device", "cpu"],
        "ctseg.inference.segment.segment_cases",
    ),
    "run": (["run", "study.toml"], "ctseg.training.loop.append_metrics"),
}


def start_and_wait(argv: list[str], place: str) -> int:
    """Start a command in a process of its own that stops where it calls a function; gives its number."""
    from importlib import import_module

    def wait(*_: Any, **__: Any) -> None:
        Path("ready").touch()
        signal.pause()

    child = os.fork()
    if child == 0:
        try:
            module, _, name = place.rpartition(".")
            setattr(import_module(module), name, wait)
            main(["-q", *argv])
        finally:
            os._exit(99)
    for _ in range(600):
        if Path("ready").exists():
            return child
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the first process ended"
        time.sleep(0.02)
    raise AssertionError("the first process never came to its place")


@pytest.mark.parametrize("command", BUSY)
def test_a_second_process_on_an_output_is_refused(
    sets: Path, finished_runs: dict[str, Path], capsys: Any, command: str
) -> None:
    write_study(3)
    shutil.copytree(finished_runs["das-train"] / "run", "trained")
    shutil.copytree(finished_runs["synth-train"] / "run", "gen")
    Path("scans").mkdir()
    for name in ("a", "b"):
        values = np.random.default_rng(0).normal(500, 9, (20, 20, 8)) * (np.indices((20, 20, 8))[0] > 9)
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), f"scans/{name}.nii.gz")
    Path("data/sub-01/ct").mkdir(parents=True)
    shutil.copy("scans/a.nii.gz", "data/sub-01/ct/sub-01_ct.nii.gz")
    Path("data/dataset_description.json").write_text('{"Name": "Heads"}')
    argv, place = BUSY[command]
    child = start_and_wait(argv, place)
    try:
        assert "another call of ctseg" in error_of(capsys, argv)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with held(tmp_path / "set"):
            _die()
    os.waitpid(child, 0)
    assert (tmp_path / ".ctseg-lock-set").exists()
    with held(tmp_path / "set"), pytest.raises(Busy), held(tmp_path / "set"):
        pass
    assert not list(tmp_path.iterdir())
