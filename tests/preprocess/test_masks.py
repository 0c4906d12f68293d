"""`ctseg preprocess --masks`: each form of a mask gives the slice set of NIfTI, and what is not used is said."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mask_heads import head, lesions, slice_set

from ctseg.errors import InputError
from ctseg.io.slices import open_slices
from ctseg.preprocess.masks import DARK, LOST, MOST, OUTSIDE, about_mask, given_masks, mask_digest

pytestmark = pytest.mark.slow

AFFINE = np.diag([-3.0, -3.0, 5.0, 1.0])


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A scan `ct_one` and its labels."""
    for name, values in (("scans/ct_one", head()), ("truth/ct_one", lesions(10))):
        (tmp_path / name).parent.mkdir()
        nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), AFFINE), tmp_path / f"{name}.nii.gz")
    return tmp_path


def made(cohort: Path, masks: Path, out: str, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict, str]:
    """Exit code, summary, and what was said."""
    return slice_set(cohort / "scans", masks, cohort / out, capsys, *more)


def as_slicer(path: Path, other: Path, *, cut: bool) -> Path:
    """A NIfTI mask as a segmentation of 3D Slicer: whole or cut to its segments."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    marked = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    first, end = (marked.min(axis=0), marked.max(axis=0) + 1) if cut else (np.zeros(3, int), np.array(image.GetSize()))
    part = image[tuple(slice(int(a), int(b)) for a, b in zip(first, end, strict=True))]
    part.SetMetaData("Segmentation_ReferenceImageExtentOffset", " ".join(map(str, first)))
    other.parent.mkdir(exist_ok=True)
    sitk.WriteImage(part, str(other), True)
    return other


@pytest.mark.parametrize("flags", [(), ("--lesion-labels", "2")])
@pytest.mark.parametrize(("name", "cut"), [("a.seg.nrrd", True), ("a.seg.nrrd", False), ("a.mha", False)])
def test_the_set_is_that_of_nifti(
    cohort: Path, capsys: pytest.CaptureFixture[str], name: str, cut: bool, flags: tuple[str, ...]
) -> None:
    as_slicer(cohort / "truth/ct_one.nii.gz", cohort / f"other/ct_one{name[1:]}", cut=cut)
    assert made(cohort, cohort / "truth", "one", capsys, *flags)[0] == 0
    code, summary, said = made(cohort, cohort / "other", "two", capsys, *flags)
    assert code == 0, said
    masks = [open_slices(cohort / out).require_masks("x") for out in ("one", "two")]
    np.testing.assert_array_equal(*masks)
    assert masks[0].sum() == (lesions(10) == 2 if flags else lesions(10) > 0).sum()
    assert (summary["label_values"], summary["lesion_labels"]) == ({"1": 1, "2": 1}, [2] if flags else [1, 2])


def test_what_is_not_used_is_said(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ct_two.nii.gz", "ct_three.nii", "miller_rtstruct.dcm", "miller.mgz"):
        (cohort / "truth" / name).write_bytes(b"")
    code, summary, said = made(cohort, cohort / "truth", "one", capsys)
    assert code == 0
    reasons = summary["rejected"]
    name = f"{cohort / 'truth/miller.mgz'} and 1 more"
    assert reasons[name].startswith("masks in forms that are not read (1 FreeSurfer, 1 DICOM); write them as NIfTI")
    assert "SimpleITK" in reasons[name]
    assert reasons[f"{cohort / 'truth/ct_three.nii'} and 1 more"] == "a mask without its scan"
    assert f"left out: {name}: masks in forms" in said
    assert not any("miller" in path.read_text(errors="ignore") for path in (cohort / "one").iterdir())


@pytest.mark.parametrize(
    ("moved", "said"), [((1.4, 0, 0), "1.4 mm off"), ((1.6, 0, 0), ""), ((0, 2.4, 0), ""), ((0, 0, 2.4), "2.4 mm off")]
)
def test_a_mask_that_lies_off_is_said_or_refused(
    cohort: Path, capsys: pytest.CaptureFixture[str], moved: tuple[float, ...], said: str
) -> None:
    """Half a voxel in each direction: slices of 5 mm are no reason to take a mask 2.4 mm off within them."""
    path = cohort / "truth/ct_one.nii.gz"
    place = AFFINE.copy()
    place[:3, 3] += moved
    nib.save(nib.Nifti1Image(lesions(10).transpose(2, 1, 0), place), path)
    code, summary, err = made(cohort, cohort / "truth", "one", capsys)
    if not said:
        assert (code, summary.get("failed", {}).get("ct_one", err).count("lies on another grid")) == (2, 1)
        return
    assert code == 0
    assert f"its mask lies up to {said} by its header; taken voxel by voxel" in err
    assert open_slices(cohort / "one").require_masks("x").sum() == (lesions(10) > 0).sum()


def test_a_mask_of_a_labelled_scan_is_said(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cohort / "scans/ct_one_seg.nii.gz").write_bytes((cohort / "truth/ct_one.nii.gz").read_bytes())
    code, summary, _ = made(cohort, cohort / "truth", "one", capsys)
    assert code == 0
    assert summary["rejected"] == {
        str(cohort / "truth/ct_one.nii.gz"): "a mask of a scan that has a label of its own, which is used"
    }


def test_a_folder_without_masks_is_refused_and_two_of_one_case(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"no mask .* in it; name the folder of masks with --masks"):
        given_masks(tmp_path / "none", [])
    (tmp_path / "none/a_rtstruct.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"in it, but 1 file in forms that are not read \(1 DICOM\), such as a_rtstr"):
        given_masks(tmp_path / "none", [])
    (cohort / "truth/ct_one.mha").write_bytes(b"")
    with pytest.raises(InputError, match="keep one of them"):
        given_masks(cohort / "truth", [])


def test_the_digest_is_of_the_voxels_beside_a_header_too(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_bytes(b"head")
    (tmp_path / "a.raw").write_bytes(b"one")
    (tmp_path / "b.nii").write_bytes(b"head")
    first = mask_digest(tmp_path / "a.mhd")
    assert first != mask_digest(tmp_path / "b.nii")
    (tmp_path / "a.raw").write_bytes(b"two")
    assert mask_digest(tmp_path / "a.mhd") != first


def test_a_mask_of_another_name_is_named(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for other in ("ct_one_mask.nii.gz", "seg-CT_ONE.nii.gz"):
        path = next((cohort / "truth").iterdir()).rename(cohort / "truth" / other)
        code, _, said = made(cohort, cohort / "truth", "out", capsys)
        assert code == 2
        assert f"rename {other}, if it is this scan's" in said
    path.rename(path.with_name("ct_one2.nii.gz"))
    assert "add it or leave the scan out" in made(cohort, cohort / "truth", "out", capsys)[2]


def test_masks_that_mark_nothing_are_said(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nib.save(nib.Nifti1Image(lesions(10).transpose(2, 1, 0) * 0, AFFINE), cohort / "truth/ct_one.nii.gz")
    code, _, said = made(cohort, cohort / "truth", "out", capsys)
    assert code == 0
    assert "no label marks a lesion in any scan: is it the right folder of masks?" in said


def brain_and_bleed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A brain, a bleed on its left, and grey values in which the bleed is brighter; (2, 20, 20) each."""
    brain, bleed = np.zeros((2, 2, 20, 20), bool)
    brain[:, 2:18, 2:18] = True
    bleed[:, 8:12, 4:8] = True
    return brain, bleed, np.where(bleed, 170, np.where(brain, 90, 0)).astype(np.uint8)


@pytest.mark.parametrize("grey_per_hu", [2.55, None])
def test_a_mask_that_cannot_be_its_scan_s_lesion_is_noted(grey_per_hu: float | None) -> None:
    brain, bleed, images = brain_and_bleed()
    dark = () if grey_per_hu is None else (DARK,)

    def said(mask: np.ndarray, lesion: np.ndarray | None = None) -> tuple[str, ...]:
        return about_mask(mask if lesion is None else lesion, mask.astype(np.uint8), brain, images, grey_per_hu)

    assert said(bleed) == said(bleed & False) == ()
    assert said(np.roll(bleed, -6, axis=2)) == (OUTSIDE,)
    assert said(~bleed) == said(brain & ~bleed) == (MOST,)
    assert said(bleed[:, :, ::-1]) == dark
    assert said(bleed & False, bleed) == (LOST,)
    edge = np.roll(bleed, -3, axis=2)  # a quarter lies beside the brain
    assert said(edge) == ()
    implausible = np.roll(bleed, 4, axis=2) & ~bleed
    assert said(implausible) == dark


def test_a_mirrored_mask_is_noted_in_the_set(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = lesions(10)
    labels[8:10, 28:40, 22:34] = 0
    hu = np.where(labels > 0, 65, head()).astype(np.int16)
    nib.save(nib.Nifti1Image(hu.transpose(2, 1, 0), AFFINE), cohort / "scans/ct_one.nii.gz")
    notes = []
    for out, mask in (("right", labels), ("mirrored", labels[:, :, ::-1])):
        nib.save(nib.Nifti1Image(mask.transpose(2, 1, 0), AFFINE), cohort / "truth/ct_one.nii.gz")
        code, summary, said = made(cohort, cohort / "truth", out, capsys)
        assert code == 0, said
        notes.append(summary["notes"].get("ct_one", []))
    assert [note for note in notes[1] if note not in notes[0]] == [DARK]
