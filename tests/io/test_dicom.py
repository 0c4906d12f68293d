from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, MRImageStorage, RLELossless

from ctseg.errors import CaseError
from ctseg.io.dicom import header
from ctseg.io.dicom.reader import case_name, pseudonym, read_series
from ctseg.io.discover import discover, read_case
from ctseg.io.nifti.volumes import load_mask, save_map, save_mask, sidecar_path
from ctseg.io.source import Source

Write = Callable[..., list[Path]]
AXES = [(*(0,) * axis, sign, *(0,) * (2 - axis)) for axis in range(3) for sign in (1, -1)]
ORIENTATIONS = [(*row, *column) for row, column in product(AXES, AXES) if np.dot(row, column) == 0]


def rotated(orientation: tuple[float, ...], angle_deg: float) -> tuple[float, ...]:
    """An orientation turned about the x axis, as a gantry tilts."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return (*(turn @ orientation[:3]), *(turn @ orientation[3:]))


def change(path: Path, **tags: Any) -> None:
    """Set tags of a file, or remove them where the value is None."""
    changed = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            del changed[name]
        else:
            setattr(changed, name, value)
    changed.save_as(path)


@pytest.mark.parametrize("angle_deg", [0.0, 20.0])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_keeps_every_voxel_in_its_place(
    write_series: Write, head_ct: np.ndarray, orientation: tuple[float, ...], angle_deg: float
) -> None:
    direction = np.array(rotated(orientation, angle_deg))
    normal = np.cross(direction[:3], direction[3:])
    positions = [np.array([5.0, -3.0, 8.0]) + 4.0 * k * normal for k in range(len(head_ct))]
    volume = read_series(write_series(head_ct, positions, ImageOrientationPatient=list(direction)))
    for k, r, c in product(*(range(0, size, 3) for size in volume.voxels.shape)):
        place = volume.origins_mm[k] + r * volume.row_step_mm + c * volume.col_step_mm
        offset = place - positions[0]
        native = (offset @ normal / 4.0, offset @ direction[3:] / 0.5, offset @ direction[:3] / 0.4)
        index = tuple(round(float(value)) for value in native)
        assert native == pytest.approx(index, abs=1e-6)
        assert volume.voxels[k, r, c] == head_ct[index]
    for step, axis in ((volume.origins_mm[1] - volume.origins_mm[0], 2), (volume.row_step_mm, 1)):
        assert step[axis] == np.abs(step).max()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_of_every_orientation_come_back(
    write_series: Write, head_ct: np.ndarray, tmp_path: Path, orientation: tuple[float, ...]
) -> None:
    normal = np.cross(orientation[:3], orientation[3:])
    volume = read_series(
        write_series(head_ct, [4.0 * k * normal for k in range(6)], ImageOrientationPatient=list(orientation))
    )
    save_map(tmp_path / "m.nii.gz", volume, volume.voxels)
    image = nib.load(tmp_path / "m.nii.gz")
    assert image.shape == (20, 24, 6)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), head_ct.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ image.affine
    expected = np.stack([0.4 * np.array(orientation[:3]), 0.5 * np.array(orientation[3:]), 4.0 * normal], axis=1)
    np.testing.assert_allclose(lps[:3, :3], expected, atol=1e-6)
    save_mask(tmp_path / "m.nii.gz", volume, volume.voxels > 30)
    mask, geometry = load_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask, volume.voxels > 30)
    np.testing.assert_allclose(geometry.origins_mm, volume.origins_mm, atol=1e-6)
    np.testing.assert_allclose(geometry.slab_mm, volume.slab_mm)


def test_slices_are_ordered_by_position_not_by_name_or_number(write_series: Write, head_ct: np.ndarray) -> None:
    positions = [(0.0, 0.0, 5.0 * k) for k in range(6)]
    volume = read_series(write_series(head_ct, positions, InstanceNumber=(3, 1, 2, 6, 5, 4)))
    np.testing.assert_array_equal(volume.voxels, head_ct)
    assert [frame.ImagePositionPatient[2] for frame in volume.frames] == [0, 5, 10, 15, 20, 25]
    assert volume.slice_ids == tuple(frame.SOPInstanceUID for frame in volume.frames)
    assert all("PixelData" not in frame for frame in volume.frames)
    assert volume.spacing_mm == (0.5, 0.4)


def test_head_first_prone_and_feet_first_slices_map_to_their_frames(write_series: Write, head_ct: np.ndarray) -> None:
    positions = [(0.0, 0.0, 5.0 * k) for k in range(6)]
    volume = read_series(write_series(head_ct, positions, ImageOrientationPatient=[-1, 0, 0, 0, 1, 0]))
    assert volume.slice_keys == (5, 4, 3, 2, 1, 0)
    for k, key in enumerate(volume.slice_keys):
        assert volume.frames[key].ImagePositionPatient[2] == pytest.approx(volume.origins_mm[k, 2])
        assert volume.frames[key].SOPInstanceUID == volume.slice_ids[k]


def tilted_uneven() -> tuple[list[float], list[np.ndarray]]:
    """A gantry tilted by 20 degrees on a table moved by uneven steps."""
    orientation = rotated((1, 0, 0, 0, 1, 0), -20.0)
    return list(orientation), [np.array([-4.0, -6.0, z]) for z in (0.0, 4.0, 8.0, 9.0, 16.0, 23.0)]


def test_tilt_and_uneven_steps_are_measured_along_the_normal(
    write_series: Write, head_ct: np.ndarray, tmp_path: Path
) -> None:
    orientation, positions = tilted_uneven()
    volume = read_series(write_series(head_ct, positions, ImageOrientationPatient=orientation))
    cosine = np.cos(np.deg2rad(20))
    np.testing.assert_allclose(volume.slab_mm, np.array([4, 4, 2.5, 4, 7, 7]) * cosine, atol=1e-6)
    assert "tilted by 20.0 degrees" in volume.notes
    assert f"uneven slice steps, {cosine:.1f} to {7 * cosine:.1f} mm" in volume.notes
    save_mask(tmp_path / "m.nii.gz", volume, volume.voxels > 0)
    image = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, 23 / 5], atol=1e-5)
    assert int(image.header["qform_code"]) == 0
    assert int(image.header["sform_code"]) == 1
    assert np.prod(image.header.get_zooms()) == pytest.approx(abs(np.linalg.det(image.affine)), rel=1e-5)
    sidecar = json.loads(sidecar_path(tmp_path / "m.nii.gz").read_text())
    assert sidecar["uneven"] is True
    assert sidecar["tilt_deg"] == 20.0
    assert np.array(sidecar["origins_mm"])[:, 2].tolist() == [0, 4, 8, 9, 16, 23]
    mask, geometry = load_mask(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(geometry.voxel_ml, volume.voxel_ml)
    sidecar_path(tmp_path / "m.nii.gz").unlink()
    _, without = load_mask(tmp_path / "m.nii.gz")
    np.testing.assert_allclose(without.slab_mm, 23 / 5 * cosine, atol=1e-4)
    assert mask.shape == volume.voxels.shape


def test_a_straight_even_series_gets_a_qform_and_no_geometry_notes(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], tmp_path: Path
) -> None:
    volume = read_series(write_series(head_ct, straight))
    assert volume.notes == ()
    save_mask(tmp_path / "m.nii.gz", volume, volume.voxels > 0)
    header = nib.load(tmp_path / "m.nii.gz").header
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-5)
    assert int(header["qform_code"]) == 1
    assert json.loads(sidecar_path(tmp_path / "m.nii.gz").read_text())["uneven"] is False


def test_missing_slices_are_said(write_series: Write, head_ct: np.ndarray) -> None:
    positions = [(0.0, 0.0, z) for z in (0.0, 5.0, 10.0, 25.0, 30.0, 35.0)]
    volume = read_series(write_series(head_ct, positions))
    assert volume.notes == ("2 slices seem to be missing: a step of 15.0 mm after slice 3, usually 5.0 mm",)


def test_a_gantry_tilt_that_the_positions_do_not_show_is_said(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    volume = read_series(write_series(head_ct, straight, GantryDetectorTilt=12.5))
    assert any("tilt of 12.5 degrees, the positions none" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"SpacingBetweenSlices": 2.5}, "slices 2.5 mm apart (SpacingBetweenSlices), their positions 5.0 mm"),
        ({"SpacingBetweenSlices": -5.0}, ""),
        ({"SliceThickness": 1.5}, "slices 1.5 mm thick (SliceThickness), their positions 5 mm apart"),
        ({"SliceThickness": 20}, "slices 20 mm thick (SliceThickness), their positions 5 mm apart"),
        ({"SliceThickness": 10}, ""),
        ({"SOPClassUID": MRImageStorage}, "an object of MR (SOPClassUID), and Modality CT; Modality is used"),
        ({"SliceLocation": tuple(2.0 * k for k in range(6))}, "slices over 10 mm (SliceLocation), their positions 25"),
        ({"SliceLocation": tuple(70.0 - round(5.2 * k) for k in range(6))}, ""),
        ({"SliceLocation": 3.0}, ""),
        ({"ImagerPixelSpacing": [0.25, 0.2]}, "pixels of 0.25 x 0.2 mm (ImagerPixelSpacing), PixelSpacing 0.5 x 0.4"),
        ({"NominalScannedPixelSpacing": [0.5, 0.4]}, ""),
        ({"PixelAspectRatio": [1, 1]}, "pixels of 1 to 1 (PixelAspectRatio)"),
        ({"PixelAspectRatio": [5, 4]}, ""),
        ({"ReconstructionDiameter": 24}, "field of 24 mm (ReconstructionDiameter), PixelSpacing 0.5 x 0.4 mm, a field"),
        ({"ReconstructionDiameter": 12}, ""),
    ],
)  # fmt: skip
def test_what_a_header_says_twice_is_compared(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], tags: dict[str, Any], words: str
) -> None:
    """The positions and PixelSpacing are used either way."""
    volume = read_series(write_series(head_ct, straight, **tags))
    assert np.allclose(np.diff(volume.z_mm), 5.0)
    assert (volume.row_step_mm[1], volume.col_step_mm[0]) == (0.5, 0.4)
    assert [words in note and note.startswith("the header says ") for note in volume.notes] == [True] * bool(words)


def test_another_tilt_in_the_header_is_said(write_series: Write, head_ct: np.ndarray) -> None:
    orientation, positions = tilted_uneven()
    for said, noted in ((-20.0, False), (5.0, True)):
        tags = {"ImageOrientationPatient": orientation, "GantryDetectorTilt": said}
        notes = read_series(write_series(head_ct, positions, f"tilt{said}", **tags)).notes
        assert any("tilted by 20.0 degrees; the header says 5, positions" in note for note in notes) is noted


@pytest.mark.parametrize(
    ("orientation", "words"),
    [
        ([2, 0, 0, 0, 2, 0], "is no pair of unit vectors"),
        ([1, 0, 0, 0.5, 0.866, 0], "is no pair of unit vectors at a right angle"),
        ([0.998, 0.01, 0, -0.01, 1.0, 0], ""),
    ],
)
def test_an_orientation_that_is_none_is_refused(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], orientation: list[float], words: str
) -> None:
    """Its length and its slant would be another volume."""
    files = write_series(head_ct, straight, ImageOrientationPatient=orientation)
    if words:
        with pytest.raises(CaseError, match=rf"\.dcm: ImageOrientationPatient {words}"):
            read_series(files)
    else:
        assert read_series(files).notes == ()


def test_acquisitions_that_overlap_are_said(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    """Two passes whose ends lie between each other, numbered on: the head may have moved between them."""
    places = [*straight[:4], *((-4.0, -6.0, 12.0 + 5 * k) for k in range(4))]
    hu = np.concatenate([head_ct[:4], head_ct[:4]])
    acquisitions = (1,) * 4 + (2,) * 4
    files = write_series(hu, places, InstanceNumber=tuple(range(1, 9)), AcquisitionNumber=acquisitions)
    (case,) = discover(files[0].parent).cases
    assert "slices of 2 acquisitions overlap; taken as one scan" in read_case(case).notes
    apart = write_series(hu, [(-4.0, -6.0, 5.0 * k) for k in range(8)], "apart", AcquisitionNumber=acquisitions)
    assert not any("overlap" in note for note in read_case(discover(apart[0].parent).cases[0]).notes)


def interleaved(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], folder: str = "", **tags: Any
) -> list[Path]:
    """Two series under one UID, the second between the slices of the first; each tag has a value for each."""
    between = [(x, y, z + 1.5) for x, y, z in straight]
    each = [{name: values[number] for name, values in tags.items()} for number in (0, 1)]
    files = [write_series(head_ct, straight, f"{folder}one", **each[0])[0].parent]
    return [*files, write_series(head_ct, between, f"{folder}two", **each[1])[0].parent]


@pytest.mark.parametrize(
    ("tag", "values", "named"),
    [
        ("AcquisitionNumber", (1, 2), ""),
        ("KVP", (80, 140), ""),
        ("ConvolutionKernel", ("H30s", "H60s"), ""),
        ("ImageType", (["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]), ""),
        ("AcquisitionTime", ("101500", "102000"), ""),
        ("ContentTime", ("101500", "102000"), "AcquisitionTime"),
        (
            "AcquisitionTime",
            (tuple(f"1015{k:02d}" for k in range(6)), tuple(f"1020{k:02d}" for k in range(6))),
            "order",
        ),
        ("InstanceNumber", (tuple(range(1, 7)), tuple(range(12, 6, -1))), "order"),
    ],
)
@pytest.mark.parametrize("thickness", [5.0, None])
def test_acquisitions_between_each_others_slices_are_two_scans(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], tag: str, values: tuple[Any, ...],
    named: str, thickness: float | None,
) -> None:  # fmt: skip
    """A repeat at another offset: the head has moved between the two."""
    more = {} if thickness is None else {"SliceThickness": (thickness, thickness)}
    files = interleaved(write_series, head_ct, straight, **{tag: values}, **more)
    cases = discover(files, "ct").cases
    assert [len(case.files) for case in cases] == [6, 6]
    by = "the order of its slices" if named == "order" else named or tag
    said = f"the series holds 2 scans at interleaved positions; split by {by}"
    assert all(said in case.notes for case in cases)
    heights = [tuple(read_case(case).z_mm) for case in cases]
    assert sorted(heights) == [tuple(5.0 * k for k in range(6)), tuple(5.0 * k + 1.5 for k in range(6))]


def test_two_scans_that_are_numbered_alike_are_split_by_their_times(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    times = tuple(tuple(f"10{minute}{k:02d}" for k in range(6)) for minute in (15, 20))
    numbers = (tuple(range(1, 7)),) * 2
    files = interleaved(write_series, head_ct, straight, AcquisitionTime=times, InstanceNumber=numbers)
    assert [len(case.files) for case in discover(files, "ct").cases] == [6, 6]


def test_a_part_that_was_taken_again_between_the_slices_is_a_scan_of_its_own(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    whole = write_series(head_ct, straight, "one", AcquisitionNumber=1)[0].parent
    again = [(x, y, z + 2.5) for x, y, z in straight[2:5]]
    part = write_series(head_ct[2:5], again, "two", AcquisitionNumber=2)[0].parent
    assert [len(case.files) for case in discover([whole, part], "ct").cases] == [6, 3]


@pytest.mark.parametrize(
    ("places", "tags"),
    [
        ([2.5 * k for k in range(6)], {"InstanceNumber": tuple(range(1, 7))}),
        ([2.5 * k for k in range(6)], {"AcquisitionTime": tuple(f"1015{k:02d}" for k in range(6)),
                                       "InstanceNumber": (1, 4, 2, 5, 3, 6)}),
        ([5.0 * k for k in range(6)], {"AcquisitionNumber": (1, 2) * 3}),
        ([5.0 * k for k in range(6)], {"InstanceNumber": (1, 4, 2, 5, 3, 6)}),
        ([5.0 * k for k in range(6)], {"AcquisitionNumber": (1, 1, 1, 2, 2, 2)}),
    ],
)  # fmt: skip
def test_one_acquisition_with_overlapping_slices_and_passes_that_fill_gaps_are_one_scan(
    write_series: Write, head_ct: np.ndarray, places: list[float], tags: dict[str, Any]
) -> None:
    files = write_series(head_ct, [(-4.0, -6.0, z) for z in places], SliceThickness=5.0, **tags)
    (case,) = discover(files[0].parent, "ct").cases
    assert len(case.files) == 6


def test_slices_of_acquisitions_that_fill_each_others_gaps_are_said(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    for number, (tag, values, words) in enumerate((
        ("AcquisitionNumber", (1, 2), "2 acquisitions"),
        ("KVP", (80, 140), "2 tube voltages"),
        ("ConvolutionKernel", ("H30s", "H60s"), "2 kernels"),
        ("ImageType", (["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]), "2 kinds of image"),
    )):  # fmt: skip
        tags = {tag: values, "SliceThickness": (2.5, 2.5)}
        files = interleaved(write_series, head_ct, straight, str(number), **tags)
        assert discover(files, "ct").cases[0].notes == (f"slices of {words} alternate; taken as one scan",)
    tags = {"AcquisitionNumber": (1, 2), "SliceThickness": (2.5, 2.5)}
    files = interleaved(write_series, head_ct, straight, **tags)
    above = [(x, y, z + 500) for x, y, z in straight]
    write_series(head_ct, above, "two", AcquisitionNumber=2)
    assert discover(files, "ct").cases[0].notes == ()


@pytest.mark.parametrize("change", [
    {"RescaleIntercept": 1024}, {"RescaleSlope": 60}, {"RescaleIntercept": 24}, {"RescaleIntercept": -14},
    {"RescaleSlope": 0.5},
])  # fmt: skip
@pytest.mark.parametrize("how_many", [1, 2])
def test_rescaling_that_puts_slices_further_from_the_others_is_refused(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], change: dict[str, float], how_many: int
) -> None:
    files = write_series(head_ct[how_many:], straight[how_many:], "others")
    files += write_series(head_ct[:how_many], straight[:how_many], "one", **change)
    with pytest.raises(CaseError, match="one/.*puts? its values further from those of the slice next to it"):
        read_series(files)


def test_rescaling_that_differs_and_gives_the_same_hu_is_read(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    even = np.round(head_ct / 2) * 2
    files = write_series(even[::2], straight[::2], "one")
    files += write_series(even[1::2] / 2 + 100, straight[1::2], "two", RescaleSlope=2, RescaleIntercept=-200)
    assert np.array_equal(read_series(files).voxels, read_series(write_series(even, straight, "all")).voxels)


def with_skull(hu: np.ndarray) -> np.ndarray:
    """The same with bone in the outermost rows of what is no air."""
    inner = hu > -500
    skull = inner & ~np.roll(inner, 1, axis=1) | inner & ~np.roll(inner, -1, axis=1)
    return np.where(skull, 900.0, hu)


@pytest.mark.parametrize("how_many", [1, 2])
def test_a_slice_whose_brain_a_wrong_intercept_makes_air_is_refused(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], how_many: int
) -> None:
    hu = with_skull(head_ct)
    files = write_series(hu[how_many:], straight[how_many:], "others")
    files += write_series(hu[:how_many], straight[:how_many], "one", RescaleIntercept=-1024)
    with pytest.raises(CaseError, match="one/.*puts? its values further from those of the slice next to it"):
        read_series(files)


@pytest.mark.parametrize("circle", [False, True])
def test_a_slice_of_air_above_the_head_keeps_its_own_intercept(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], circle: bool
) -> None:
    air = np.random.default_rng(0).normal(-1000, 8, head_ct[-1:].shape).round()
    rows, columns = np.indices(air.shape[1:]) - np.array(air.shape[1:])[:, None, None] / 2
    if circle:
        air[0, np.hypot(rows, columns) > min(air.shape[1:]) / 2] = -1024
    files = write_series(with_skull(head_ct[:-1]), straight[:-1], "head")
    files += write_series(air + 1024, straight[-1:], "above", RescaleIntercept=-1024)
    assert read_series(files).voxels[-1].max() < -900


def test_identical_copies_are_dropped(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    files = write_series(head_ct, straight) + write_series(head_ct[:2], straight[:2], folder="copy")
    volume = read_series(files)
    np.testing.assert_array_equal(volume.voxels, head_ct)
    assert volume.notes == ("2 identical copies of slices dropped",)


def test_of_differing_slices_at_one_position_the_last_acquired_is_kept(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    later = write_series(head_ct[:1] + 1, straight[:1], folder="again", AcquisitionNumber=2)
    volume = read_series(later + write_series(head_ct, straight, AcquisitionNumber=1))
    np.testing.assert_array_equal(volume.voxels[0], np.maximum(head_ct[0] + 1, -1024))
    np.testing.assert_array_equal(volume.voxels[1:], head_ct[1:])
    assert any("last acquired" in note for note in volume.notes)


def test_slices_all_at_one_position_make_no_volume(write_series: Write, head_ct: np.ndarray) -> None:
    with pytest.raises(CaseError, match="all 6 slices of its series lie at one position"):
        read_series(write_series(head_ct, [(0.0, 0.0, 5.0)] * 6))


def test_a_single_slice_stands_for_its_nominal_thickness(write_series: Write, head_ct: np.ndarray) -> None:
    volume = read_series(write_series(head_ct[:1], [(0.0, 0.0, 5.0)]))
    assert volume.slab_mm.tolist() == [5.0]
    assert any("single slice" in note for note in volume.notes)


def test_a_single_slice_keeps_its_thickness_through_a_mask(
    write_series: Write, head_ct: np.ndarray, tmp_path: Path
) -> None:
    volume = read_series(write_series(head_ct[:1], [(0.0, 0.0, 5.0)]))
    save_mask(tmp_path / "m.nii.gz", volume, volume.voxels > 0)
    assert load_mask(tmp_path / "m.nii.gz")[1].slab_mm.tolist() == [5.0]


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_a_slice_without_geometry_is_named(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], tag: str
) -> None:
    files = write_series(head_ct, straight)
    change(files[2], **{tag: None})
    with pytest.raises(CaseError, match=rf"002\.dcm: has no usable {tag}"):
        read_series(files)


def test_slices_that_do_not_stack_are_named(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    files = write_series(head_ct, straight)
    change(files[4], PixelSpacing=[0.6, 0.6])
    with pytest.raises(CaseError, match=r"004\.dcm: matrix, orientation or spacing differ"):
        read_series(files)


def test_uneven_sagittal_slices_cannot_be_turned(write_series: Write, head_ct: np.ndarray) -> None:
    positions = [(x, 0.0, 0.0) for x in (0.0, 5.0, 10.0, 11.0, 18.0, 25.0)]
    with pytest.raises(CaseError, match="uneven steps cannot be turned"):
        read_series(write_series(head_ct, positions, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_read_the_same(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]], syntax: str
) -> None:
    large = head_ct.repeat(3, axis=1).repeat(3, axis=2)  # JPEG 2000 tiles have at least 32 pixels
    files = write_series(large, straight)
    for path in files:
        changed = pydicom.dcmread(path)
        changed.compress(syntax)
        changed.save_as(path)
    np.testing.assert_array_equal(read_series(files).voxels, large)


def test_the_decoder_of_lossless_jpeg_is_there() -> None:
    decoder = pydicom.pixels.get_decoder(JPEGLosslessSV1)
    assert decoder.is_available, decoder.missing_dependencies


def test_a_slice_cut_short_is_named_with_what_it_has(
    write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]
) -> None:
    files = write_series(head_ct, straight)
    files[3].write_bytes(files[3].read_bytes()[:-480])
    with pytest.raises(CaseError, match=r"003\.dcm: has 0\.5 of 0\.9 KiB of pixel data; copy it again"):
        read_series(files)


def test_pseudonyms_are_stable_and_can_be_keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTSEG_PSEUDONYM_KEY", raising=False)
    plain = pseudonym("4711")
    assert plain == pseudonym(" 4711 ")
    assert plain != pseudonym("4712")
    assert len(plain) == 11
    assert case_name("4711", "1.2.3").startswith(plain + "_")
    assert case_name("4711", "1.2.3") != case_name("4711", "1.2.4")
    monkeypatch.setenv("CTSEG_PSEUDONYM_KEY", "a secret")
    assert pseudonym("4711") != plain


@pytest.mark.slow
def test_real_tilted_series(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "ct-ge-tilted").glob("*.dcm"))
    volume = read_series(files[::-1])
    cosine = np.cos(np.deg2rad(18.5))
    steps = np.array([4.22] * 13 + [1.14] + [7.38] * 13) * cosine
    assert volume.voxels.shape == (28, 512, 512)
    np.testing.assert_allclose(np.diff(volume.z_mm), steps, atol=2e-3)
    assert "tilted by 18.5 degrees" in volume.notes
    assert "uneven slice steps, 1.1 to 7.0 mm" in volume.notes
    assert volume.voxels.min() == -1024  # the padding of -1500 is air
    assert volume.row_step_mm[1] > 0 > volume.row_step_mm[2]
    inside = volume.voxels[14, 200:320, 180:330]
    assert 20 < np.median(inside) < 45
    mask = volume.voxels > 100
    save_mask(tmp_path / "m.nii.gz", volume, mask)
    again, geometry = load_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(again, mask)
    np.testing.assert_allclose(geometry.origins_mm, volume.origins_mm, atol=1e-6)
    assert (geometry.voxel_ml[:, None, None] * again).sum() == pytest.approx(
        (volume.voxel_ml[:, None, None] * mask).sum()
    )


@pytest.mark.parametrize("size", [0, 40, 200, 700, 1 << 15])
def test_headers_of_any_length_are_read_alike(
    write_series: Write, head_ct: np.ndarray, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bytes of a file are enough for most; where they are not, nothing is lost."""
    file = write_series(head_ct[:1], [(0.0, 0.0, 0.0)], PatientComments="x" * 300, KVP=120.0)[0]
    whole = header.header_of(pydicom.dcmread(file), Source(str(file)))
    monkeypatch.setattr(header, "HEAD_BYTES", size)
    assert header.read_header(Source(str(file))) == whole


@pytest.mark.parametrize("form", ["use_DS_numpy", "use_IS_numpy", "use_DS_decimal"])
def test_a_program_that_takes_other_numbers_of_pydicom_reads_the_same(
    form: str, write_series: Any, head_ct: np.ndarray, straight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_series(head_ct, straight)
    before = read_series(files)
    monkeypatch.setattr(f"pydicom.config.{form}", True)
    after = read_series(files)
    assert np.array_equal(before.voxels, after.voxels)
    assert np.array_equal(before.z_mm, after.z_mm)
    assert before.notes == after.notes
