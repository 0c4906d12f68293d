"""Objects of sagittal and coronal series lie on the slices that were taken, though the mask was made of axial ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from seg_files import ct, native, scan_of, wanted

from ctseg.inference.dicom_objects import write_dicom_objects
from ctseg.inference.dicom_source import SegAlgorithm, as_acquired
from ctseg.inference.measure import measure
from ctseg.inference.predict import Prediction
from ctseg.inference.settings import SegmentSettings
from ctseg.io.dicom.rtstruct import read_rtstruct
from ctseg.io.drawn import slice_names
from ctseg.io.masks import load_mask
from ctseg.io.outlines import outlines_on
from ctseg.io.seg_masks import seg_on
from ctseg.io.source import Source
from ctseg.io.volume import Volume

pytestmark = pytest.mark.slow

SHAPE = (30, 26)
ALGORITHM = SegAlgorithm("bright")
SAGITTAL, CORONAL = [(2.5 * k, -9.0, 30.0) for k in range(9)], [(-8.0, 2.5 * k, 30.0) for k in range(9)]
TURNED: dict[str, dict[str, Any]] = {
    "sagittal": {"origins": SAGITTAL, "along": (0, 1, 0), "down": (0, 0, -1)},
    "sagittal, from the left": {"origins": SAGITTAL[::-1], "along": (0, 1, 0), "down": (0, 0, -1)},
    "sagittal, mirrored": {"origins": SAGITTAL, "along": (0, -1, 0), "down": (0, 0, 1)},
    "coronal": {"origins": CORONAL, "along": (1, 0, 0), "down": (0, 0, -1)},
    "coronal, columns first": {"origins": CORONAL, "along": (0, 0, -1), "down": (1, 0, 0)},
    "coronal, oblique": {
        "origins": [(-8 - 0.7 * k, 2.4 * k, 30.0) for k in range(9)], "along": (0.96, 0.28, 0.0), "down": (0, 0, -1),
    },
}  # fmt: skip


def lesion(slices: int = 9) -> np.ndarray:
    """(slices, rows, columns) a mask with a hole that is another in every mirror image."""
    mask = np.zeros((slices, *SHAPE), bool)
    mask[2:5, 5:12, 6:17] = mask[6, 20, 3] = True
    mask[3, 7:9, 8:10] = False
    return mask


@pytest.fixture(params=list(TURNED))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Dataset], Volume, np.ndarray]:
    """The headers of a series, its scan on axial slices, and a mask (K, H, W) on these."""
    sources = ct(tmp_path / "ct", shape=SHAPE, **TURNED[request.param])
    scan = scan_of(tmp_path / "ct")
    return sources, scan, scan.native.to_canonical(wanted(lesion(), sources).transpose(2, 1, 0))


def written(folder: Path, scan: Volume, mask: np.ndarray, *, deidentify: bool = False) -> Path:
    settings = SegmentSettings(rtstruct=True, sr=True, deidentify=deidentify)
    found = Prediction(scan, mask.astype(np.float32), mask, mask, measure(mask, scan), 1.0, 1.0)
    folder.mkdir()
    assert write_dicom_objects(folder, "case", found, settings, ALGORITHM) == []
    return folder


def test_they_are_the_mask_again(case: tuple[list[Dataset], Volume, np.ndarray], tmp_path: Path) -> None:
    sources, scan, mask = case
    out = written(tmp_path / "out", scan, mask)
    labels, place = load_mask(out / "case.dcm")
    on, notes = seg_on(labels, place, scan, slice_names(scan))
    np.testing.assert_array_equal(on, mask)
    outlines, more = outlines_on(read_rtstruct(Source(str(out / "case_rtstruct.dcm"))), scan, slice_names(scan))
    np.testing.assert_array_equal(outlines, mask)
    assert (notes, more) == ([], [])
    np.testing.assert_array_equal(native(mask, scan), wanted(lesion(), sources))


def test_highdicom_finds_every_voxel_on_the_slice_it_was_drawn_on(
    case: tuple[list[Dataset], Volume, np.ndarray], tmp_path: Path
) -> None:
    sources, scan, mask = case
    out = written(tmp_path / "out", scan, mask)
    read = highdicom.seg.segread(out / "case.dcm").get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in sources], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(read > 0, lesion())
    report = str(pydicom.dcmread(out / "case_sr.dcm"))
    assert pydicom.dcmread(out / "case.dcm").SOPInstanceUID in report
    assert not (out / "case_resampled.dcm").exists()


def test_the_planes_are_those_of_the_headers(case: tuple[list[Dataset], Volume, np.ndarray]) -> None:
    sources, scan, _ = case
    own = as_acquired(scan)
    assert own.voxels.shape == (9, *SHAPE)
    for source in sources:
        (k,) = [n for n, frame in enumerate(own.frames) if frame.SOPInstanceUID == source.SOPInstanceUID]
        np.testing.assert_allclose(own.origins_mm[k], np.array(source.ImagePositionPatient, float))
    along, down = np.reshape(np.array(sources[0].ImageOrientationPatient, float), (2, 3))
    row_mm, col_mm = map(float, sources[0].PixelSpacing)
    np.testing.assert_allclose(own.col_step_mm, col_mm * along, atol=1e-9)
    np.testing.assert_allclose(own.row_step_mm, row_mm * down, atol=1e-9)
    np.testing.assert_allclose(own.slab_mm, 2.5)


def test_a_tilted_stack_has_its_own_planes_and_resampled_ones(tmp_path: Path) -> None:
    """Its slices lie beside each other by less than they are apart."""
    sources = ct(tmp_path / "ct", CORONAL, along=(0.96, 0.28, 0.0), down=(0, 0, -1), shape=SHAPE)
    scan = scan_of(tmp_path / "ct")
    mask = scan.native.to_canonical(wanted(lesion(), sources).transpose(2, 1, 0))
    out = written(tmp_path / "out", scan, mask)
    read = highdicom.seg.segread(out / "case.dcm").get_pixels_by_source_instance(
        [source.SOPInstanceUID for source in sources], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(read > 0, lesion())
    outlines, _ = outlines_on(read_rtstruct(Source(str(out / "case_rtstruct.dcm"))), scan, slice_names(scan))
    np.testing.assert_array_equal(outlines, mask)
    resampled, place = load_mask(out / "case_resampled.dcm")
    ml = float((resampled > 0).sum(axis=(1, 2)) @ place.voxel_ml)
    assert ml == pytest.approx(float(mask.sum(axis=(1, 2)) @ scan.voxel_ml), rel=0.02)


@pytest.mark.parametrize("deidentify", [False, True])
def test_dciodvfy_finds_no_error(tmp_path: Path, deidentify: bool) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    sources = ct(tmp_path / "ct", shape=SHAPE, **TURNED["sagittal"])
    scan = scan_of(tmp_path / "ct")
    mask = scan.native.to_canonical(wanted(lesion(), sources).transpose(2, 1, 0))
    out = written(tmp_path / "out", scan, mask, deidentify=deidentify)
    assert len(list(out.iterdir())) == 3
    for path in out.iterdir():
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (done.stderr + done.stdout).splitlines()
        assert [line for line in lines if line.startswith("Error") and "<99CTSEG>" not in line] == []
