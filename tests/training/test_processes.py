"""Two gloo processes train as one process with the doubled batch does; a lost one ends all; one writes and speaks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_pair
from safetensors.torch import load_file

from ctseg.augment.parts import part_of
from ctseg.augment.pipeline import AugmentationRanges, SourceAugmentation, StudentView
from ctseg.cli import common, launchers, processes
from ctseg.cli.main import main
from ctseg.errors import SettingError
from ctseg.files import read_toml
from ctseg.runs import read_metrics
from ctseg.training.device import make_fabric

FULL: dict[str, Any] = {
    "flip_probability": 0.5, "brightness": 0.2, "brightness_shift": 0.1, "contrast": 0.2, "noise": 0.05,
    "bias_field": 0.1, "rotation_deg": 10.0, "zoom": 0.1, "distractors": 0.5,
}  # fmt: skip
"""Every augmentation of MR and CT."""
SHORT = {"epochs": 2, "steps_per_epoch": 3, "matched": False, "sample_every": 9}
STAGE_1 = {
    **SHORT, "discriminator_width": 4, "features_width": 4, "lesion_width": 4, "audit_slices": 4, "flip": True,
    "image_pool": 3, "discriminator_norm": "batch", "lesion_initialisation": "normal", "lr_lesion": 0.01,
}  # fmt: skip
STAGE_2 = {
    **SHORT, **FULL, "discriminator_width": 4, "loss": "bce+dice+slice-dice", "lambda_adv": 0.01,
    "lambda_adv_output": 0.01, "lambda_consistency": 0.5, "consistency_from": 1, "copy_paste": 0.5,
    "pseudo_label_confidence": 0.5, "recalibrate_batch_norm": 2, "clip_gradient": 1.0,
}  # fmt: skip
AVERAGED = {**SHORT, "discriminator_width": 4, "lambda_adv": 0.01, "weight_average": 0.5, "recalibrate_batch_norm": 2}


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toys")
    training_pair.toy(root / "mr", "mr", 0)
    training_pair.toy(root / "ct", "ct", 1)
    return root


@pytest.fixture(autouse=True)
def _own_state() -> Any:
    common.STATE = common.State(quiet=True)
    yield
    common.STATE = common.State(quiet=True)


def test_the_part_of_an_augmentation_does_what_the_whole_does_to_the_part() -> None:
    ranges = AugmentationRanges(**FULL, synthetic_haemorrhage=0.5)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(-0.9, 0.9, (6, 1, 32, 32))).float()
    masks = torch.zeros_like(images)
    masks[:, :, 8:16, 8:16] = 1
    whole = SourceAugmentation.draw(np.random.default_rng(1), 6, ranges)
    view = StudentView.draw(np.random.default_rng(2), 6, (32, 32), ranges, copy_paste=0.5, mask_ratio=0.5, mask_patch=8)
    expected, seen = whole.apply(images, masks), view.apply(images, masks, masks, masks)
    for rows in (slice(0, 2), slice(2, 6)):
        drawn, part = (item[rows] for item in (images, masks))
        for got, wanted in zip(part_of(whole, rows).apply(drawn, part), expected, strict=True):
            torch.testing.assert_close(got, wanted[rows], rtol=0, atol=1e-6)
        for got, wanted in zip(part_of(view, rows).apply(drawn, part, part, part), seen, strict=True):
            torch.testing.assert_close(got, wanted[rows], rtol=0, atol=1e-6)
    twice = part_of(part_of(whole, slice(2, 6)), slice(1, 3)).apply(images[3:5], masks[3:5])
    torch.testing.assert_close(twice[0], expected[0][3:5], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_batch_norm_sees_the_batches_of_all_processes(tmp_path: Path) -> None:
    training_pair.in_processes(2, training_pair.batch_norms, tmp_path)


def states(run: Path) -> dict[str, torch.Tensor]:
    """The networks' tensors of a checkpoint by their path, without biases."""
    found: dict[str, torch.Tensor] = {}

    def look(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                look(item, f"{name}/{key}")
        elif isinstance(value, list | tuple):
            for place, item in enumerate(value):
                look(item, f"{name}/{place}")
        elif isinstance(value, torch.Tensor) and name.startswith(NETWORKS) and not name.endswith("bias"):
            found[name] = value.double()

    look(torch.load(run / "checkpoint.pt", weights_only=True), "")
    return found


LOSSES, WEIGHTS = 1e-4, 1e-2
"""Tolerances: of each loss, relative; of each network's weights, as the norm of the difference over the norm.

A bias in front of a normalisation has no gradient but rounding and no effect on what follows, so biases do not count.
"""
NETWORKS = ("/training/modules", "/generator", "/objective/helpers")


@pytest.mark.slow
@pytest.mark.parametrize(("work", "settings"), [("stage_1", STAGE_1), ("stage_2", STAGE_2), ("stage_2", AVERAGED)])
def test_two_processes_train_as_one_with_the_doubled_batch(
    toys: Path, tmp_path: Path, work: str, settings: dict[str, Any]
) -> None:
    train = getattr(training_pair, work)
    train(make_fabric("cpu", "32"), toys, tmp_path / "one", {**settings, "batch_size": 4})
    training_pair.in_processes(2, train, toys, tmp_path / "two", {**settings, "batch_size": 2})
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for before, after in zip(one, two, strict=True):
        losses = {key for key, value in before.items() if isinstance(value, float) and not key.startswith("audit")}
        losses -= {"seconds"}
        assert len(losses) >= 6
        for name in losses - {key for key in losses if key.startswith("val_")}:
            assert after[name] == pytest.approx(before[name], rel=LOSSES, abs=1e-5), name
    whole, shared = states(tmp_path / "one"), states(tmp_path / "two")
    assert whole.keys() == shared.keys()
    far = {
        name: float((tensor - shared[name]).norm() / tensor.norm().clamp(min=1e-3)) for name, tensor in whole.items()
    }
    assert {name: value for name, value in far.items() if value > WEIGHTS} == {}
    name = "generator" if work == "stage_1" else "segmentation"
    assert abs(one[1][name] / one[0][name] - 1) > 100 * LOSSES  # it has trained, so equal losses mean something


SMALL = ["--preset", "smoke", "--device", "cpu", "--set", "matched=false", "--set", "steps_per_epoch=2"]


def call(toys: Path, *words: str) -> list[str]:
    command, *rest = words
    return [command, "--src", str(toys / "mr"), "--tgt", str(toys / "ct"), *SMALL, *rest]


def run(words: list[str], *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = list(before) or [sys.executable]
    return subprocess.run(
        [*program, "-m", "ctseg", *words], capture_output=True, text=True, timeout=900, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


@pytest.mark.slow
def test_devices_starts_processes_of_which_one_writes_and_speaks(toys: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run(call(toys, "das-train", "-o", str(out), "--devices", "2", "--json"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == str(out)
    lines = done.stderr.splitlines()
    assert sum(line.startswith("report: ") for line in lines) == 1
    assert sum("done in" in line for line in lines) == 1
    assert "Traceback" not in done.stderr
    assert read_toml(out / "config.toml")["inputs"]["devices"] == 2
    assert [row["epoch"] for row in read_metrics(out)] == list(range(len(read_metrics(out))))
    # Another number of processes: refused with what differs, or resumed where the batches are the same.
    common.STATE.quiet = False
    refused = run(call(toys, "das-train", "-o", str(out), "--resume"))
    assert refused.returncode == 2
    assert refused.stderr.strip().endswith("(--devices 2, now 1, differs); resume as started or use --overwrite")
    batch = read_toml(out / "config.toml")["settings"]["batch_size"]
    more = ["--set", f"batch_size={2 * batch}", "--resume"]
    (out / "model.safetensors").unlink()
    resumed = run(call(toys, "das-train", "-o", str(out), *more))
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed with 1 processes and batches of {2 * batch}, before with 2 and {batch}" in resumed.stderr
    assert (out / "model.safetensors").exists()


@pytest.mark.slow
def test_torchrun_starts_them_too_and_all_refusals_are_one_line(toys: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    out = tmp_path / "run"
    done = run(call(toys, "synth-train", "-o", str(out), "--devices", "2"), *torchrun)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("report: ") for line in done.stderr.splitlines()) == 1
    assert len(load_file(out / "model.safetensors")) > 3
    refused = run(call(toys, "synth-train", "-o", str(out)), *torchrun)
    assert refused.returncode != 0
    errors = [line for line in refused.stderr.splitlines() if line.startswith("ctseg: ")]
    assert errors == [f"ctseg: error: {out}: exists already; add --resume to go on or --overwrite to start again"], (
        refused.stderr
    )


def beside(words: list[str], environments: list[dict[str, str]]) -> list[tuple[int, str]]:
    """Run the same command at once in several environments, as several machines would; exit codes and stderr."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "ctseg", *words], stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        for environment in environments
    ]  # fmt: skip
    texts = [process.communicate(timeout=900)[1] for process in running]
    return [(process.returncode, text) for process, text in zip(running, texts, strict=True)]


@pytest.mark.slow
def test_srun_and_two_machines(toys: Path, tmp_path: Path) -> None:
    port = str(processes._free_port())
    tasks = [
        {
            "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(rank), "SLURM_LOCALID": "0", "SLURM_NODEID": str(rank),
            "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_STEP_NODELIST": "localhost", "MASTER_PORT": port,
        }
        for rank in range(2)
    ]  # fmt: skip
    ended = beside(call(toys, "das-train", "-o", str(tmp_path / "slurm")), tasks)
    assert [code for code, _ in ended] == [0, 0], ended
    assert "report: " in ended[0][1]
    assert ended[1][1] == ""
    port = str(processes._free_port())
    nodes = [{"NODE_RANK": str(node), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} for node in range(2)]
    ended = beside(call(toys, "das-train", "-o", str(tmp_path / "nodes"), "--num-nodes", "2"), nodes)
    assert [code for code, _ in ended] == [0, 0], ended
    assert (ended[0][1].count("report: "), ended[1][1].count("report: ")) == (1, 0)
    assert read_toml(tmp_path / "nodes" / "config.toml")["inputs"]["devices"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_all_with_one_line_and_a_checkpoint(toys: Path, tmp_path: Path, victim: int) -> None:
    out = tmp_path / "run"
    words = call(toys, "das-train", "-o", str(out), "--devices", "2", "--set", "epochs=2000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "ctseg", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as parent:
        deadline = time.monotonic() + 600
        while len(read_metrics(out)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        ranks = members(parent.pid)
        assert sorted(ranks) == [0, 1]
        os.kill(ranks[victim], signal.SIGKILL)
        text = parent.communicate(timeout=600)[1]
    lines = [line for line in text.splitlines() if not line.startswith("das-train: ")]
    assert lines == [
        f"ctseg: error: process {victim + 1} of 2 was killed (SIGKILL), often for lack of memory; "
        f"{out / 'checkpoint.pt'} is the last checkpoint, --resume goes on from it"
    ]
    assert parent.returncode == 2
    assert torch.load(out / "checkpoint.pt", weights_only=True)["epoch"] >= 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())


def members(parent: int) -> dict[int, int]:
    """Rank -> process number of the processes that a training has started."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            started = f"PPid:\t{parent}\n" in status
            maps = (folder / "maps").read_text() if started else ""
        except OSError:
            continue
        if started and "libtorch" in maps:
            found[int(folder.name)] = int(folder.name)
    return dict(enumerate(sorted(found.values())))


def test_places_are_found_in_what_launchers_set() -> None:
    assert launchers.found_place({}) is None
    assert launchers.found_place({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None  # a batch script, no srun
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    assert launchers.found_place({**torchrun, "HOME": "/"}) == torchrun
    srun = {
        "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "6", "SLURM_PROCID": "4",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "2", "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
        "SLURM_STEP_NODELIST": "gpu[04-06]",
    }  # fmt: skip
    assert launchers.found_place(srun) == {
        "RANK": "4", "WORLD_SIZE": "6", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "2",
        "MASTER_ADDR": "gpu04", "MASTER_PORT": "15013",
    }  # fmt: skip
    with pytest.raises(SettingError, match="different numbers of tasks"):
        launchers.found_place({**srun, "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"})


def test_several_machines_need_to_know_where_they_meet(toys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(call(toys, "das-train", "-o", str(toys / "run"), "--num-nodes", "2")) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"ctseg: error: --num-nodes 2: .*NODE_RANK \(0 to 1\) and MASTER_ADDR.*\n", error)
    assert not (toys / "run").exists()


def test_devices_other_than_the_launcher_started_are_refused(
    toys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(call(toys, "synth-train", "-o", str(toys / "run"), "--devices", "3")) == 2
    assert "--devices 3: the launcher started 2 processes on each machine" in capsys.readouterr().err
    assert main(call(toys, "synth-train", "-o", str(toys / "run"), "--num-nodes", "3")) == 2
    assert "--num-nodes 3: the launcher started 2 machines" in capsys.readouterr().err
