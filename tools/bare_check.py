"""What an installed wheel must do in a bare environment: segment, train, check itself, without anything of the clone.

Run it by `tools/bare.py`, with the Python of that environment, in an empty folder.
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import nibabel as nib
import numpy as np

HEADS = ("a", "b")
EXTRAS = {
    "export": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",), "itk": ("SimpleITK",),
    "monai": ("monai", "pytorch-ignite", "fire", "jsonschema"), "cluster": ("distributed",), "ncnn": ("ncnn",),
}  # fmt: skip
"""The optional extras, and the packages of each."""
SERVE = (
    "from distributed import LocalCluster\n"
    "if __name__ == '__main__':\n"
    "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:\n"
    "        print(cluster.scheduler_address, flush=True)\n"
    "        input()\n"
)
"""A Dask scheduler with one worker, until its stdin is closed."""
TOLD = ("numpy", "torch", "scipy", "pandas", "pydantic", "pydicom", "typer")


def head(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """HU (40, 40, 12) of an ellipsoid head with a bleed of 38 mL, and where that is."""
    grid = [(np.arange(n) - n / 2 + 0.5) * mm for n, mm in ((40, 5), (40, 5), (12, 10))]
    x, y, z = np.meshgrid(*grid, indexing="ij")
    hu = np.full(x.shape, -1000.0)
    for radii, value in (((72, 90, 70), 40), ((68, 86, 66), 900), ((62, 80, 60), 33)):
        hu[(x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2 < 1] = value
    bleed = (x - 20) ** 2 + y**2 + z**2 < 20**2
    hu[bleed] = 70
    return np.round(hu + np.random.default_rng(seed).normal(0, 3, hu.shape) * (hu > -900)), bleed


def ctseg(*words: str, codes: tuple[int, ...] = (0,)) -> None:
    """Run a command of the installed package.

    Raises:
        SystemExit: if it ends with another code.
    """
    script = Path(sys.executable).with_name("ctseg")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([script, "-q", *words], check=False, capture_output=True, text=True, env=clean)
    if done.returncode not in codes:
        sys.exit(f"ctseg {' '.join(words)}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def extras() -> list[str]:
    """Use every extra that is installed; returns its packages."""
    there = {extra: all(map(is_installed, names)) for extra, names in EXTRAS.items()}
    for extra, target in (("export", "onnx"), ("openvino", "openvino"), ("monai", "monai-bundle")):
        if there[extra]:
            ctseg("export", "run", "--to", target, "-o", target)
    if there["ncnn"]:
        ctseg("segment", "scans", "-o", "masks5", "--device", "cpu", "--workers", "0", "--set", "engine=ncnn")
    if there["itk"]:
        import SimpleITK

        Path("nrrd").mkdir()
        SimpleITK.WriteImage(SimpleITK.ReadImage("scans/a_ct.nii.gz"), "nrrd/a_ct.nrrd")
        ctseg("segment", "nrrd", "-o", "masks3", "--device", "cpu", "--workers", "0")
    if there["cluster"]:
        Path("serve.py").write_text(SERVE, encoding="utf-8")
        with subprocess.Popen([sys.executable, "serve.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None  # noqa: S101 - narrows the type
            address = server.stdout.readline().decode().strip()
            ctseg("segment", "scans", "-o", "masks4", "--device", "cpu", "--scheduler", address)
            server.communicate(b"\n")
    return [name for extra, names in EXTRAS.items() if there[extra] for name in names]


def is_installed(name: str) -> bool:
    """Whether a distribution is there."""
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def main() -> None:
    affine = np.diag([-5.0, -5.0, 10.0, 1.0])
    for folder in ("scans", "truth"):
        Path(folder).mkdir()
    for seed, name in enumerate(HEADS):
        hu, bleed = head(seed)
        nib.save(nib.Nifti1Image(hu.astype(np.int16), affine), f"scans/{name}_ct.nii.gz")
        nib.save(nib.Nifti1Image(bleed.astype(np.uint8), affine), f"truth/{name}_ct.nii.gz")
    ctseg("segment", "scans", "-o", "masks", "--device", "cpu", "--workers", "0")
    with Path("masks/volumes.csv").open(newline="") as file:
        volumes = [float(row["ml"]) for row in csv.DictReader(file)]
    ctseg("evaluate", "--pred", "masks", "--ref", "truth", "-o", "scores", "--set", "resamples=100")
    small = ("--mr", "2", "--ct", "2", "--ct-test", "1", "--set", "ct_matrix=128")
    ctseg("phantom", "-o", "phantom", *small, "--workers", "0")
    for name, scans in (("mr", "Task01_BrainTumour"), ("ct", "rsna/stage_2_train")):
        ctseg("preprocess", f"phantom/{scans}", "-o", name, "--size", "64", "--workers", "0")
    pair = ("--src", "mr", "--tgt", "ct")
    ctseg("match", *pair, "-o", "pairs.csv", "--direction", "target")
    ctseg("das-train", *pair, "--pairs", "pairs.csv", "--preset", "smoke", "--device", "cpu", "-o", "run")
    ctseg("segment", "scans", "--model", "run", "-o", "masks2", "--device", "cpu", "--workers", "0")
    ctseg("doctor")
    used = extras()
    versions = ", ".join(f"{name} {version(name)}" for name in (*TOLD, *used))
    found = " and ".join(f"{ml:.1f}" for ml in volumes)
    sys.stdout.write(
        f"Python {platform.python_version()}, {versions}: segment, evaluate, phantom, preprocess, match, das-train, "
        f"doctor{', extras' if used else ''} ended with 0; {found} mL of 38.0 mL found\n"
    )


if __name__ == "__main__":
    main()
