from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from killed_worker import DeadlyName
from pydicom.uid import generate_uid
from scipy.ndimage import gaussian_filter, zoom

from ctseg.errors import CaseError, InputError
from ctseg.inference.results import CASE_FILES, files_of
from ctseg.io import discover as module
from ctseg.io import source as source_module
from ctseg.io.case import safe_name
from ctseg.io.dicom import header as dicom_header
from ctseg.io.dicom.reader import case_name, pseudonym
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover, read_case
from ctseg.io.masks import save_mask

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]
RAS = np.diag([1.0, 1.0, 2.0, 1.0]) + np.array([[0, 0, 0, -9], [0, 0, 0, -8], [0, 0, 0, 4], [0, 0, 0, 0]])


def nifti(path: Path, array: np.ndarray, affine: np.ndarray = RAS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write_scan(path: Path, seed: int = 0) -> Path:
    return nifti(path, np.random.default_rng(seed).integers(-900, 900, (8, 8, 6)).astype(np.int16))


@pytest.fixture
def mr(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(100, 900, (8, 8, 6)).astype(np.int16)


@pytest.fixture
def label() -> np.ndarray:
    mask = np.zeros((8, 8, 6), np.uint8)
    mask[2:4, 3, 1] = 2
    return mask


def reasons(found: module.Discovery) -> str:
    return "\n".join(map(str, found.rejected))


def msd(folder: Path, mr: np.ndarray, label: np.ndarray, **more: Any) -> Path:
    four = np.stack([mr, mr + 1, mr + 2, mr + 3], axis=-1)
    for name in ("BRATS_001", "BRATS_002"):
        nifti(folder / f"imagesTr/{name}.nii.gz", four, np.eye(4))
        nifti(folder / f"labelsTr/{name}.nii.gz", label, np.eye(4))
    info = {
        "modality": {"0": "T1w", "1": "T2w", "2": "FLAIR", "3": "t1gd"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("BRATS_001", "BRATS_002")
        ],
        "test": ["./imagesTs/BRATS_003.nii.gz"],
        **more,
    }
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def test_decathlon_task(tmp_path: Path, mr: np.ndarray, label: np.ndarray) -> None:
    found = discover(msd(tmp_path / "Task01", mr, label))
    assert [(case.case_id, case.kind, case.domain, case.channel) for case in found.cases] == [
        ("BRATS_001", "msd", "mr", 2),
        ("BRATS_002", "msd", "mr", 2),
    ]
    assert "1 test images without labels are not used" in reasons(found)
    volume = read_case(pickle.loads(pickle.dumps(found.cases[0])))  # noqa: S301
    np.testing.assert_array_equal(volume.voxels, (mr + 2)[::-1, ::-1].T)
    assert volume.labels is not None
    np.testing.assert_array_equal(volume.labels, label[::-1, ::-1].T)
    assert any("no orientation" in note for note in volume.notes)
    turned = read_case(replace(found.cases[0], orientation="LPS"))
    np.testing.assert_array_equal(turned.voxels, (mr + 2).T)
    assert turned.labels is not None
    np.testing.assert_array_equal(turned.labels, label.T)


def test_decathlon_task_lists_what_is_missing_or_outside(tmp_path: Path, mr: np.ndarray, label: np.ndarray) -> None:
    nifti(tmp_path / "elsewhere.nii.gz", mr)
    task = msd(
        tmp_path / "Task01",
        mr,
        label,
        training=[
            {"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"},
            {"image": "./imagesTr/BRATS_009.nii.gz", "label": "./labelsTr/BRATS_009.nii.gz"},
            {"image": "../elsewhere.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"},
        ],
    )
    found = discover(task)
    assert [case.case_id for case in found.cases] == ["BRATS_001"]
    assert "BRATS_009.nii.gz is missing" in reasons(found)
    assert "points outside its folder" in reasons(found)
    with pytest.raises(InputError, match="not ct"):
        discover(task, "ct")


def test_nnunet_task(tmp_path: Path, mr: np.ndarray, label: np.ndarray) -> None:
    for channel in range(2):
        nifti(tmp_path / f"T/imagesTr/a_{channel:04d}.nii.gz", mr + channel)
    nifti(tmp_path / "T/labelsTr/a.nii.gz", label)
    (tmp_path / "T/dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "FLAIR"}}))
    (case,) = discover(tmp_path / "T").cases
    assert case.case_id == "a"
    volume = read_case(case)
    np.testing.assert_array_equal(volume.voxels, (mr + 1)[::-1, ::-1].T)
    assert volume.labels is not None
    assert volume.labels.sum() == label.sum()


@pytest.mark.parametrize(
    ("flair", "seg", "others"),
    [
        ("{}_flair.nii.gz", "{}_seg.nii.gz", ("{}_t1.nii.gz", "{}_t1ce.nii.gz", "{}_t2.nii.gz")),
        ("{}-t2f.nii.gz", "{}-seg.nii.gz", ("{}-t1n.nii.gz", "{}-t1c.nii.gz", "{}-t2w.nii.gz")),
    ],
)
def test_brats_folders(
    tmp_path: Path, mr: np.ndarray, label: np.ndarray, flair: str, seg: str, others: tuple[str, ...]
) -> None:
    for case in ("BraTS-GLI-00005-000", "BraTS-GLI-00006-000"):
        for pattern in (flair, *others):
            nifti(tmp_path / case / pattern.format(case), mr)
        nifti(tmp_path / case / seg.format(case), label)
    found = discover(tmp_path)
    assert [case.case_id for case in found.cases] == ["BraTS-GLI-00005-000", "BraTS-GLI-00006-000"]
    assert all(case.label_file and case.domain == "mr" for case in found.cases)
    assert len(found.rejected) == 6
    assert "another contrast" in reasons(found)


@pytest.mark.parametrize(
    ("image", "seg"),
    [
        ("a/scan1.nii.gz", "a/scan1_seg.nii.gz"),
        ("a/scan1.nii.gz", "a/scan1-label.nii"),
        ("a/scan1_flair.nii", "a/scan1_lesions.nii.gz"),
        ("imagesTr/scan1_0000.nii.gz", "labelsTr/scan1.nii.gz"),
        ("images/scan1.nii.gz", "ground truths/scan1.nii.gz"),
    ],
)
def test_labels_beside_their_scans(tmp_path: Path, mr: np.ndarray, label: np.ndarray, image: str, seg: str) -> None:
    nifti(tmp_path / image, mr)
    nifti(tmp_path / seg, label)
    (case,) = discover(tmp_path).cases
    assert case.label_file == tmp_path / seg
    labels = read_case(case).labels
    assert labels is not None
    assert labels.sum() == label.sum()


def test_domains_are_told_from_the_voxels(
    tmp_path: Path, mr: np.ndarray, label: np.ndarray, head_ct: np.ndarray
) -> None:
    nifti(tmp_path / "one.nii.gz", mr)
    nifti(tmp_path / "two.nii.gz", head_ct.T.astype(np.int16))
    nifti(tmp_path / "three.nii.gz", label)
    found = discover(tmp_path)
    assert {case.case_id: case.domain for case in found.cases} == {"one": "mr", "two": "ct"}
    assert "three.nii.gz: a mask" in reasons(found)
    assert discover(tmp_path / "one.nii.gz", "ct").cases[0].domain == "ct"
    with pytest.raises(CaseError, match="one: not HU"):
        read_case(discover(tmp_path / "one.nii.gz", "ct").cases[0])


def test_names_that_differ_in_case_alone_stay_apart_on_any_disk(tmp_path: Path, mr: np.ndarray) -> None:
    for place, name in enumerate(("Head.nii", "head.nii", "HEAD2.nii")):
        nib.save(nib.Nifti1Image(mr + place, np.eye(4)), tmp_path / name)
    names = [case.case_id for case in discover([tmp_path], "mr").cases]
    assert "HEAD2" in names
    assert len({name.casefold() for name in names}) == 3
    (tmp_path / "Head.nii").unlink()
    assert "head" in [case.case_id for case in discover([tmp_path], "mr").cases]


def test_files_of_one_name_stay_apart(tmp_path: Path, mr: np.ndarray) -> None:
    for folder in ("p1", "p2"):
        nifti(tmp_path / folder / "scan.nii.gz", mr)
    assert [case.case_id for case in discover(tmp_path).cases] == ["p1_scan", "p2_scan"]


def test_labels_on_another_grid_are_a_case_error(tmp_path: Path, mr: np.ndarray, label: np.ndarray) -> None:
    nifti(tmp_path / "a.nii.gz", mr)
    nifti(tmp_path / "a_seg.nii.gz", label[:-1])
    with pytest.raises(CaseError, match=r"a: .*a_seg.nii.gz: has 7 x 8 x 6 voxels, the scan 8 x 8 x 6"):
        read_case(discover(tmp_path).cases[0])
    moved = RAS.copy()
    moved[0, 3] += 3
    nifti(tmp_path / "a_seg.nii.gz", label, moved)
    with pytest.raises(CaseError, match="lies elsewhere"):
        read_case(discover(tmp_path).cases[0])


def test_broken_nifti_beside_good_ones_is_left_out_by_name(tmp_path: Path, mr: np.ndarray) -> None:
    nifti(tmp_path / "good.nii.gz", mr)
    (tmp_path / "bad.nii.gz").write_text("no image")
    found = discover(tmp_path)
    assert [case.case_id for case in found.cases] == ["good"]
    assert "bad.nii.gz" in reasons(found)
    with pytest.raises(InputError, match=r"bad\.nii\.gz: holds no scan that can be read"):
        discover(tmp_path / "bad.nii.gz")


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        discover(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: an empty folder; looked for DICOM"):
        discover(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="empty: holds no scan; looked for"):
        discover([tmp_path / "empty"])


def test_a_flat_folder_of_mixed_series(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    folder = write_series(head_ct, straight)[0].parent
    for number, path in enumerate(write_series(head_ct[:4], straight[:4], folder="x", SeriesInstanceUID="1.2.9")):
        path.rename(folder / f"b{number}.dcm")
    seen: list[tuple[int, int]] = []
    found = discover(folder, progress=lambda done, total, note: seen.append((done, total)))
    assert sorted(len(case.files) for case in found.cases) == [4, 6]
    assert len({case.patient_id for case in found.cases}) == 1
    assert seen[-1] == (10, 10)
    for case in found.cases:
        np.testing.assert_array_equal(read_case(case).voxels, head_ct[: len(case.files)])


@pytest.mark.slow
def test_workers_find_the_same(
    write_series: Write, head_ct: np.ndarray, straight: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctseg.io.discover.PARALLEL_FROM", 2)
    monkeypatch.setattr("ctseg.io.discover.CHUNK", 2)
    folder = write_series(head_ct, straight)[0].parent
    assert discover(folder, workers=2) == discover(folder)


@pytest.mark.slow
def test_a_file_that_kills_its_worker_costs_that_file(
    write_series: Write, head_ct: np.ndarray, straight: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PARALLEL_FROM", 2)
    monkeypatch.setattr(module, "CHUNK", 3)
    names = [str(path) for path in write_series(head_ct, straight)]
    names[1] = DeadlyName(names[1])
    headers = list(module._read_headers([dicom_header.Source(name) for name in names], 2, None))
    assert [isinstance(header, dicom_header.SliceHeader) for header in headers] == [True, False, True, True, True, True]
    assert "a worker process was killed" in str(headers[1])


def test_what_is_no_slice_is_told_by_kind(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    folder = write_series(head_ct, straight)[0].parent.parent
    one = (head_ct[:1], straight[:1])
    uid = iter(range(100))

    def series() -> str:
        return f"1.2.{next(uid)}"

    write_series(*one, "loc", SeriesInstanceUID=series(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(*one, "sc", SeriesInstanceUID=series(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_series(*one, "dose", SeriesInstanceUID=series(), ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    write_series(*one, "mr", SeriesInstanceUID=series(), Modality="PT")
    write_series(*one, "sr", SeriesInstanceUID=series(), Modality="SR", Rows=None, Columns=None)
    write_series(*one, "multi", SeriesInstanceUID=series(), NumberOfFrames=2)
    write_series(*one, "scout", SeriesInstanceUID=series(), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    (folder / "text.dcm").write_text("no DICOM")
    (folder / "nothing.dcm").write_bytes(b"")
    (folder / "DICOMDIR").write_bytes(b"whatever")
    found = discover(folder)
    assert len(found.cases) == 1
    told = reasons(found)
    for word in (
        "localiser",
        "secondary capture",
        "screen save",
        "modality PT, not CT or MR",
        "no image (SR",
        "multi-frame",
        "sagittal or coronal slice",
        "text.dcm: not a readable DICOM file",
        "nothing.dcm: empty file",
    ):
        assert word in told, told
    assert "DICOMDIR" not in told


def test_strays_and_repeats_within_a_series(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    folder = write_series(head_ct, straight, AcquisitionNumber=1)[0].parent.parent
    write_series(head_ct[:1], straight[:1], "stray", PixelSpacing=[0.9, 0.9])
    write_series(head_ct + 7, straight, "contrast", AcquisitionNumber=2)
    found = discover(folder)
    assert [len(case.files) for case in found.cases] == [6, 6]
    assert len({case.case_id for case in found.cases}) == 2
    assert all("split by AcquisitionNumber" in case.notes[1] for case in found.cases)
    assert all(case.notes[0].startswith("left out of its series") for case in found.cases)
    assert "unlike the 12 other slices" in reasons(found)
    assert {float(read_case(case).voxels.max()) for case in found.cases} == {head_ct.max(), head_ct.max() + 7}


def heads(found: module.Discovery) -> list[tuple[int, float]]:
    """Slices and largest HU of each case, in no order."""
    return sorted((len(case.files), float(read_case(case).voxels.max())) for case in found.cases)


BETWEEN = [(0.0, 0.0, 1.7 + 5 * k) for k in range(6)]
"""Positions between those of a straight series."""


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "FrameOfReferenceUID", "AcquisitionNumber", "AcquisitionTime"])
def test_two_scans_under_one_series_uid_are_split(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tag: str
) -> None:
    values = {"AcquisitionNumber": ("1", "2"), "AcquisitionTime": ("101010", "111111")}.get(tag, ("1.2.1", "1.2.2"))
    for place, (hu, positions) in enumerate(((head_ct, straight), (head_ct + 7, BETWEEN))):
        for number, path in enumerate(write_series(hu, positions, f"part{place}", **{tag: values[place]})):
            dataset = pydicom.dcmread(path)
            dataset.InstanceNumber = number + 1
            path.unlink()
            path.parent.parent.joinpath("all").mkdir(exist_ok=True)
            dataset.save_as(path.parent.parent / "all" / f"{place}-{path.name}", enforce_file_format=True)
    found = discover(path.parent.parent / "all", "ct")
    assert heads(found) == [(6, head_ct.max()), (6, head_ct.max() + 7)]
    assert len({case.case_id for case in found.cases}) == 2


def test_scans_without_uids_are_apart_by_folder(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    blank = dict.fromkeys(("SeriesInstanceUID", "StudyInstanceUID", "PatientID"), "")
    write_series(head_ct, straight, "a", **blank)
    write_series(head_ct + 7, BETWEEN, "b", **blank)
    assert heads(discover(tmp_path, "ct")) == [(6, head_ct.max()), (6, head_ct.max() + 7)]


def test_interleaved_scans_that_nothing_tells_apart_are_refused(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    files = write_series(head_ct, straight, "all", InstanceNumber=None)
    for path, z in zip(list(files), [position[2] for position in straight], strict=True):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = round(dataset.ImagePositionPatient[2]) + 1000
        dataset.save_as(path)
        dataset.ImagePositionPatient[2] = float(dataset.ImagePositionPatient[2]) + 1.7
        dataset.SOPInstanceUID = generate_uid()
        dataset.save_as(path.with_name(f"again-{z}.dcm"))
    write_series(head_ct, straight, "good", SeriesInstanceUID="1.2.9")
    found = discover(tmp_path, "ct")
    assert [len(case.files) for case in found.cases] == [6]
    (refused,) = found.rejected
    assert refused.broken
    assert "two scans at interleaved positions" in refused.reason


def turned(files: list[Path], angle: float, *, scramble: bool = False) -> None:
    """Every second slice of a series turned about the left-right axis; numbered by place, or in no order."""
    order = np.random.default_rng(5).permutation(len(files)) if scramble else np.arange(len(files))
    for path in files:
        dataset = pydicom.dcmread(path)
        place = round(dataset.ImagePositionPatient[2] / 5)
        slant = angle * (place % 2)
        dataset.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(slant), 5), round(np.sin(slant), 5)]
        dataset.InstanceNumber = int(order[place]) + 1
        dataset.save_as(path)


@pytest.mark.parametrize("angle", [0.0015, 0.003, 0.008])
def test_orientations_that_differ_in_the_third_digit_are_one_scan(
    write_series: Write, head_ct: np.ndarray, straight: Positions, angle: float
) -> None:
    """dcm2niix makes two scans of them, each with every second slice; 24.2 mL had been 16.1 and 32.3."""
    files = write_series(head_ct, straight)
    turned(files, angle)
    (case,) = discover(files[0].parent, "ct").cases
    volume = read_case(case)
    np.testing.assert_array_equal(volume.voxels, head_ct)
    np.testing.assert_allclose(volume.slab_mm, 5, rtol=1e-3)
    said = f"orientations of the slices differ by up to {np.degrees(angle):.2f} degrees; taken as one scan"
    assert said in volume.notes


@pytest.mark.parametrize(("angle", "scramble"), [(0.02, False), (0.003, True)])
def test_other_orientations_and_slices_in_no_order_stay_parts(
    write_series: Write, head_ct: np.ndarray, straight: Positions, angle: float, scramble: bool
) -> None:
    files = write_series(head_ct, straight)
    turned(files, angle, scramble=scramble)
    cases = discover(files[0].parent, "ct").cases
    assert [len(case.files) for case in cases] == [3, 3]
    assert all("one of 2 parts of its series" in note for case in cases for note in read_case(case).notes[:1])


def test_two_blocks_that_count_from_one_are_one_scan(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    files = write_series(head_ct, straight)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = 1 + round(dataset.ImagePositionPatient[2] / 5) % 3
        dataset.save_as(path)
    assert [len(case.files) for case in discover(files[0].parent).cases] == [6]


def test_a_series_and_its_copy_in_another_folder_are_one_scan(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    write_series(head_ct, straight, "one")
    files = write_series(head_ct, straight, "two")
    (case,) = discover(files[0].parent.parent).cases
    assert "6 identical copies of slices dropped" in read_case(case).notes


def test_a_frame_of_reference_for_each_slice_splits_nothing(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    files = write_series(head_ct, straight)
    for number, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = f"1.2.{number}"
        dataset.save_as(path)
    assert [len(case.files) for case in discover(files[0].parent).cases] == [6]


def zipped(path: Path, files: list[Path], names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, name in zip(files, names, strict=True):
            archive.writestr(name, file.read_bytes())
    return path


def test_zips_are_read_from_memory_whatever_their_names(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    files = write_series(head_ct, straight)
    names = ["../../evil.dcm", "/abs.dcm", "a//b.dcm", "a/b.dcm", "C:\\x.dcm", "plain"]
    archive = zipped(tmp_path / "z.zip", files, names)
    before = sorted(tmp_path.rglob("*"))
    (case,) = discover(archive).cases
    volume = read_case(pickle.loads(pickle.dumps(case)))  # noqa: S301
    np.testing.assert_array_equal(volume.voxels, head_ct)
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_members_that_swell_are_refused(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_series(head_ct, straight)
    bomb = tmp_path / "bomb"
    bomb.write_bytes(b"\0" * 200_000)
    archive = zipped(tmp_path / "z.zip", [*files, bomb], [f"{index}" for index in range(7)])
    monkeypatch.setattr(source_module, "MAX_MEMBER_BYTES", 100_000)
    found = discover(archive)
    assert "z.zip[6]: unpacks to more than 2 GiB" in reasons(found)
    assert len(found.cases) == 1
    assert "unpacks to more" in str(dicom_header.read_header(dicom_header.Source(str(archive), "6")))


def test_a_broken_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "z.zip").write_bytes(b"PK but no zip")
    with pytest.raises(InputError, match=r"z\.zip: holds no scan that can be read; not a readable zip"):
        discover(tmp_path / "z.zip")


def test_a_header_cut_short_is_left_out_by_name(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    files = write_series(head_ct, straight)
    files[1].write_bytes(files[1].read_bytes()[:600])
    found = discover(files[0].parent)
    assert "001.dcm: the header ends early" in reasons(found)
    assert len(found.cases[0].files) == 5


def test_a_broken_case_names_itself_and_the_file(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    files = write_series(head_ct, straight)
    files[1].write_bytes(files[1].read_bytes()[:-600])
    (case,) = discover(files[0].parent).cases
    with pytest.raises(CaseError, match=rf"^{case.case_id}: .*001\.dcm: has 0\.4 of 0\.9 KiB"):
        read_case(case)


def test_no_identity_leaves(write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path) -> None:
    files = write_series(head_ct, straight, GantryDetectorTilt=9)
    write_series(head_ct[:1], straight[:1], "loc", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    found = discover(tmp_path)
    (case,) = found.cases
    dataset = pydicom.dcmread(files[0])
    patient, name = str(dataset.PatientID), str(dataset.PatientName)
    assert case.patient_id == pseudonym(patient)
    assert case.case_id == case_name(patient, str(dataset.SeriesInstanceUID))
    volume = read_case(case)
    save_mask(tmp_path / "out" / f"{case.case_id}.nii.gz", volume, volume.voxels > 0)
    files[0].write_bytes(files[0].read_bytes()[:-600])
    with pytest.raises(CaseError) as caught:
        read_case(case)
    written = "".join(path.name + path.read_bytes().decode("latin-1") for path in (tmp_path / "out").iterdir())
    for text in (str(found), str(caught.value), str(volume.notes), repr(volume), written):
        assert patient not in text
        assert name not in text


def test_series_without_patient_ids_stay_apart_by_study(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    for number in range(2):
        uid = generate_uid(entropy_srcs=[str(number)])
        write_series(
            head_ct, straight, f"s{number}", PatientID=None, StudyInstanceUID=uid, SeriesInstanceUID=uid + ".1"
        )
    assert len({case.patient_id for case in discover(tmp_path).cases}) == 2


def test_real_scans_of_every_kind(real_data: Path) -> None:
    found = discover(real_data)
    told = {case.case_id: (case.domain, case.label_file is not None) for case in found.cases}
    assert told.pop(next(name for name in told if name.startswith("P"))) == ("ct", False)
    assert told == {
        "BRATS_009_slab": ("mr", True),
        "BRATS_119_slab": ("mr", True),
        "ct_brain_atlas_1mm": ("ct", False),
        "patient07": ("mr", True),
        "patient19": ("mr", True),
        "scct_hu_2mm": ("ct", False),
    }
    assert len(found.rejected) == 3  # two coverage masks and a brain mask


def outline_and_ventricles(section: np.ndarray) -> np.ndarray:
    """A slice cut to its brain, 96 x 80, smooth, tissue near 1: comparable between patients."""
    rows, columns = (np.flatnonzero((section > 0).any(axis=axis)) for axis in (1, 0))
    brain = section[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
    brain = zoom(brain, (96 / brain.shape[0], 80 / brain.shape[1]), order=1)
    return gaussian_filter(np.clip(brain / np.median(brain[brain > 0]), 0, 1.2), 2)[16:80, 14:66].ravel()


@pytest.mark.slow
@pytest.mark.parametrize("patient", ["patient07", "patient19"])
@pytest.mark.parametrize("index", [3, 7, 10])
def test_real_glioma_slices_have_the_front_at_the_top(real_data: Path, index: int, patient: str) -> None:
    """The slab's header says nothing: its slices must fit brains with trusted headers better than upside down ones do.

    Slices at the lateral ventricles, where coverage is whole; the best of the trusted slices counts.
    """
    slab = read_case(discover(real_data / "mr-msd-task01", "mr").cases[1])
    trusted = read_case(
        next(case for case in discover(real_data / "mr-ms-flair", "mr").cases if case.case_id == patient)
    )
    fits = [
        max(
            np.corrcoef(outline_and_ventricles(section), outline_and_ventricles(trusted.voxels[height]))[0, 1]
            for height in range(70, 115, 6)
        )
        for section in (slab.voxels[index], slab.voxels[index][::-1])
    ]
    assert fits[0] > fits[1] + 0.03


def test_a_broken_nifti_is_a_case_that_fails_where_the_domain_is_known(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"garbage")
    (case,) = discover(tmp_path, "ct").cases
    with pytest.raises(CaseError, match=r"^a: .*a\.nii\.gz: not a NIfTI file"):
        read_case(case)
    with pytest.raises(InputError, match=r"a\.nii\.gz: holds no|holds no scan"):
        discover(tmp_path)


def test_broken_files_are_told_from_those_that_are_no_scan(tmp_path: Path, mr: np.ndarray) -> None:
    nifti(tmp_path / "a.nii.gz", mr)
    for name in ("b.dcm", "c.zip", "README", "d.img"):
        (tmp_path / name).write_bytes(b"garbage")
    found = discover(tmp_path, "mr")
    assert {Path(item.path_or_series).name for item in found.rejected if item.broken} == {"b.dcm", "c.zip"}
    assert {Path(item.path_or_series).name for item in found.rejected if not item.broken} == {"README", "d.img"}


def test_names_are_tied_to_the_file_not_to_the_others(tmp_path: Path) -> None:
    """Two Chinese names, then one more: each case keeps its name, which holds no letter of the patient's."""
    for name in ("\u60a3\u8005\u7532", "\u60a3\u8005\u4e59"):
        write_scan(tmp_path / f"{name}.nii.gz")
    before = {case.files[0].name: case.case_id for case in discover(tmp_path, "ct").cases}
    write_scan(tmp_path / "\u60a3\u8005\u4e01.nii.gz")
    after = {case.files[0].name: case.case_id for case in discover(tmp_path, "ct").cases}
    assert before.items() <= after.items()
    assert len(set(after.values())) == 3
    assert all(re.fullmatch(r"case-[0-9a-f]{6}", name) for name in after.values())


def test_names_that_become_the_same_get_a_digest_of_their_input(tmp_path: Path) -> None:
    write_scan(tmp_path / "a b.nii.gz", 1)
    write_scan(tmp_path / "a_b.nii.gz", 2)
    folder = safe_name(tmp_path.name)
    names = {case.files[0].name: case.case_id for case in discover(tmp_path, "ct").cases}
    for file, name in names.items():
        digest = sha256((tmp_path / file).read_bytes()).hexdigest()
        assert name == f"{folder}_a_b-{digest[:6]}"


def test_copies_of_one_input_are_numbered(tmp_path: Path) -> None:
    write_scan(tmp_path / "x" / "1" / "a.nii.gz")
    (tmp_path / "y" / "1").mkdir(parents=True)
    (tmp_path / "y" / "1" / "a.nii.gz").write_bytes((tmp_path / "x" / "1" / "a.nii.gz").read_bytes())
    one, two = (case.case_id for case in discover(tmp_path, "ct").cases)
    assert two == f"{one}-2"


@pytest.mark.parametrize("name", ["volumes", "VOLUMES", "a_sr", "A_SR", "a_rtstruct", "a_resampled", "report"])
def test_no_case_shares_a_file_with_a_table_or_another_case(tmp_path: Path, name: str) -> None:
    for scan in ("a", name):
        write_scan(tmp_path / f"{scan}.nii.gz")
    cases = [case.case_id for case in discover(tmp_path, "ct").cases]
    paths = [[template.format(case).casefold() for template in CASE_FILES] for case in cases]
    tables = {path.casefold() for path in files_of([])}
    assert len(set(paths[0]) | set(paths[1])) == 2 * len(CASE_FILES)
    assert not tables & {path for own in paths for path in own}
    assert "a" in cases


def test_a_suffix_alone_changes_no_name(tmp_path: Path) -> None:
    write_scan(tmp_path / "b_sr.nii.gz")
    assert [case.case_id for case in discover(tmp_path, "ct").cases] == ["b_sr"]


def test_a_series_digest_depends_on_neither_names_nor_place(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    files = write_series(head_ct, straight)
    (case,) = discover(files[0].parent).cases
    archive = zipped(tmp_path / "z.zip", files[::-1], [f"{number}.dcm" for number in range(len(files))])
    (inside,) = discover(archive).cases
    assert input_digest(case) == input_digest(inside)
    files[0].write_bytes(files[0].read_bytes() + b"\0")
    assert input_digest(case) != input_digest(inside)


@pytest.mark.parametrize(("patient", "said"), [("", True), ("P1", False)])
def test_a_series_of_no_patient_is_said(
    tmp_path: Path, write_series: Write, head_ct: np.ndarray, straight: Positions, patient: str, said: bool
) -> None:
    write_series(head_ct, straight, "s", PatientID=patient)
    (case,) = discover(tmp_path, "ct").cases
    assert ("no PatientID" in " ".join(case.notes)) == said
