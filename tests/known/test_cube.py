"""A bright cube, planted by the header in mm, is found there in mask, DICOM SEG, preview and slice set."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import cube
import matplotlib.image
import nibabel as nib
import numpy as np
import pydicom
import pytest
from segment_helpers import NonAirIsBrain, bright_models

from ctseg.inference.segment import segment_cases
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Discovery
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import load_mask, save_mask
from ctseg.io.slices import open_slices
from ctseg.io.stack import Grid
from ctseg.preprocess.pipeline import preprocess
from ctseg.preprocess.settings import PreprocessSettings

ORIENTATIONS = [
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
]
HALF_VOXEL_MM = 0.5 * np.linalg.norm(cube.SPACING)


def found(path: Path) -> Discovery:
    return discover([path], "ct")


def is_the_cube(points_lps: np.ndarray, slack_mm: float = HALF_VOXEL_MM) -> None:
    """The points fill the cube: their middle and their ends lie where it has them."""
    np.testing.assert_allclose(points_lps.mean(axis=0), cube.CENTRE_LPS, atol=slack_mm)
    np.testing.assert_allclose(points_lps.min(axis=0), cube.CENTRE_LPS - cube.HALF_MM, atol=2 * slack_mm)
    np.testing.assert_allclose(points_lps.max(axis=0), cube.CENTRE_LPS + cube.HALF_MM, atol=2 * slack_mm)


def points_of(path: Path) -> np.ndarray:
    """LPS mm of a mask's voxels by the affine of its header alone."""
    image = nib.load(path)
    index = np.argwhere(np.asarray(image.dataobj) > 0)
    return nib.affines.apply_affine(cube.LPS_TO_RAS @ image.affine, index)


def points_of_seg(path: Path) -> np.ndarray:
    """LPS mm of a SEG's pixels by the position of each of its frames."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    along, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, col_mm = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    planes = np.asarray(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for item, plane in zip(seg.PerFrameFunctionalGroupsSequence, planes, strict=True):
        rows, columns = np.nonzero(plane)
        origin = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points.append(origin + rows[:, None] * row_mm * down + columns[:, None] * col_mm * along)
    return np.concatenate(points)


def is_on_the_left(picture: Path) -> None:
    """In the first panel the outline lies right of the head's middle, the patient's left, and above it, in front."""
    pixels = matplotlib.image.imread(picture)[..., :3]
    panel = pixels[60:320, : pixels.shape[1] // 3]
    orange = (panel[..., 0] - panel[..., 1:].max(axis=-1)) > 0.4
    grey = (np.ptp(panel, axis=-1) < 0.02) & (panel[..., 0] > 0.25) & (panel[..., 0] < 0.6)
    assert orange.sum() > 50
    assert grey.sum() > 5000
    cube_middle, head_middle = (np.argwhere(part).mean(axis=0) for part in (orange, grey))
    assert cube_middle[0] < head_middle[0] - 10
    assert cube_middle[1] > head_middle[1] + 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", cube.KINDS)
def test_mask_seg_and_preview_show_the_cube_where_it_is(kind: str, tmp_path: Path) -> None:
    path = cube.KINDS[kind](tmp_path)
    (case,) = found(path).cases
    out = tmp_path / "out"
    settings = SegmentSettings(resampled=False)
    (row,) = segment_cases([case], bright_models(64, 160.0), out, settings, extractor=NonAirIsBrain())
    assert row.status == "ok", row.error
    mask = out / f"{row.case}.nii.gz"
    slabs = 2.5 if kind == "DICOM uneven" else 0.0  # there the affine is that of even steps
    if not slabs:
        is_the_cube(points_of(mask))
    values, volume = load_mask(mask)
    is_the_cube(Grid.of(volume).points_mm(values > 0), HALF_VOXEL_MM + slabs)
    is_on_the_left(out / f"{row.case}.png")
    assert row.ml == pytest.approx(8 * np.prod(cube.HALF_MM) / 1000, rel=0.35)
    seg = out / f"{row.case}.dcm"
    assert seg.exists() == kind.startswith("DICOM")
    if seg.exists():
        is_the_cube(points_of_seg(seg), HALF_VOXEL_MM + slabs)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_of_nifti(codes: str, tmp_path: Path) -> None:
    (case,) = found(cube.nifti(tmp_path / "s.nii", codes)).cases
    volume = read_case(case)
    save_mask(tmp_path / "mask.nii", volume, volume.voxels > 55)
    image = nib.load(tmp_path / "mask.nii")
    assert nib.aff2axcodes(image.affine) == tuple(codes)
    is_the_cube(points_of(tmp_path / "mask.nii"))
    is_the_cube(Grid.of(volume).points_mm(volume.voxels > 55))
    slices, rows, columns = np.nonzero(volume.voxels > 55)
    middle = (np.array(volume.voxels.shape) - 1) / 2
    assert (np.array([slices.mean(), -rows.mean(), columns.mean()]) > middle * [1, -1, 1]).all()  # up, in front, left


@pytest.mark.slow
@pytest.mark.parametrize("syntax", cube.SYNTAXES)
def test_every_transfer_syntax(syntax: str, tmp_path: Path) -> None:
    (case,) = found(cube.encoded(tmp_path / "s", syntax)).cases
    volume = read_case(case)
    plain = read_case(found(cube.series(tmp_path / "plain")).cases[0])
    np.testing.assert_array_equal(volume.voxels, plain.voxels)
    is_the_cube(Grid.of(volume).points_mm(volume.voxels > 55))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DICOM prone", "DICOM zip", "DICOM coronal", "NIfTI sform", "NRRD", "MetaImage"])
def test_slice_sets_show_the_cube_where_it_is(kind: str, tmp_path: Path) -> None:
    path = cube.KINDS[kind](tmp_path)
    (tmp_path / "set").mkdir()
    settings = PreprocessSettings(size=64, fov_mm=160.0, min_brain_mm2=0.0, split=(1.0,))
    preprocess(found(path), tmp_path / "set", settings, extractor=NonAirIsBrain(), domain="ct")
    slices = open_slices(tmp_path / "set")
    bright = np.asarray(slices.images) > 0.55 * 255
    shown, rows, columns = np.nonzero(bright)
    z_mm = slices.table["z_mm"].to_numpy()[shown]
    pixel_mm = 160.0 / 64
    across, down = ((place - 31.5) * pixel_mm for place in (columns, rows))  # from the middle of the brain
    is_the_cube(np.stack([across, down, z_mm], axis=1), HALF_VOXEL_MM + pixel_mm)


@pytest.mark.slow
def test_an_enhanced_object_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = cube.multiframe(tmp_path / "enhanced.dcm")
    cube.series(tmp_path / "beside")
    one, other = sorted(found(tmp_path).cases, key=lambda case: len(case.files))
    assert (one.files, len(other.files)) == ((path,), cube.SHAPE[2])
    volume, single = read_case(one), read_case(other)
    np.testing.assert_array_equal(volume.voxels, single.voxels)
    is_the_cube(Grid.of(volume).points_mm(volume.voxels > 60))
