"""`--scheduler`: a real Dask scheduler with two workers, one of which is killed, gives the bytes of a local call."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cohorts
import numpy as np
import pytest

from ctseg.cli import common
from ctseg.cli.main import main
from ctseg.parallel import Failure, ordered_map
from ctseg.progress import Progress
from ctseg.remote import Origin, attempt_in
from ctseg.scheduler import width

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


class Cluster:
    """A scheduler and workers as processes of their own, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        folder.mkdir()
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler", "--scheduler-file", str(self.file), "--port", "0", "--no-dashboard",
            "--host", "127.0.0.1",
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while not (said := _written(self.file)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.address = said["address"]
        self.workers = [self.add_worker(), self.add_worker()]

    def add_worker(self) -> subprocess.Popen[bytes]:
        return self._start(
            "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--local-directory", str(self.folder),
        )  # fmt: skip

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        return subprocess.Popen(
            [sys.executable, "-m", module, *words], cwd=self.folder, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        )  # fmt: skip

    def wait_for(self, count: int) -> None:
        with distributed.Client(self.address, timeout=300) as client:
            client.wait_for_workers(count, timeout=600)

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def _written(file: Path) -> dict[str, str]:
    """What a scheduler's file says; nothing while it is being written."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask") / "cluster")
    made.wait_for(2)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "STATE", common.State(quiet=True))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def killing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """When the first case is done, one of the two workers is killed; another one comes for the next test."""
    killed: list[int] = []
    update = Progress.update

    def kill_one(bar: Progress, done: int, total: int | None = None, note: str = "") -> None:
        if not killed and bar.title != "Looking":
            victim = cluster.workers.pop(0)
            victim.kill()
            victim.wait()
            killed.append(victim.pid)
        update(bar, done, total, note)

    monkeypatch.setattr(Progress, "update", kill_one)
    yield killed
    if killed:
        cluster.workers.append(cluster.add_worker())
        cluster.wait_for(2)


def both(cluster: Cluster, words: list[str], *, code: int = 0) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What the command writes on the cluster and here."""
    assert main([*words, "-o", "there", "--scheduler", cluster.address]) == code
    assert main([*words, "-o", "here"]) == code
    return cohorts.contents(Path("there")), cohorts.contents(Path("here"))


def test_preprocess_and_a_killed_worker(cluster: Cluster, killing: list[int]) -> None:
    cohorts.mr_scans(Path("scans"), 12)
    there, here = both(cluster, ["preprocess", "scans", "--domain", "mr", "--size", "32", "--workers", "0"])
    assert killing
    assert there == here
    assert {"images.npy", "slices.csv", "dataset.json"} <= there.keys()


def test_segment_and_a_killed_worker(cluster: Cluster, killing: list[int]) -> None:
    cohorts.ct_scans(Path("scans"), 8)
    cohorts.model(Path("run"))
    there, here = both(cluster, ["segment", "scans", "--model", "run", "--device", "cpu", "--workers", "0"])
    assert killing
    tables = [rows(folder.pop("volumes.csv")) for folder in (there, here)]
    assert tables[0] == tables[1]
    del there["volumes.json"], here["volumes.json"]
    assert there == here
    assert sum(name.endswith(".nii.gz") for name in there) == 8


def rows(data: bytes) -> list[dict[str, str]]:
    table = csv.DictReader(data.decode().splitlines())
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table]


def test_evaluate_and_a_killed_worker(cluster: Cluster, killing: list[int]) -> None:
    import nibabel as nib

    for name, seed in (("pred", 0), ("ref", 1)):
        Path(name).mkdir()
        for place in range(10):
            mask = np.zeros((24, 24, 6), np.uint8)
            corner = np.random.default_rng([seed, place]).integers(2, 10, 2)
            mask[corner[0] : corner[0] + 9, corner[1] : corner[1] + 8, 1:5] = 1
            nib.save(nib.Nifti1Image(mask, np.diag([1.0, 1.0, 5.0, 1.0])), f"{name}/case_{place}.nii.gz")
    there, here = both(cluster, ["evaluate", "--pred", "pred", "--ref", "ref", "--set", "resamples=200"])
    assert killing
    assert there["cases.csv"] == here["cases.csv"]
    assert there.keys() == here.keys()


@pytest.mark.parametrize("direction", ["source", "target"])
def test_match(cluster: Cluster, direction: str) -> None:
    from toy_sets import toy

    toy(Path("mr"), "mr", 0, 60)
    toy(Path("ct"), "ct", 1, 40)
    words = ["match", "--src", "mr", "--tgt", "ct", "--direction", direction, "--top", "3", "--split", "all"]
    assert main([*words, "-o", "there.csv", "--scheduler", cluster.address]) == 0
    assert main([*words, "-o", "here.csv"]) == 0
    assert Path("there.csv").read_bytes() == Path("here.csv").read_bytes()
    assert len(Path("here.csv").read_text().splitlines()) > 100


@pytest.mark.phantom
def test_phantom_and_a_killed_worker(cluster: Cluster, killing: list[int]) -> None:
    small = ["mr_matrix=48", "mr_slices=31", "ct_matrix=64", "ct_slice_step_mm=12.0"]
    words = ["phantom", "--mr", "2", "--ct", "1", "--ct-test", "1", "--workers", "0"]
    there, here = both(cluster, [*words, *(word for item in small for word in ("--set", item))])
    assert killing
    assert there == here


def test_what_a_worker_cannot_see_is_said(cluster: Cluster) -> None:
    found = attempt_in(replace(Origin.here(), folder="/no/such/folder"), pickle.dumps((len, "item")))
    assert isinstance(found, Failure)
    assert "/no/such/folder: no such folder on the worker's machine" in found.error
    with distributed.Client(cluster.address, timeout=300) as client:
        assert width(client.get_executor()) == 2
        outcomes = list(ordered_map(np.sqrt, [1, 4, 9], workers=0, executor=client.get_executor()))
    assert [outcome for _, outcome in outcomes] == [1, 2, 3]


def test_no_scheduler_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    common.STATE.quiet = False
    for command in ("match --src a --tgt b", "evaluate --pred a --ref b", "phantom"):
        assert main([*command.split(), "--help"]) == 0
        assert "--scheduler" in capsys.readouterr().out
    assert main(["phantom", "--mr", "1", "--ct", "1", "-o", "out", "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no answer" in capsys.readouterr().err
    assert not Path("out").exists()


def test_what_the_event_loop_catches_is_not_printed(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """As where a result is handed over while the connection ends: Dask hands the error to nobody."""
    from tornado.ioloop import IOLoop

    done = threading.Event()

    async def broken() -> None:
        done.set()
        raise distributed.comm.CommClosedError("Stream is closed")

    with common.executor(cluster.address) as executor:
        loop: IOLoop = executor._client.loop
        loop.add_callback(broken)
        assert done.wait(60)
        assert list(ordered_map(abs, [-1], workers=1, executor=executor)) == [(-1, 1)]
    assert not caplog.records
