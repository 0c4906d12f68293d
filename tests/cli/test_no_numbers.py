"""A NIfTI whose voxels are no numbers is one failed row beside a good scan, in every command that looks at scans."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.cli.main import main

COLOURS = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize("kind", [COLOURS, np.dtype(np.complex64)], ids=["colours", "complex"])
@pytest.mark.parametrize("command", ["inspect", "preprocess"])
def test_voxels_that_are_no_numbers_are_one_failed_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, kind: np.dtype[np.void]
) -> None:
    """It had ended the cohort with numpy's TypeError."""
    z, y, x = np.mgrid[:20, :64, :64]
    radius = ((z - 9.5) * 5 / 46) ** 2 + ((y - 31.5) * 3 / 80) ** 2 + ((x - 31.5) * 3 / 64) ** 2
    head = np.select([radius < 1, radius < 1.25], [30 + x % 10, 900], -1000).astype(np.int16).transpose(2, 1, 0)
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(head, affine), tmp_path / "scans/head.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(head.shape, kind), affine), tmp_path / "scans/odd.nii.gz")
    argv = [command, str(tmp_path / "scans")]
    if command == "preprocess":
        argv += ["-o", str(tmp_path / "set"), "--size", "64", "--fov", "192", "--workers", "0"]
    assert main(argv) == 1
    said = "".join(capsys.readouterr())
    assert any("odd.nii.gz" in line and "not numbers; give a greyscale scan" in line for line in said.splitlines())
    assert command == "inspect" or (tmp_path / "set/slices.csv").is_file()
