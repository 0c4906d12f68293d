"""SEG and RTSTRUCT through programs that nobody here wrote: dcmqi (in 3D Slicer) and plastimatch (in SlicerRT).

Skipped where they are not installed: `pip install dcmqi`, Debian's `plastimatch`. `docs/viewers.md` holds the table.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from segment_helpers import UNEVEN_Z, Head, NonAirIsBrain, Stack, bright_models, write_dicom

from ctseg.inference.dicom_objects import write_dicom_objects
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.predict import Prediction, predict_volume
from ctseg.inference.settings import SegmentSettings
from ctseg.io.discover import discover, read_case

pytestmark = pytest.mark.slow
EVEN_Z = np.arange(-30.0, 31.0, 5.0)
SERIES = {"even": Stack(EVEN_Z, 0.0), "tilted": Stack(EVEN_Z), "tilted, uneven": Stack(UNEVEN_Z)}


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module", params=list(SERIES))
def case(request, tmp_path_factory) -> tuple[str, Prediction, Path, Path]:
    """Name of the geometry, what was found, the series, and the folder with its DICOM outputs."""
    root = tmp_path_factory.mktemp("readers")
    series = write_dicom(root / "series", SERIES[request.param], Head())
    found = predict_volume(read_case(discover(series).cases[0]), bright_models(), SegmentSettings(), NonAirIsBrain())
    out = root / "out"
    out.mkdir()
    settings = SegmentSettings(rtstruct=True)
    assert write_dicom_objects(out, "case", found, settings, SegAlgorithm("bright", parameters={})) == []
    return request.param, found, series, out


def truth(found: Prediction) -> tuple[float, np.ndarray]:
    """mL and centre of a mask (LPS mm), each slice as thick as its part of the stack."""
    scan = found.volume
    k, i, j = np.argwhere(found.mask).T
    points = scan.origins_mm[k] + i[:, None] * scan.row_step_mm + j[:, None] * scan.col_step_mm
    heights = np.gradient(scan.origins_mm @ scan.normal)
    pixel = np.linalg.norm(np.cross(scan.row_step_mm, scan.col_step_mm))
    return float(np.abs(heights[k]).sum() * pixel / 1000), np.average(points, axis=0, weights=np.abs(heights[k]))


def read(path: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """mL, centre and voxels (LPS mm) of a mask in its reader's own geometry."""
    image = sitk.ReadImage(str(path))
    index = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1] * np.array(image.GetSpacing())
    points = index @ np.array(image.GetDirection()).reshape(3, 3).T + np.array(image.GetOrigin())
    return len(points) * float(np.prod(image.GetSpacing())) / 1000, points.mean(axis=0), points


def dice(found: Prediction, points: np.ndarray) -> float:
    """Of a reader's voxels with the mask, each in the voxel of the scan that its position falls into."""
    scan = found.volume
    steps = np.stack([scan.row_step_mm, scan.col_step_mm])
    k = np.abs((points[:, None] - scan.origins_mm[None]) @ scan.normal).argmin(axis=1)
    i, j = np.rint((points - scan.origins_mm[k]) @ (steps / (steps**2).sum(axis=1, keepdims=True)).T).astype(int).T
    other = np.zeros_like(found.mask)
    other[k, i, j] = True
    return 2 * float((other & found.mask).sum()) / float(other.sum() + found.mask.sum())


def assert_exact(found, ml, centre, points):
    """What a reader found in an even series is ctseg's own mask, voxel by voxel."""
    wanted, where = truth(found)
    assert ml == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(centre, where, atol=1e-3)
    assert dice(found, points) == 1


def test_dcmqi_reads_the_segmentation(case, tmp_path):
    name, found, _, out = case
    seg = out / ("case.dcm" if name == "even" else "case_resampled.dcm")
    reader = program("segimage2itkimage")
    words = [reader, "--inputDICOM", str(seg), "--outputDirectory", str(tmp_path), "-t", "nrrd", "--prefix", "mask"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ml, centre, points = read(tmp_path / "mask-1.nrrd")
    wanted, where = truth(found)
    if name == "even":
        assert_exact(found, ml, centre, points)
    else:
        assert ml == pytest.approx(wanted, rel=0.02)
        np.testing.assert_allclose(centre, where, atol=0.5)


def test_plastimatch_reads_the_structure_set(case, tmp_path):
    name, found, series, out = case
    words = [
        program("plastimatch"),
        "convert",
        "--input",
        str(out / "case_rtstruct.dcm"),
        "--referenced-ct",
        str(series),
    ]
    done = subprocess.run(
        [*words, "--output-labelmap", str(tmp_path / "mask.nrrd")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    ml, centre, points = read(tmp_path / "mask.nrrd")
    wanted, where = truth(found)
    if name == "even":
        assert_exact(found, ml, centre, points)
    elif name == "tilted":  # its planes are shifted against the scan's by parts of a pixel
        assert ml == pytest.approx(wanted, rel=0.02)
        np.testing.assert_allclose(centre, where, atol=0.2)
        assert dice(found, points) > 0.9
