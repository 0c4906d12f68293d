"""Masks in NRRD and MetaImage, with the layers and cuts of 3D Slicer, against SimpleITK's reading of the same files."""

from __future__ import annotations

import errno
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from ctseg.errors import CaseError, InputError
from ctseg.inspection.masks import inspect_masks
from ctseg.io.discover import discover, read_case
from ctseg.io.mask_files import about_unread, case_of, mask_files, mask_folder, no_masks
from ctseg.io.masks import load_mask
from ctseg.io.nifti.slicer import is_part
from ctseg.io.placing import placed
from ctseg.io.volume import Volume

sitk = pytest.importorskip("SimpleITK")

SHAPE = (18, 15, 9)
"""(X, Y, Z) of the scan."""
TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
DIRECTIONS = {
    "LPS": np.eye(3), "RAS": np.diag([-1.0, -1.0, 1.0]), "LPI": np.diag([1.0, 1.0, -1.0]), "turned": TURN,
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}  # fmt: skip
SPACING, ORIGIN = (0.7, 0.9, 2.5), (-31.5, 12.25, 104.0)


def image(array: np.ndarray, direction: str = "LPS") -> object:
    """An image of values (X, Y, Z)."""
    made = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    made.SetSpacing(SPACING)
    made.SetOrigin(ORIGIN)
    made.SetDirection(DIRECTIONS[direction].ravel().tolist())
    return made


def lesion(seed: int = 0) -> np.ndarray:
    """A mask (X, Y, Z) that is other in every mirror image."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:7, 2:9, 2:5] = 1
    mask[10, 11, 6] = 1
    mask[tuple(np.random.default_rng(seed).integers(2, 8, (3, 20)))] = 1
    return mask


def points(path: Path) -> np.ndarray:
    """(n, 3) sorted LPS mm of the marked voxels, as SimpleITK places them."""
    read = sitk.ReadImage(str(path))
    marked = np.argwhere(sitk.GetArrayFromImage(read) > 0)[:, ::-1]
    return in_order(np.array([read.TransformIndexToPhysicalPoint(index.tolist()) for index in marked]))


def points_of(mask: np.ndarray, place: Volume) -> np.ndarray:
    slices, rows, cols = np.nonzero(mask)
    return in_order(place.origins_mm[slices] + np.outer(rows, place.row_step_mm) + np.outer(cols, place.col_step_mm))


def in_order(found: np.ndarray) -> np.ndarray:
    rounded = np.round(found, 4)
    return rounded[np.lexsort(rounded.T)]


def slicer(
    path: Path, layers: list[np.ndarray], segments: list[tuple[int, int]], *, offset: tuple[int, ...] | None = None,
    packed: bool = True, direction: str = "LPS", **other: str,
) -> Path:  # fmt: skip
    """A segmentation as 3D Slicer 5.6 writes it: layers (X, Y, Z), and (layer, label value) of each segment.

    With `offset`, cut out of the scan's grid there.
    """
    steps = DIRECTIONS[direction] * np.array(SPACING)
    origin = np.array(ORIGIN) + steps @ np.array(offset or (0, 0, 0))
    vectors = " ".join(f"({','.join(map(repr, map(float, column)))})" for column in steps.T)
    is_list = len(layers) > 1
    fields = {
        "type": "unsigned char", "dimension": "4" if is_list else "3", "space": "left-posterior-superior",
        "sizes": f"{f'{len(layers)} ' if is_list else ''}{' '.join(map(str, layers[0].shape))}",
        "space directions": f"{'none ' if is_list else ''}{vectors}",
        "kinds": f"{'list ' if is_list else ''}domain domain domain", "encoding": "gzip" if packed else "raw",
        "space origin": f"({','.join(map(repr, map(float, origin)))})",
    } | {name.replace("_", " "): value for name, value in other.items()}  # fmt: skip
    lines = ["NRRD0004", "# Complete NRRD file format specification at:", *(f"{a}: {b}" for a, b in fields.items())]
    for number, (layer, value) in enumerate(segments):
        lines += [f"Segment{number}_ID:=Segment_{number + 1}", f"Segment{number}_LabelValue:={value}"]
        lines += [f"Segment{number}_Layer:={layer}", f"Segment{number}_Name:=Doe^Jane {number}"]
    lines += ["Segmentation_ContainedRepresentationNames:=Binary labelmap|Closed surface|"]
    lines += ["Segmentation_ReferenceImageExtentOffset:=" + " ".join(map(str, offset or (0, 0, 0)))]
    voxels = np.stack(layers).astype(np.uint8).ravel(order="F").tobytes()
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + (gzip.compress(voxels) if packed else voxels))
    return path


def scan(folder: Path, direction: str = "LPS") -> Volume:
    """A CT on the grid that masks are cut out of."""
    voxels = np.random.default_rng(1).normal(30, 8, SHAPE).astype(np.int16)
    voxels[:2] = -1000
    folder.mkdir(exist_ok=True, parents=True)
    sitk.WriteImage(image(voxels, direction), str(folder / "a_ct.nrrd"))
    (case,) = discover(folder / "a_ct.nrrd", "ct").cases
    return read_case(case)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".seg.nrrd"])
def test_a_mask_lies_where_simpleitk_reads_it(tmp_path: Path, suffix: str, direction: str) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image(lesion() * 3, direction), str(path), True)
    mask, place = load_mask(path)
    assert place.case_id == "a"
    assert set(np.unique(mask)) == {0, 3}
    np.testing.assert_allclose(points_of(mask, place), points(path), atol=2e-4)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "b.nii.gz"))
    other, where = load_mask(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(mask, other)
    np.testing.assert_allclose(place.origins_mm, where.origins_mm, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_cut_segmentation_is_put_on_its_scan(tmp_path: Path, direction: str) -> None:
    volume = scan(tmp_path / "scan", direction)
    whole = slicer(tmp_path / "whole.seg.nrrd", [lesion()], [(0, 1)], direction=direction)
    cut = slicer(
        tmp_path / "cut.seg.nrrd", [lesion()[2:12, 1:13, 1:8]], [(0, 1)], offset=(2, 1, 1), direction=direction
    )
    np.testing.assert_allclose(points(cut), points(whole), atol=1e-6)
    mask, place = load_mask(cut)
    assert mask.shape != volume.voxels.shape
    assert is_part(cut)
    put = placed(mask, place, volume)
    np.testing.assert_array_equal(put, load_mask(whole)[0])
    np.testing.assert_allclose(points_of(put, volume), points(cut), atol=2e-4)


def moved(place: Volume, *, by: float = 0.0, size: float = 1.0, apart: int = 1) -> Volume:
    """The geometry of a part with other places, pixels or slices."""
    return replace(
        place,
        origins_mm=place.origins_mm[::apart] + by,
        row_step_mm=place.row_step_mm * size,
        voxels=place.voxels[::apart],
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"by": 0.3}, "mm from the nearest of its scan"),
        ({"by": 40.0}, "of its scan"),
        ({"size": 2.0}, "or along other axes"),
        ({"size": 1.05}, "or along other axes"),
        ({"apart": 2}, "5 mm apart, which are no neighbours in its scan"),
    ],
)
def test_what_is_none_of_the_scans_voxels_is_refused(tmp_path: Path, change: dict[str, float], words: str) -> None:
    volume = scan(tmp_path / "scan")
    path = slicer(tmp_path / "cut.seg.nrrd", [lesion()[2:12, 1:13, 1:8]], [(0, 1)], offset=(2, 1, 1))
    mask, place = load_mask(path)
    there = moved(place, **change)
    with pytest.raises(CaseError, match=words):
        placed(mask[:: int(change.get("apart", 1))], there, volume)


def test_a_part_that_reaches_beyond_the_scan_is_refused_by_its_voxels_alone(tmp_path: Path) -> None:
    """3D Slicer cuts to the segments, which can begin beside the scan; an empty margin costs nothing."""
    volume = scan(tmp_path / "scan")
    margin = np.pad(lesion(), 2)
    mask, place = load_mask(slicer(tmp_path / "a.seg.nrrd", [margin], [(0, 1)], offset=(-2, -2, -2)))
    np.testing.assert_array_equal(placed(mask, place, volume) > 0, load_mask(tmp_path_whole(tmp_path))[0] > 0)
    margin[0, 5, 5] = 1
    mask, place = load_mask(slicer(tmp_path / "b.seg.nrrd", [margin], [(0, 1)], offset=(-2, -2, -2)))
    with pytest.raises(CaseError, match="outside of its scan"):
        placed(mask, place, volume)


def tmp_path_whole(folder: Path) -> Path:
    return slicer(folder / "whole.seg.nrrd", [lesion()], [(0, 1)])


@pytest.mark.parametrize("packed", [True, False])
def test_segments_in_layers_count_in_the_order_of_the_header(tmp_path: Path, packed: bool) -> None:
    first, second = lesion(1) * 1, lesion(2) * 1
    first[0, 0, 0] = 2
    path = slicer(tmp_path / "a.seg.nrrd", [first, second], [(0, 1), (0, 2), (1, 1)], packed=packed)
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert read.shape == (*SHAPE[::-1], 2)
    assert (second == read[..., 1].T).all()
    any_of = load_mask(path)[0]
    np.testing.assert_array_equal(any_of > 0, canonical((first > 0) | (second > 0)))
    assert set(np.unique(any_of)) == {0, 1, 2, 3}
    two, three = first == 2, second == 1
    for chosen, expected in (((1,), first == 1), ((2,), two), ((3,), three), ((2, 3), two | three)):
        np.testing.assert_array_equal(np.isin(load_mask(path, chosen)[0], chosen), canonical(expected))


def canonical(voxels: np.ndarray) -> np.ndarray:
    """(X, Y, Z) in LPS, which is canonical but for the order of axes."""
    return voxels.transpose(2, 1, 0)


def test_layers_that_the_header_does_not_explain_are_refused(tmp_path: Path) -> None:
    first, second = lesion(1), lesion(2)
    for segments, words in (
        ([], "does not say which segments its 2 layers hold"),
        ([(0, 1), (2, 1)], "does not say which segments its 2 layers hold"),
        ([(0, 1)], "voxels of no segment"),
        ([(0, 1), (1, 0)], "a segment without LabelValue"),
        ([(0, 1)] * 256, "has 256 segments, of which 255 are read"),
    ):
        with pytest.raises(CaseError, match=rf"a\.seg\.nrrd: .*{words}"):
            load_mask(slicer(tmp_path / "a.seg.nrrd", [first, second], segments))
    sitk.WriteImage(sitk.Compose([image(first), image(second)]), str(tmp_path / "b.mha"))
    with pytest.raises(CaseError, match=r"b\.mha: .*does not say which segments"):
        load_mask(tmp_path / "b.mha")


def test_layers_cannot_claim_more_than_the_file_holds(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="has 60000 layers of segments, of which 255 are read"):
        load_mask(slicer(tmp_path / "a.seg.nrrd", [lesion()] * 2, [(0, 1), (1, 1)], sizes="60000 512 512 200"))
    path = slicer(tmp_path / "a.seg.nrrd", [lesion()] * 2, [(0, 1), (1, 1)], sizes="200 512 512 200")
    with pytest.raises(CaseError, match=r"claims 10\.5 GB of voxels"):
        load_mask(path)
    data = path.read_bytes()
    begin = data.index(b"\n\n") + 2
    path.write_bytes(data[:begin].replace(b"200 512 512 200", b"2 18 15 9") + data[begin:-9] + b"\0" * 9)
    with pytest.raises(CaseError, match="damaged"):
        load_mask(path)


@pytest.mark.parametrize("direction", ["LPS", "RAS", "turned"])
def test_a_cut_label_beside_its_scan_is_read(tmp_path: Path, direction: str) -> None:
    scan(tmp_path / "scans", direction)
    slicer(
        tmp_path / "scans" / "a_ct.seg.nrrd", [lesion()[2:12, 1:13, 1:8]], [(0, 1)], offset=(2, 1, 1),
        direction=direction,
    )  # fmt: skip
    (case,) = discover(tmp_path / "scans", "ct").cases
    volume = read_case(case)
    assert volume.labels is not None
    assert volume.labels.sum() == lesion().sum()
    np.testing.assert_allclose(points_of(volume.labels, volume), points(case.label_file), atol=2e-4)
    beside = slicer(case.label_file, [lesion()[2:12, 1:13, 1:8]], [(0, 1)], offset=(2, 1, 8), direction=direction)
    with pytest.raises(CaseError, match=rf"a_ct: .*{beside.name}: has marked voxels"):
        read_case(case)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("a.nii.gz", "a"), ("a.NII.GZ", "a"), ("a.b.nii", "a.b"), ("a.seg.nrrd", "a"), ("a.nrrd", "a"), ("a.mhd", "a"),
        ("a.seg.nhdr", "a"), ("a-label.nrrd", "a-label"), ("a.hdr", "a"), (".a.nii", None), ("a.raw", None),
        ("a.csv", None), ("a", None),
    ],
)  # fmt: skip
def test_the_case_is_the_name_without_its_suffixes(name: str, case: str | None) -> None:
    assert case_of(name) == case


def test_a_folder_of_masks_names_what_is_not_read(tmp_path: Path) -> None:
    for name in (
        "a.nii.gz", "b.seg.nrrd", "c.mhd", "c.raw", "d.mgz", "e.mnc", "f.nrrd.gz", "g.dcm",
        "notes.txt", "cases.csv", "a.nii.gz.changed", "a.json", "h.zip", "i.tif",
    ):  # fmt: skip
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "3d").mkdir()
    found = mask_folder(tmp_path)
    assert list(found.masks) == ["a", "b", "c"]
    assert {item.name for item in found.unread} == {"d.mgz", "e.mnc", "f.nrrd.gz", "g.dcm", "h.zip", "i.tif"}
    (tmp_path / "a.mha").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds a\.mha and a\.nii\.gz of one case; keep one of them"):
        mask_folder(tmp_path)


def dicom(path: Path, modality: str, maker: str = "ctseg", *, preamble: bool = True) -> Path:
    """A DICOM object without pixels, such as a structure set is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = "1.2.840.10008.5.1.4.1.1.66.4", ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128 if preamble else None)
    made.SOPClassUID, made.SOPInstanceUID, made.SeriesInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3", "1.2.4"
    made.Modality, made.Manufacturer, made.PatientName = modality, maker, "Doe^Jane"
    made.save_as(path, enforce_file_format=preamble)
    return path


def unread(folder: Path) -> dict[str, str]:
    return {item.name: item.form for item in mask_folder(folder).unread}


def test_objects_beside_a_mask_are_segment_s_own_by_their_maker_alone(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    for end, modality in (("", "SEG"), ("_resampled", "SEG"), ("_rtstruct", "RTSTRUCT"), ("_sr", "SR")):
        dicom(tmp_path / f"a{end}.dcm", modality)
    assert unread(tmp_path) == {}
    assert list(mask_folder(tmp_path).masks.values()) == [tmp_path / "a.nii.gz"]
    dicom(tmp_path / "a_rtstruct.dcm", "RTSTRUCT", "")
    assert list(mask_folder(tmp_path).masks) == ["a", "a_rtstruct"]
    (tmp_path / "a_sr.dcm").write_bytes(b"not DICOM")
    assert unread(tmp_path) == {"a_sr.dcm": "DICOM"}
    dicom(tmp_path / "a.dcm", "SEG", "Clinic^Jane")
    with pytest.raises(InputError, match=r"holds a\.dcm and a\.nii\.gz of one case; keep one of them"):
        mask_folder(tmp_path)


def test_a_segmentation_is_the_mask_of_its_case_where_there_is_no_other(tmp_path: Path) -> None:
    for end, modality in (("", "SEG"), ("_resampled", "SEG"), ("_rtstruct", "RTSTRUCT"), ("_sr", "SR")):
        dicom(tmp_path / f"a{end}.dcm", modality)
    dicom(tmp_path / "b.dcm", "CT", "x")
    dicom(tmp_path / "c_resampled.DCM", "SEG", "x")
    (tmp_path / "d.nii.gz").touch()
    found = mask_folder(tmp_path)
    assert {case: file.name for case, file in found.masks.items()} == {
        "a": "a.dcm", "c_resampled": "c_resampled.DCM", "d": "d.nii.gz",
    }  # fmt: skip
    assert unread(tmp_path) == {"b.dcm": "DICOM"}
    assert list(mask_folder(dicom(tmp_path / "IM7", "SEG")).masks) == ["IM7"]
    assert mask_folder(dicom(tmp_path / "IM8", "CT")).masks == {}


def test_files_without_a_known_suffix_are_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    dicom(tmp_path / "IM0001", "SEG")
    dicom(tmp_path / "1.2.840.7", "RTSTRUCT")
    dicom(tmp_path / "old", "SEG", preamble=False)
    with gzip.open(tmp_path / "c.dcm.gz", "wb") as packed:
        packed.write((tmp_path / "IM0001").read_bytes())
    nib.save(nib.Nifti1Image(lesion(), np.eye(4)), tmp_path / "d.nii")
    (tmp_path / "d.nii").rename(tmp_path / "lesion")
    (tmp_path / "README").write_text("masks by two readers")
    (tmp_path / "empty").touch()
    assert unread(tmp_path) == {
        "lesion": "a NIfTI volume by its content",
    }  # fmt: skip
    assert set(mask_folder(tmp_path).masks) == {"a", "IM0001", "1.2.840.7", "c", "old"}
    said = about_unread(mask_folder(tmp_path).unread)
    assert said.startswith("1 file in forms that are not read (1 a NIfTI volume")
    assert "Jane" not in said
    assert inspect_masks(tmp_path).remarks[-1] == said


def test_a_mask_of_a_nifti_pair_is_read(tmp_path: Path) -> None:
    affine = np.diag([-0.7, -0.9, 2.5, 1.0])
    nib.save(nib.Nifti1Pair(lesion(), affine), tmp_path / "a.hdr")
    nib.save(nib.Nifti1Image(lesion(), affine), tmp_path / "b.nii")
    np.testing.assert_array_equal(load_mask(tmp_path / "a.hdr")[0], load_mask(tmp_path / "b.nii")[0])
    assert set(mask_folder(tmp_path).masks) == {"a", "b"}
    assert mask_folder(tmp_path).unread == ()


def test_masks_in_folders_of_their_own_are_said(tmp_path: Path) -> None:
    for folder in ("case_2", "pictures", ".cache"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pictures/a.png").write_bytes(b"")
    (tmp_path / "a.nii.gz").write_bytes(b"")
    assert unread(tmp_path) == {}
    for folder in ("case_2", ".cache"):
        (tmp_path / folder / "mask.nii.gz").write_bytes(b"")
    dicom(tmp_path / "pictures/1-1.dcm", "CT")
    assert unread(tmp_path) == {"case_2/": "folder with masks"}
    (tmp_path / "case_2/mask.nii.gz").unlink()
    (tmp_path / "case_2/deep").mkdir()
    (tmp_path / "case_2/deep/mask.mha").write_bytes(b"")
    assert unread(tmp_path) == {"case_2/deep/": "folder with masks"}
    (tmp_path / "case_2/deep/mask.mha").rename(tmp_path / "case_2/mask.mha")
    said = about_unread(mask_folder(tmp_path).unread)
    assert said == (
        "1 folder in forms that are not read (1 folder with masks), such as case_2/; "
        "case_2/: put its masks beside the others, each under its case's name, or name them in a table (--cases of "
        "`ctseg evaluate`)"
    )
    (tmp_path / ".ctseg.json").write_text("{}")
    assert unread(tmp_path) == {}


LAYOUTS = {
    "one each, of one name": (["anna/mask.nii.gz", "ben/mask.nii.gz"], {"anna", "ben"}),
    "of one name, days below": (["anna/1/Mask.nii.gz", "anna/2/mask.nii.gz"], {"anna_1", "anna_2"}),
    "the only one, of a word for a mask": (["anna/lesion_mask.mha"], {"anna"}),
    "the only one, of a name": (["set/anna.nii"], {"anna"}),
    "of names of their own": (["fold_0/anna.nii.gz", "fold_0/ben.nii.gz", "fold_1/carl.nrrd"], {"anna", "ben", "carl"}),
    "BIDS": (
        [f"sub-0{n}/anat/sub-0{n}_label-lesion_mask.nii.gz" for n in (1, 2)],
        {"sub-01_label-lesion_mask", "sub-02_label-lesion_mask"},
    ),
    "a pair, a header with its voxels": (["anna/mask.hdr", "anna/mask.img", "ben/mask.hdr", "ben/mask.img"],
                                         {"anna", "ben"}),
    "two of a case": (["anna/mask.nii.gz", "anna/brain.nii.gz", "ben/mask.nii.gz"], set()),
    "two readers": (["one/anna.nii.gz", "two/anna.nii.gz", "two/ben.nii.gz"], set()),
    "beside masks above": (["ben.nii.gz", "old/anna.nii.gz"], {"ben"}),
    "another's output": (["anna/mask.nii.gz", "own/.ctseg.json", "own/ben.nii.gz"], {"anna"}),
}  # fmt: skip
"""Files of a folder, and its cases."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_masks_in_folders_below_have_a_case_or_are_said(tmp_path: Path, name: str) -> None:
    """What other tools write: `CASE/mask.nii.gz`. Where it is open which mask is the one of a case, none is."""
    files, cases = LAYOUTS[name]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text('{"kind": "segment"}' if file.endswith("json") else "")
    found = mask_folder(tmp_path)
    assert set(found.masks) == cases
    read = {str(path.relative_to(tmp_path)) for path in found.masks.values()}
    left = {str(Path(file).parent) for file in files} - {str(Path(file).parent) for file in read}
    assert {item.name.rstrip("/") for item in found.unread} == left
    if not cases:
        assert "name them in a table (--cases of `ctseg evaluate`)" in str(no_masks(tmp_path, found))


def test_two_files_of_one_case_in_folders_below_are_refused(tmp_path: Path) -> None:
    for place in ("a/b_c", "a_b/c"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "mask.nii.gz").touch()
    with pytest.raises(InputError, match=r"holds a/b_c/mask.nii.gz and a_b/c/mask.nii.gz of one case; keep one"):
        mask_folder(tmp_path)


def test_other_forms_in_folders_below_are_said(tmp_path: Path) -> None:
    for place in ("anna", "ben"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "mask.nii.gz").touch()
    (tmp_path / "ben/lesion.mgz").touch()
    (tmp_path / "ben/mask.nii.gz.bak").touch()
    assert unread(tmp_path) == {"ben/lesion.mgz": "FreeSurfer"}


def test_dicom_masks_in_folders_below_are_found(tmp_path: Path) -> None:
    """As archives and other programs write them: each in its folder, all of one name, packed or not."""
    for place in ("p1/s1", "p1/s2", "p2", ".hidden", "own"):
        (tmp_path / place).mkdir(parents=True)
        dicom(tmp_path / place / "1-1.dcm", "SEG" if place != "p2" else "RTSTRUCT", "x")
    dicom(tmp_path / "p2/ct.dcm", "CT", "x")
    (tmp_path / "own/.ctseg.json").write_text('{"kind": "segment"}')
    dicom(tmp_path / "top.dcm", "SEG", "x")
    with gzip.open(tmp_path / "p2/b.dcm.gz", "wb") as packed:
        packed.write((tmp_path / "top.dcm").read_bytes())
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied/c.nii.gz").touch()
    dicom(tmp_path / "copied/c.dcm", "SEG")
    found = mask_folder(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found.masks.values()] == [
        "top.dcm", "p1/s1/1-1.dcm", "p1/s2/1-1.dcm", "p2/1-1.dcm", "p2/b.dcm.gz",
    ]  # fmt: skip
    cases = list(found.masks)
    assert cases[0] == "top"
    assert cases[4] == "b"
    assert all(re.fullmatch(r"1-1-[0-9a-f]{6}", case) for case in cases[1:4])
    assert len(set(cases)) == 5
    assert mask_folder(tmp_path).masks == found.masks
    assert unread(tmp_path) == {"copied/": "folder with masks", "own/": "folder with masks"}
    assert about_unread(found.unread).startswith("2 folders in forms that are not read (2 folders with masks), such as")
    assert [file for _, file in mask_files(tmp_path)[0]] == list(found.masks.values())


def test_an_archive_of_masks_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "more.zip").write_bytes(b"")
    (tmp_path / "rest.tar.gz").write_bytes(b"")
    said = about_unread(mask_folder(tmp_path).unread)
    assert said == (
        "2 files in forms that are not read (1 .zip, 1 .gz), such as more.zip; more.zip: an archive; unpack it and "
        "give the folder, or put its masks beside the others"
    )
    assert "more.zip: an archive; unpack it and give the folder" in about_unread(
        mask_folder(tmp_path / "more.zip").unread
    )


def test_a_folder_that_cannot_be_opened_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "b.mgz").write_bytes(b"")
    inside = os.scandir

    def refused(folder: Path = Path()) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return inside(folder)

    monkeypatch.setattr(os, "scandir", refused)
    said = about_unread(mask_folder(tmp_path).unread)
    assert said.startswith("2 names in forms that are not read (1 FreeSurfer, 1 folder that cannot be opened)")
    assert said.endswith("closed/: check its permissions")
