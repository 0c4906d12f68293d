"""The examples of docs/machines.md on a real Slurm of one machine; skipped where it is not installed."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cohorts
import pytest
import training_pair
from slurm_cluster import Cluster, missing

from ctseg.files import read_toml
from ctseg.runs import read_metrics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.end_to_end,
    pytest.mark.skipif(bool(missing()), reason=f"no Slurm: {', '.join(missing())} not installed"),
]
EXAMPLES = Path(__file__).parents[1] / "examples"
ONE_CORE = ["--cpus-per-task=1", "--mem=2G"]
SMALL = ["--preset", "smoke", "--device", "cpu", "--set", "matched=false"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ctseg-slurm-"))  # short, for munge's socket
    running = Cluster(folder)
    try:
        try:
            running.__enter__()
        except RuntimeError as error:
            pytest.skip(f"this machine lets no Slurm start: {error}")
        running.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), running.environment["PATH"]])
        running.environment["OMP_NUM_THREADS"] = "1"
        yield running
        running.__exit__()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toys")
    training_pair.toy(root / "mr", "mr", 0)
    training_pair.toy(root / "ct", "ct", 1)
    (root / "pairs.csv").touch()
    return root


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        time.sleep(0.05)


def task_at_work(share: Path, but: str = "") -> str:
    """The number of an array task that holds a scan which is not done; empty if none does."""
    done = {path.name for path in (share / "done").glob("*")}
    for claim in (share / "claims").glob("*"):
        if claim.stem in done:
            continue
        try:
            environ = Path(f"/proc/{json.loads(claim.read_text())['process']}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        task = next(
            (word.partition(b"=")[2].decode() for word in environ if word.startswith(b"SLURM_ARRAY_TASK_ID=")), ""
        )
        if task != but:
            return task
    return ""


def test_an_array_does_each_scan_once_with_one_task_requeued_and_one_killed(cluster: Cluster, tmp_path: Path) -> None:
    cohorts.ct_scans(tmp_path / "scans", 12)
    cohorts.model(tmp_path / "run")
    script = str(EXAMPLES / "slurm-array.sh")
    job = cluster.submit("--array=1-3", *ONE_CORE, script, "scans", "run", "masks", where=tmp_path)
    share = tmp_path / ".ctseg-share-masks"
    until(lambda: bool(task_at_work(share)))
    requeued = task_at_work(share)
    cluster.ask("scontrol", "requeue", f"{job}_{requeued}")
    until(lambda: bool(task_at_work(share, requeued)))
    killed = task_at_work(share, requeued)
    cluster.ask("scancel", "--signal=KILL", "--full", f"{job}_{killed}")
    cluster.wait_for(job)
    states = {task: cluster.state(f"{job}_{task}") for task in ("1", "2", "3")}
    texts = [path.read_text() for path in sorted(tmp_path.glob("slurm-*.out"))]
    assert len(texts) == 3
    left = ({"1", "2", "3"} - {requeued, killed}).pop()
    assert (states[requeued]["JobState"], states[requeued]["Restarts"]) == ("COMPLETED", "1"), texts
    assert (states[killed]["JobState"], states[killed]["Restarts"]) == ("CANCELLED", "0"), texts
    assert states[left]["JobState"] == "COMPLETED", texts
    names = [f"scan_{place:03d}" for place in range(12)]
    assert cohorts.done_cases(tmp_path / "masks") == names
    said = cohorts.said(texts)
    assert len(said) == len(set(said)), said
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz")) == [f"{name}.nii.gz" for name in names]
    assert not share.exists()


def test_srun_trains_two_processes_and_goes_on_after_a_requeue(cluster: Cluster, toys: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ["--nodes=1", "--ntasks-per-node=2", *ONE_CORE, "--gpus-per-node=0"]
    words = [str(toys / "mr"), str(toys / "ct"), str(toys / "pairs.csv"), str(out), *SMALL, "--set", "epochs=40"]
    job = cluster.submit(*small, str(EXAMPLES / "slurm-train.sh"), *words, where=tmp_path)
    until(lambda: len(read_metrics(out)) >= 3)
    cluster.ask("scontrol", "requeue", job)
    cluster.wait_for(job)
    text = next(tmp_path.glob("slurm-*.out")).read_text()
    assert cluster.state(job)["JobState"] == "COMPLETED", text
    assert cluster.state(job)["Restarts"] == "1"
    assert [row["epoch"] for row in read_metrics(out)] == list(range(40))
    assert text.count("report: ") == 1
    assert read_toml(out / "config.toml")["inputs"]["devices"] == 2


def test_torchrun_in_a_job(cluster: Cluster, toys: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    torchrun = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2 --standalone -m ctseg"
    line = f"srun {torchrun} das-train --src {toys / 'mr'} --tgt {toys / 'ct'} -o {out} {' '.join(SMALL)}"
    job = cluster.submit("--ntasks=1", *ONE_CORE, "--wrap", line, where=tmp_path)
    cluster.wait_for(job)
    text = next(tmp_path.glob("slurm-*.out")).read_text()
    assert cluster.state(job)["JobState"] == "COMPLETED", text
    assert text.count("report: ") == 1
    assert read_toml(out / "config.toml")["inputs"]["devices"] == 2


def test_dask_jobqueue_on_slurm(cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    cohorts.mr_scans(tmp_path / "scans", 6)
    words = ["preprocess", "scans", "--domain", "mr", "--size", "32"]
    example = [sys.executable, str(EXAMPLES / "dask_jobqueue_cohort.py"), "slurm", "2", "--", *words, "-o", "out"]
    text = cluster.ask(*example, where=tmp_path)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["cases"] == 6, text
    alone = cluster.ask(sys.executable, "-m", "ctseg", *words, "--workers", "0", "-o", "alone", where=tmp_path)
    assert cohorts.contents(tmp_path / "out") == cohorts.contents(tmp_path / "alone"), alone
