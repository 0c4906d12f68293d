"""The examples of docs/machines.md run, on two scans."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cohorts
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.end_to_end]
EXAMPLES = Path(__file__).parents[1] / "examples"
TOOLS = os.environ.get("CTSEG_WORKFLOW_TOOLS", "")
"""Folders where snakemake and nextflow lie, if they are not on the path: they do not go into ctseg's environment."""
PATH = os.pathsep.join([str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH", ""), TOOLS])])
ENVIRONMENT = {**os.environ, "PATH": PATH, "OMP_NUM_THREADS": "1", "NXF_OFFLINE": "true"}


def tool(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed; CTSEG_WORKFLOW_TOOLS names its folder")
    return found


def call(words: list[str], where: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=where, capture_output=True, text=True, timeout=600, check=False, env={**ENVIRONMENT, **environment}
    )


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    cohorts.ct_scans(tmp_path / "scans", 2)
    cohorts.model(tmp_path / "run")
    return tmp_path


def test_slurm_array(scans: Path) -> None:
    tasks = [
        subprocess.Popen(
            [str(EXAMPLES / "slurm-array.sh"), "scans", "run", "masks"], cwd=scans, stderr=subprocess.PIPE, text=True,
            env={**ENVIRONMENT, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": "1"},
        )
        for task in (1, 2)
    ]  # fmt: skip
    texts = [task.communicate(timeout=600)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], texts
    assert cohorts.done_cases(scans / "masks") == ["scan_000", "scan_001"]


def test_dask_jobqueue(scans: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    words = ["evaluate", "--pred", "masks", "--ref", "masks", "-o", "out"]
    import nibabel as nib
    import numpy as np

    (scans / "masks").mkdir()
    for place in range(2):
        mask = np.zeros((12, 12, 4), np.uint8)
        mask[3:8, 3 : 7 + place, 1:3] = 1
        nib.save(nib.Nifti1Image(mask, np.diag([1.0, 1.0, 5.0, 1.0])), scans / "masks" / f"case_{place}.nii.gz")
    done = call([sys.executable, str(EXAMPLES / "dask_jobqueue_cohort.py"), "local", "1", "--", *words], scans)
    assert done.returncode == 0, done.stderr
    assert len((scans / "out" / "cases.csv").read_text().splitlines()) == 3


def test_snakemake(scans: Path) -> None:
    snakemake = tool("snakemake")
    cohorts.mr_scans(scans / "mr", 2)
    cohorts.label(scans / "mr")
    more = "--preset smoke --device cpu --set matched=false --set source_split=all --set target_split=all"
    config = [
        "mr=mr", "ct=scans", "new=scans", f"more={more}", "preprocess=--size 32 --split 1",
        "segment=--device cpu --set preview=false",
    ]  # fmt: skip
    words = [snakemake, "-s", str(EXAMPLES / "Snakefile"), "--cores", "1", "--config", *config]
    done = call(words, scans)
    assert done.returncode == 0, done.stderr
    assert cohorts.done_cases(scans / "masks") == ["scan_000", "scan_001"]
    assert "Nothing to be done" in call(words, scans).stderr


def test_nextflow(scans: Path) -> None:
    nextflow = tool("nextflow")
    done = call(
        [
            nextflow, "run", str(EXAMPLES / "main.nf"), "--scans", f"{scans}/scans/*.nii.gz", "--model", f"{scans}/run",
            "--out", "masks", "--more", "--device cpu",
        ],
        scans,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(cohorts.done_cases(scans / "masks")) == ["scan_000", "scan_001"]
    assert len(list((scans / "masks").glob("*.nii.gz"))) == 2


def test_the_nextflow_process_by_hand(scans: Path) -> None:
    """Its script in a folder of its own for each scan, with the inputs as links, leaves the files that it declares."""
    text = (EXAMPLES / "main.nf").read_text(encoding="utf-8")
    script = re.findall(r'script:\s+"""(.*?)"""', text, re.DOTALL)[0]
    declared = re.findall(r"^ +path '([^']+)', emit: ", text, re.MULTILINE)
    assert len(declared) == 2
    for scan in sorted((scans / "scans").iterdir()):
        work = scans / "work" / scan.name
        work.mkdir(parents=True)
        (work / scan.name).symlink_to(scan)
        (work / "run").symlink_to(scans / "run")
        line = script.replace("${scan}", scan.name).replace("${model}", "run").replace("${params.more}", "--device cpu")
        assert "$" not in line
        done = call(["bash", "-ue", "-c", line], work)
        assert done.returncode == 0, done.stderr
        assert [len(list(work.glob(files))) for files in declared] == [1, 1]
