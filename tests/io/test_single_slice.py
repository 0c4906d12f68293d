"""A scan or mask of one slice has the volume that its thickness makes, whatever it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ctseg.errors import CaseError
from ctseg.evaluation.grids import common_grid, read_mask
from ctseg.io.dicom.reader import read_series
from ctseg.io.masks import load_mask, save_mask
from ctseg.io.nifti.volumes import read_nifti
from ctseg.io.stack import Grid
from ctseg.io.volume import Volume

SPACING = (0.5, 0.75, 5.0)
"""Along x, y and z."""
CODES = ("LPS", "RAS", "PIR", "SRA", "ASL", "IPL")
LESION_MM3 = 6 * 8 * 0.5 * 0.75 * 5.0


Write = Callable[..., list[Path]]


def head(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) HU with air around soft tissue."""
    hu = np.full((rows, columns), -1000.0)
    inner = hu[rows // 5 : -(rows // 5), columns // 5 : -(columns // 5)]
    inner[...] = np.round(rng.normal(30, 5, inner.shape))
    return hu


def affine(codes: str) -> np.ndarray:
    """A RAS affine whose axes point the way the codes say."""
    result = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (target, sign) in enumerate(nib.orientations.axcodes2ornt(tuple(codes))):
        result[int(target), axis] = sign * SPACING[int(target)]
    return result


def single(path: Path, codes: str, rng: np.random.Generator) -> Path:
    """A head of one axial slice, stored in any order of axes."""
    hu = head(rng, 40, 44).T[..., None]  # x, y, z
    order = [int(target) for target, _ in nib.orientations.axcodes2ornt(tuple(codes))]
    nib.save(nib.Nifti1Image(np.transpose(hu, order).astype(np.int16), affine(codes)), path)
    return path


def lesion(volume: Volume) -> np.ndarray:
    """A mask of 6 x 8 pixels."""
    mask = np.zeros(volume.voxels.shape, dtype=np.uint8)
    mask[0, 10:16, 12:20] = 1
    return mask


def by_zooms(path: Path) -> float:
    """Volume in mm^3 as other programs take it: voxels times the sizes in the header."""
    image = nib.load(path)
    return float(np.count_nonzero(np.asarray(image.dataobj)) * np.prod(image.header.get_zooms()[:3]))


@pytest.mark.parametrize("codes", CODES)
def test_a_nifti_slice_counts_with_the_voxel_size_of_its_header(
    tmp_path: Path, rng: np.random.Generator, codes: str
) -> None:
    volume = read_nifti(single(tmp_path / "scan.nii.gz", codes, rng), domain="ct", case_id="scan")
    assert Grid.of(volume).volume_ml(lesion(volume) > 0) == pytest.approx(LESION_MM3 / 1000)
    assert any("a single slice: volumes rest on its thickness of 5 mm" in note for note in volume.notes)
    save_mask(tmp_path / "mask.nii.gz", volume, lesion(volume))
    mask, place = load_mask(tmp_path / "mask.nii.gz")
    assert Grid.of(place).volume_ml(mask > 0) == pytest.approx(LESION_MM3 / 1000)
    assert by_zooms(tmp_path / "mask.nii.gz") == pytest.approx(LESION_MM3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_so_does_one_of_itk(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    image = sitk.GetImageFromArray(head(rng, 44, 40)[None].astype(np.int16))
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    volume = read_nifti(tmp_path / f"scan{suffix}", domain="ct", case_id="scan")
    assert volume.slab_mm == pytest.approx([5.0])


def test_a_tilted_slice_counts_with_the_distance_along_its_normal(tmp_path: Path, rng: np.random.Generator) -> None:
    sheared = affine("LPS")
    sheared[1, 2] = 3.0
    nib.save(nib.Nifti1Image(head(rng, 40, 44).T[..., None].astype(np.int16), sheared), tmp_path / "scan.nii.gz")
    volume = read_nifti(tmp_path / "scan.nii.gz", domain="ct", case_id="scan")
    assert volume.slab_mm == pytest.approx([5.0])


@pytest.mark.parametrize(
    ("tags", "slab_mm", "note"),
    [
        ({"SliceThickness": 5.0}, 5.0, "thickness of 5 mm"),
        ({"SliceThickness": None, "SpacingBetweenSlices": 4.0}, 4.0, "thickness of 4 mm"),
        ({"SliceThickness": 0, "SpacingBetweenSlices": -4.0}, 4.0, "thickness of 4 mm"),
        ({"SliceThickness": None}, 1.0, "whose thickness nothing says: volumes are those of 1 mm"),
    ],
)
def test_of_a_dicom_slice_the_header_says_it_or_the_note_that_nothing_does(
    tmp_path: Path, write_series: Write, head_ct: np.ndarray, tags: dict[str, float | None], slab_mm: float, note: str
) -> None:
    volume = read_series(write_series(head_ct[:1], [(0.0, 0.0, 0.0)], **tags), case_id="scan")
    assert volume.slab_mm == pytest.approx([slab_mm])
    assert next(text for text in volume.notes if "single slice" in text).endswith(note)
    mask = np.zeros(volume.voxels.shape, dtype=np.uint8)
    mask[0, 8:12, 8:12] = 1
    save_mask(tmp_path / "mask.nii.gz", volume, mask)
    assert by_zooms(tmp_path / "mask.nii.gz") == pytest.approx(16 * 0.5 * 0.4 * slab_mm)
    assert Grid.of(load_mask(tmp_path / "mask.nii.gz")[1]).volume_ml(mask > 0) == pytest.approx(
        16 * 0.5 * 0.4 * slab_mm / 1000
    )


def test_a_coronal_slice_has_its_thickness_from_front_to_back(write_series: Write, head_ct: np.ndarray) -> None:
    files = write_series(head_ct[:1], [(0.0, 0.0, 0.0)], ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    volume = read_series(files, case_id="scan")
    assert volume.voxels.shape == (24, 1, 20)
    assert volume.spacing_mm == pytest.approx((5.0, 0.4))


def test_masks_of_another_thickness_are_not_compared(tmp_path: Path) -> None:
    paths = {}
    for name, thickness in (("a", 5.0), ("b", 5.0), ("c", 2.5)):
        grid = np.diag([0.5, 0.75, thickness, 1.0])
        nib.save(nib.Nifti1Image(np.ones((8, 8, 1), np.uint8), grid), tmp_path / f"{name}.nii.gz")
        paths[name] = read_mask(tmp_path / f"{name}.nii.gz")
    assert common_grid(paths["a"], paths["b"], 0.1).slab_mm == pytest.approx([5.0])
    with pytest.raises(CaseError, match=r"a slice of 5 mm and .* one of 2\.5 mm"):
        common_grid(paths["a"], paths["c"], 0.1)
