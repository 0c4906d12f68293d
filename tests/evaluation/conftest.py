"""Small masks as real files."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ctseg.io.nifti.volumes import save_mask, sidecar_path
from ctseg.io.volume import Volume


def scan(case="case", slices=4, z=None, tilt=0.0, shape=(16, 16)):
    """An empty scan as a DICOM reader gives it: 0.5 mm pixels, slices at `z` mm, tilted by `tilt` mm a mm."""
    z = np.arange(slices) * 5.0 if z is None else np.asarray(z, float)
    origins = np.stack([np.zeros(len(z)), tilt * z, z], axis=1)
    return Volume(
        voxels=np.zeros((len(z), *shape), np.float32),
        origins_mm=origins,
        row_step_mm=np.array([0, 0.5, 0.0]),
        col_step_mm=np.array([0.5, 0, 0.0]),
        domain="ct",
        case_id=case,
        patient_id=case,
    )


def box(volume, rows=slice(4, 12), slices=slice(1, 3)):
    """A mask of columns 4 to 12 and the rows and slices given."""
    mask = np.zeros(volume.voxels.shape, np.uint8)
    mask[slices, rows, 4:12] = 1
    return mask


def write(folder, case, mask, volume=None, slice_ids=()):
    """Write a mask, with the ids of its slices in the sidecar where given."""
    save_mask(folder / f"{case}.nii.gz", volume or scan(case), mask)
    if slice_ids:
        path = sidecar_path(folder / f"{case}.nii.gz")
        data = json.loads(path.read_text()) if path.is_file() else {"schema": "ctseg-geometry/1"}
        path.write_text(json.dumps({**data, "slice_ids": list(slice_ids)}))


@pytest.fixture(scope="session")
def masks():
    """`masks.scan`, `masks.box`, `masks.write`."""
    return SimpleNamespace(scan=scan, box=box, write=write)


@pytest.fixture
def cohort(tmp_path):
    """Two patients with two scans each: found, half found, missed, and an empty one left empty."""
    for case, pred_rows in {"a_1": slice(4, 12), "a_2": slice(4, 8), "b_1": slice(0, 0)}.items():
        write(tmp_path / "ref", case, box(scan()))
        write(tmp_path / "pred", case, box(scan(), pred_rows))
    write(tmp_path / "ref", "b_2", box(scan(), slice(0, 0)))
    write(tmp_path / "pred", "b_2", box(scan(), slice(0, 0)))
    (tmp_path / "group.csv").write_text("case,patient\na_1,a\na_2,a\nb_1,b\nb_2,b\n")
    return tmp_path
