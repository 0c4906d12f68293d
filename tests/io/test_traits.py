"""Series that are not plain slices say so; sizes that no head has are refused or noted."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from ctseg.errors import CaseError, InputError
from ctseg.io.discover import discover, read_case
from ctseg.io.extent import _largest_part, check_head
from ctseg.io.masks import load_mask
from ctseg.io.nifti.volumes import read_nifti
from ctseg.io.slices import open_slices

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]
PROJECTION, REFORMATTED, CONTRAST = "a projection", "reformatted", "taken with a contrast agent"
SPECTRAL, DERIVED, MAP = "computed from two energies", "derived from other images", "a map of perfusion"
CAPTURED, HALF = "a secondary capture", "one of two energies"


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ({}, []),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE"]}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "PRIMARY", "MIN_IP"]}, [PROJECTION]),
        ({"SeriesDescription": "Head 10/5 MIP ax"}, [PROJECTION]),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, [REFORMATTED]),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]}, [REFORMATTED]),
        ({"SeriesDescription": "MPR cor 3.0"}, [REFORMATTED]),
        ({"ContrastBolusAgent": "Ultravist 300"}, [CONTRAST]),
        ({"ContrastBolusAgent": "NONE"}, []),
        ({"SeriesDescription": "CTA Carotids 0.6 B20f"}, [CONTRAST]),
        ({"SeriesDescription": "HEAD +C"}, [CONTRAST]),
        ({"SeriesDescription": "Head C+ venous"}, [CONTRAST]),
        ({"SeriesDescription": "Schädel mit KM"}, [CONTRAST]),
        ({"SeriesDescription": "Schädel ohne KM", "ContrastBolusAgent": "APPLIED"}, []),
        ({"SeriesDescription": "HEAD W/O CONTRAST"}, []),
        ({"SeriesDescription": "Head without IV contrast 5mm"}, []),
        ({"SeriesDescription": "NON-CONTRAST HEAD"}, []),
        ({"SeriesDescription": "noncontrast"}, []),
        ({"SeriesDescription": "Unenhanced brain"}, []),
        ({"SeriesDescription": "CTA MIP ax", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
         [PROJECTION, REFORMATTED, CONTRAST]),
        ({"SeriesDescription": "Compromised, C-spine, mprage"}, []),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, [DERIVED]),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI", "DE_MIXED"]}, [SPECTRAL]),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "VMI"]}, [SPECTRAL]),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "GSI"]}, [SPECTRAL]),
        ({"SeriesDescription": "Head Monoenergetic Plus 70 keV"}, [SPECTRAL]),
        ({"SeriesDescription": "Iodine map"}, [SPECTRAL]),
        ({"SeriesDescription": "Schädel VNC"}, [SPECTRAL]),
        ({"SeriesDescription": "rCBF axial"}, [MAP]),
        ({"ConversionType": "WSD"}, [CAPTURED]),
        ({"SeriesDescription": "Brain water-equivalent, mono recon, kevin"}, []),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"]}, [SPECTRAL]),
        ({"ImageType": ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]}, [PROJECTION]),
        ({"VolumeBasedCalculationTechnique": "CURVED_MPR"}, [REFORMATTED]),
        ({"KVP": 80}, ["taken at 80 kV by its KVP: blood has other HU than at 120 kV"]),
        ({"KVP": 140}, []),
        ({"NumberOfTemporalPositions": 20}, ["one of 20 moments by its NumberOfTemporalPositions"]),
        ({"NumberOfTemporalPositions": 1}, []),
        ({"DerivationDescription": "Resampled to 5 mm"}, [DERIVED]),
        ({"DerivationDescription": "Lossless JPEG compression"}, []),
        ({"SeriesDescription": "DE Head 1.0 Q34f M_0.6"}, [SPECTRAL]),
        ({"SeriesDescription": "DE_Kopf 5.0 H31f F_0.5"}, [SPECTRAL]),
        ({"SeriesDescription": "Head MonoE 70"}, [SPECTRAL]),
        ({"SeriesDescription": "DE_Head 1.0 H30f A_100kV"}, [HALF]),
        ({"SeriesDescription": "DE_Head 1.0 H30f B_Sn140kV"}, [HALF]),
        ({"SeriesDescription": "140kVp QC"}, [HALF]),
        ({"SeriesDescription": "CT HEAD 120 kV"}, []),
        ({"SeriesDescription": "TAC DE CRANEO B 40 kernel, BRAIN_0.6, kv auto"}, []),
    ],
)  # fmt: skip
def test_traits_of_a_series_are_noted(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tags: dict[str, Any], wanted: list[str]
) -> None:
    folder = write_series(head_ct, straight, **{key: [v] * 6 if isinstance(v, tuple) else v for key, v in tags.items()})
    notes = read_case(discover(folder[0].parent).cases[0]).notes
    assert len(notes) == len(wanted)
    assert all(note.startswith(word) for note, word in zip(notes, wanted, strict=True))
    assert not any(tags.get("SeriesDescription", "?") in note for note in notes)


def nifti(path: Path, spacing: tuple[float, float, float], shape: tuple[int, int, int] = (8, 8, 6)) -> Path:
    voxels = np.random.default_rng(0).normal(30, 8, shape).astype(np.int16)
    voxels[:2] = -1000
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return path


@pytest.mark.parametrize("spacing", [(0.0005, 0.0005, 0.005), (0.5, 0.5, 0.01), (500, 500, 5000), (0.5, 0.5, 25)])
def test_voxels_that_no_scanner_has_are_refused(tmp_path: Path, spacing: tuple[float, float, float]) -> None:
    (case,) = discover(nifti(tmp_path / "a.nii", spacing), "ct").cases
    with pytest.raises(CaseError, match=r"a: voxels of .* mm .*, where heads have 0\.05 to 20 mm"):
        read_case(case)


@pytest.mark.parametrize(("gap", "refused"), [(15.0, False), (60.0, False), (90.0, True), (1000.0, True)])
def test_a_slice_does_not_stand_for_a_gap(write_series: Write, head_ct: np.ndarray, gap: float, refused: bool) -> None:
    """Slices that lie far away are of another scan; 20 mL became 744."""
    files = write_series(head_ct, [(0, 0, 5.0 * k + (k > 3) * (gap - 5)) for k in range(6)])
    (case,) = discover(files[0].parent).cases
    if refused:
        with pytest.raises(CaseError, match=r"one slice would stand for \d+ mm, so far are its neighbours"):
            read_case(case)
    else:
        assert any("to be missing" in note for note in read_case(case).notes)


def test_dicom_in_other_units_is_refused(write_series: Write, head_ct: np.ndarray) -> None:
    places = [(0, 0, 0.02 * k) for k in range(6)]
    files = write_series(head_ct, places, PixelSpacing=[0.0005, 0.0005], SliceThickness=0.02)
    with pytest.raises(CaseError, match="where heads have"):
        read_case(discover(files[0].parent).cases[0])


def test_more_than_a_head_is_noted(tmp_path: Path) -> None:
    (case,) = discover(nifti(tmp_path / "a.nii", (19, 19, 5), (40, 40, 20)), "ct").cases
    assert any(note.startswith("covers 100 x 760 x 760 mm") for note in read_case(case).notes)
    (case,) = discover(nifti(tmp_path / "b.nii", (5, 5, 5), (50, 50, 30)), "ct").cases
    assert read_case(case).notes == ()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(1200, 1200, 4800), (30000, 30000, 30000), (32767, 32767, 1)])
def test_a_nifti_that_claims_more_than_it_holds_is_refused_unread(
    tmp_path: Path, shape: tuple[int, int, int], packed: bool
) -> None:
    path = nifti(tmp_path / "a.nii", (0.5, 0.5, 5))
    data = bytearray(path.read_bytes() + np.random.default_rng(0).bytes(350_000))
    struct.pack_into("<3h", data, 42, *shape)
    if packed:
        path.unlink()
        path = tmp_path / "a.nii.gz"
        data = bytearray(gzip.compress(bytes(data)))
    path.write_bytes(data)
    (case,) = discover(path, "ct").cases
    with pytest.raises(
        CaseError, match=r"broken or cut short \(its header claims .* GB of voxels, a.nii.* has 35\d+ b"
    ):
        read_case(case)
    with pytest.raises(InputError, match="its header claims"):
        discover(path)


def test_a_nifti_too_large_for_a_head_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", (0.5, 0.5, 5))
    with path.open("r+b") as file:
        file.seek(42)
        file.write(struct.pack("<3h", 2000, 2000, 400))
        file.truncate(352 + 2 * 2000 * 2000 * 400)  # a hole: no bytes on the disk
    with pytest.raises(CaseError, match="2000 x 2000 x 400 voxels, too many for a head"):
        read_case(discover(path, "ct").cases[0])


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(
        '{"schema": "ctseg-slices/1", "domain": "ct", "intensity": {}, "settings": {}, "counts": {}}'
    )
    np.save(tmp_path / "images.npy", np.zeros((1, 4, 4), np.uint8))
    data = (tmp_path / "images.npy").read_bytes()
    (tmp_path / "images.npy").write_bytes(data.replace(b"(1, 4, 4)", b"(9999999, 4000, 4000)", 1))
    with pytest.raises(InputError, match=r"images\.npy: not a readable array"):
        open_slices(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['{"modality": {"0": "CT"}, "training": 5}', '{"modality": 5, "training": [{"image": ["a"]}]}', "[" * 100_000,
     '{"modality": {"0": "CT"}, "training": [{"image": "a\\u0000b"}]}', '{"channel_names": {"x": null}}', "\xff", "5"],
    ids=range(7),
)  # fmt: skip
def test_a_dataset_json_of_any_form_ends_nothing(tmp_path: Path, text: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    nifti(tmp_path / "a/scan.nii", (1, 1, 1))
    (tmp_path / "b/dataset.json").write_text(text, encoding="latin-1")
    assert [case.case_id for case in discover(tmp_path, "ct").cases] == ["scan"]


@pytest.mark.parametrize("unit", ["MGML", "Z_EFF", "ED", "EDW", "PCT", "OD"])
def test_values_that_are_no_hu_are_refused(
    write_series: Write, head_ct: np.ndarray, straight: Positions, unit: str
) -> None:
    files = write_series(head_ct, straight, RescaleType=unit)
    with pytest.raises(CaseError, match=rf"RescaleType {unit}\), not HU"):
        read_case(discover(files[0].parent).cases[0])


@pytest.mark.parametrize("unit", ["HU", "US", "", None])
def test_hu_and_unspecified_values_are_read(
    write_series: Write, head_ct: np.ndarray, straight: Positions, unit: str | None
) -> None:
    files = write_series(head_ct, straight, RescaleType=unit)
    np.testing.assert_array_equal(read_case(discover(files[0].parent).cases[0]).voxels, head_ct)


@pytest.mark.parametrize("word", ["LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM"])
def test_scouts_are_left_out_by_any_maker_s_word(
    write_series: Write, head_ct: np.ndarray, straight: Positions, word: str
) -> None:
    files = write_series(head_ct, straight)
    write_series(head_ct[:3], straight[:3], "scout", ImageType=["ORIGINAL", "PRIMARY", word], SeriesInstanceUID="1.9")
    found = discover(files[0].parents[1])
    assert len(found.cases) == 1
    assert [item.reason for item in found.rejected] == ["localiser (scout view)"]


def visits(write: Write, hu: np.ndarray, places: Positions, count: int, **tags: Any) -> list[Path]:
    """A series that takes each position `count` times; tags are given for each visit."""
    each = {name: tuple(value for value in values for _ in range(len(hu))) for name, values in tags.items()}
    shifted = np.concatenate([hu + 2 * visit * (hu > -900) for visit in range(count)])
    numbers = tuple(range(1, count * len(hu) + 1))
    return write(shifted, places * count, "visits", InstanceNumber=numbers, **each)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "AcquisitionTime"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_time_points_and_acquisitions_of_one_series_are_scans_of_their_own(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tag: str, count: int
) -> None:
    values = [f"12000{visit}" if tag == "AcquisitionTime" else visit + 1 for visit in range(count)]
    files = visits(write_series, head_ct, straight, count, **{tag: values})
    cases = discover(files[0].parent).cases
    volumes = sorted((read_case(case) for case in cases), key=lambda volume: volume.voxels.max())
    assert len(volumes) == count
    for visit, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.voxels, head_ct + 2 * visit * (head_ct > -900))
        assert any(f"visits its positions {count} times" in note for note in volume.notes)


@pytest.mark.parametrize(
    "tag",
    [
        "TemporalPositionIdentifier",
        "AcquisitionDateTime",
        "TriggerTime",
        "SeriesDescription",
        "SliceThickness",
        "EchoTime",
    ],
)
def test_what_else_tells_time_points_apart(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tag: str
) -> None:
    """Numbered alike in each visit, so that the order of the slices tells nothing."""
    texts = {"AcquisitionDateTime": ("20200101101010", "20200101101020"), "SeriesDescription": ("70 keV", "40 keV")}
    files = visits(write_series, head_ct, straight, 2, **{tag: texts.get(tag, (3, 5))})
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = 1 + (int(dataset.InstanceNumber) - 1) % len(head_ct)
        dataset.save_as(path)
    cases = discover(files[0].parent).cases
    volumes = sorted((read_case(case) for case in cases), key=lambda volume: volume.voxels.max())
    assert len(volumes) == 2
    for visit, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.voxels, head_ct + 2 * visit * (head_ct > -900))
        assert any(f"split by {tag}" in note for note in volume.notes)


@pytest.mark.parametrize("numbered", ["visit by visit", "place by place", "times and acquisitions of each slice"])
def test_visits_are_told_apart_by_the_order_of_their_slices(
    write_series: Write, head_ct: np.ndarray, straight: Positions, numbered: str
) -> None:
    """Perfusion in one series, with one AcquisitionNumber or one for each slice."""
    files = visits(write_series, head_ct, straight, 3)
    for path in files:
        dataset = pydicom.dcmread(path)
        visit, place = divmod(int(dataset.InstanceNumber) - 1, len(head_ct))
        if numbered == "place by place":
            dataset.InstanceNumber = 3 * place + visit + 1
        elif numbered.startswith("times"):
            dataset.AcquisitionNumber = int(dataset.InstanceNumber)
            dataset.AcquisitionTime = f"1010{int(dataset.InstanceNumber):02d}"
        dataset.save_as(path)
    volumes = sorted((read_case(case) for case in discover(files[0].parent).cases), key=lambda item: item.voxels.max())
    assert len(volumes) == 3
    for visit, volume in enumerate(volumes):
        np.testing.assert_array_equal(volume.voxels, head_ct + 2 * visit * (head_ct > -900))
        assert any("visits its positions 3 times; split by the order of its slices" in note for note in volume.notes)


@pytest.mark.parametrize("change", ["no order", "a part alone", "copies"])
def test_repeats_that_nothing_tells_apart_are_said(
    write_series: Write, head_ct: np.ndarray, straight: Positions, change: str
) -> None:
    files = visits(write_series, head_ct, straight, 2)
    swapped = np.random.default_rng(3).permutation(len(files))
    uids: dict[float, str] = {}
    for path in files:
        dataset = pydicom.dcmread(path)
        if change == "no order":
            dataset.InstanceNumber = 1 + int(swapped[int(dataset.InstanceNumber) - 1])
        elif change == "copies":
            dataset.SOPInstanceUID = uids.setdefault(float(dataset.ImagePositionPatient[2]), dataset.SOPInstanceUID)
        elif int(dataset.InstanceNumber) == len(files):
            path.unlink()
            continue
        dataset.save_as(path)
    (case,) = discover(files[0].parent).cases
    assert any("differing slices at positions taken twice dropped" in note for note in read_case(case).notes)


def test_copies_of_slices_are_said(write_series: Write, head_ct: np.ndarray, straight: Positions) -> None:
    files = write_series(head_ct, straight)
    for place in (1, 3):
        (files[0].parent / f"copy{place}.dcm").write_bytes(files[place].read_bytes())
    volume = read_case(discover(files[0].parent).cases[0])
    np.testing.assert_array_equal(volume.voxels, head_ct)
    assert "2 identical copies of slices dropped" in volume.notes


# The size of a head

MM = 4.0


def head_nifti(path: Path, scale: float, size: int = 60, slices: int = 20, across: float = 160.0) -> Path:
    """A head of `across` mm in a header whose lengths are `scale` times the true ones."""
    place = (np.indices((size, size, slices)).T - (np.array([size, size, slices]) - 1) / 2).T * MM
    inside = (place[0] ** 2 + place[1] ** 2 + place[2] ** 2) < (across / 2) ** 2
    voxels = np.where(inside, np.random.default_rng(0).normal(30, 8, inside.shape), -1000).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([MM * scale, MM * scale, MM * scale, 1.0])), path)
    return path


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        (0.001, "voxels of"), (0.03937, "covers 3.15 x 9.45 x 9.45 mm"), (0.1, "covers 8 x 24 x 24 mm"),
        (2.1, "shows a body of 33. mm across"), (2.6, "shows a body of"),
        (4.9, "covers 392 x"), (10.0, "voxels of"), (25.4, "voxels of"),
    ],
)  # fmt: skip
def test_a_head_of_an_impossible_size_is_refused(tmp_path: Path, scale: float, wanted: str) -> None:
    (case,) = discover(head_nifti(tmp_path / "a.nii", scale), "ct").cases
    with pytest.raises(CaseError, match=wanted) as caught:
        check_head(read_case(case))
    assert str(caught.value).startswith("a: ")


@pytest.mark.parametrize(("scale", "is_noted"), [(1.0, False), (0.75, False), (1.3, False), (0.5, True), (1.6, True)])
def test_an_unlikely_size_is_noted(tmp_path: Path, scale: float, is_noted: bool) -> None:
    (case,) = discover(head_nifti(tmp_path / "a.nii", scale), "ct").cases
    notes = check_head(read_case(case)).notes
    assert any("is the voxel size right?" in note for note in notes) == is_noted


@pytest.mark.parametrize("background", ["window", "removed skull", "window of whole numbers to 255"])
@pytest.mark.parametrize(("scale", "is_refused"), [(1.0, False), (2.1, True)])
def test_a_head_without_air_around_is_measured(tmp_path: Path, background: str, scale: float, is_refused: bool) -> None:
    file = head_nifti(tmp_path / "a.nii", scale, size=84)
    voxels = nib.load(file).get_fdata()
    low, high = (0, 255) if background.endswith("255") else (0, 80)
    changed = np.where(voxels < -900, 0, voxels) if background == "removed skull" else np.clip(voxels, low, high)
    nib.save(nib.Nifti1Image(changed.astype(np.float32), nib.load(file).affine), file)
    (case,) = discover(file, "ct").cases
    if is_refused:
        with pytest.raises(CaseError, match="shows a body of"):
            check_head(read_case(case))
    else:
        assert not any("mm across" in note for note in check_head(read_case(case)).notes)


def test_a_brain_without_its_skull_is_no_small_head(tmp_path: Path) -> None:
    for across, is_noted in ((96.0, False), (70.0, True)):
        (case,) = discover(head_nifti(tmp_path / "a.nii", 1.0, across=across), "ct").cases
        assert any("is the voxel size right?" in note for note in check_head(read_case(case)).notes) == is_noted


def test_thin_voxels_of_a_large_field_are_refused_by_their_field(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(30, 8, (256, 256, 6)).astype(np.int16)
    voxels[:60] = -1000
    for mm, wanted in ((0.06, "covers"), (6.0, "covers")):
        nib.save(nib.Nifti1Image(voxels, np.diag([mm, mm, 5.0, 1.0])), tmp_path / "a.nii")
        with pytest.raises(CaseError, match=wanted):
            check_head(read_case(discover(tmp_path / "a.nii", "ct").cases[0]))


def test_every_reader_refuses_impossible_voxels(tmp_path: Path) -> None:
    voxels = np.zeros((8, 8, 6), np.uint8)
    voxels[2:4, 2:4, 2:4] = 1
    for mm in (0.01, 25.0):
        nib.save(nib.Nifti1Image(voxels, np.diag([mm, mm, mm, 1.0])), tmp_path / "m.nii")
        with pytest.raises(CaseError, match="where heads have 0.05 to 20 mm"):
            load_mask(tmp_path / "m.nii")
        with pytest.raises(CaseError, match="where heads have 0.05 to 20 mm"):
            read_nifti(tmp_path / "m.nii", domain="mr", case_id="m")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_the_largest_part_is_counted_with_its_holes(share: float) -> None:
    body = np.random.default_rng(1).random((40, 53)) < share
    parts, count = ndimage.label(body)
    sizes = [ndimage.binary_fill_holes(parts == part).sum() for part in range(1, count + 1)]
    expected = sizes[int(np.argmax(np.bincount(parts.ravel())[1:]))] if count else 0
    assert _largest_part(body) == expected


def test_slices_that_were_not_measured_are_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voxels = np.round(rng.normal(30, 8, (20, 20, 12)))
    voxels[:3] = -1000
    voxels[..., [0, 11]] = -1000
    voxels[..., 5] = 0
    voxels[..., 8] = voxels[..., 7]
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-8.0, -8.0, 8.0, 1.0])), tmp_path / "a.nii")
    notes = read_case(discover(tmp_path, "ct").cases[0]).notes
    assert notes == (
        "1 slices between others hold one value only: are they lost?", "1 slices are copies of their neighbours",
    )  # fmt: skip


def test_values_that_no_head_has_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hu = np.round(rng.normal(30, 8, (20, 20, 12)))
    hu[:12] = np.round(rng.normal(-1000, 8, (12, 20, 12)))
    for change in (lambda x: -x, lambda x: x * 10):
        nib.save(nib.Nifti1Image(change(hu).astype(np.int32), np.diag([-8.0, -8.0, 8.0, 1.0])), tmp_path / "a.nii")
        with pytest.raises(CaseError, match="not HU"):
            read_case(discover(tmp_path, "ct").cases[0])
