"""Headers of MetaImage and NRRD that contradict themselves, or leave a size unsaid that programs take for 1 mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume

pytest.importorskip("SimpleITK")

META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "4 4 5", "DimSize": "8 7 6",
    "ElementType": "MET_SHORT",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "8 7 6",
    "space directions": "(4,0,0) (0,4,0) (0,0,5)", "endian": "little", "encoding": "raw", "space origin": "(0,0,0)",
}  # fmt: skip


def voxels() -> np.ndarray:
    made = np.random.default_rng(0).normal(30, 8, (6, 7, 8)).astype("<i2")
    made[:, :, :2] = -1000
    return made


def read(path: Path) -> Volume:
    (case,) = discover(path, "ct").cases
    return read_case(case)


def meta(folder: Path, *behind: tuple[str, str], **other: str | None) -> Path:
    fields = [(name, value) for name, value in {**META, **other}.items() if value is not None]
    head = "".join(f"{name} = {value}\n" for name, value in (*fields, *behind)) + "ElementDataFile = LOCAL\n"
    (folder / "a_ct.mha").write_bytes(head.encode() + voxels().tobytes())
    return folder / "a_ct.mha"


def nrrd(folder: Path, **other: str | None) -> Path:
    fields = {**NRRD, **{name.replace("_", " "): value for name, value in other.items()}}
    head = "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    (folder / "a_ct.nrrd").write_bytes(f"NRRD0004\n{head}\n".encode() + voxels().tobytes())
    return folder / "a_ct.nrrd"


@pytest.mark.parametrize(("field", "word"), [
    (("ElementSpacing", "1 1 1"), "two values of elementspacing"),
    (("DimSize", "8 7 3"), "two values of dimsize"),
    (("ElementType", "MET_USHORT"), "two values of elementtype"),
    (("Position", "9 0 0"), "two values of offset and position"),
    (("Origin", "9 0 0"), "two values of offset and origin"),
    (("Rotation", "-1 0 0 0 1 0 0 0 1"), "two values of transformmatrix and rotation"),
    (("Orientation", "-1 0 0 0 1 0 0 0 1"), "two values of transformmatrix and orientation"),
    (("ElementByteOrderMSB", "True"), "two values of binarydatabyteordermsb and elementbyteordermsb"),
])  # fmt: skip
def test_a_metaimage_that_says_one_thing_twice_is_refused(tmp_path: Path, field: tuple[str, str], word: str) -> None:
    with pytest.raises(CaseError, match=f"{word}; write it again"):
        read(meta(tmp_path, field))
    assert read(meta(tmp_path, ("ElementSpacing", "4.0  4 5"), ("Position", "0 0 0"))).notes == ()


@pytest.mark.parametrize(("other", "word"), [
    ({"DistanceUnits": "cm"}, "lengths are not in mm"),
    ({"DistanceUnits": "um"}, "lengths are not in mm"),
    ({"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, "no unit vectors"),
    ({"TransformMatrix": "1 0.5 0 0 1 0 0 0 1"}, "no unit vectors"),
    ({"ElementSpacing": None}, "states no voxel size"),
    ({"HeaderSize": "100"}, "where its voxels begin"),
    ({"ElementSpacing": "4 4"}, "cannot be parsed"),
    ({"DistanceUnits": "mm"}, ""),
    ({"HeaderSize": "-1"}, ""),
])  # fmt: skip
def test_a_metaimage_without_a_sure_size_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], other: dict[str, str | None], word: str
) -> None:
    if word:
        with pytest.raises(CaseError, match=word) as caught:
            read(meta(tmp_path, **other))
        assert "0x" not in str(caught.value)
    else:
        assert read(meta(tmp_path, **other)).notes == ()
    assert capfd.readouterr().err == ""


def test_a_metaimage_of_another_modality_says_so(tmp_path: Path) -> None:
    assert read(meta(tmp_path, Modality="MET_MOD_MR")).notes == (
        "the header says Modality MR, taken as a scan all the same",
    )
    assert read(meta(tmp_path, Modality="MET_MOD_CT")).notes == ()


@pytest.mark.parametrize(("other", "word"), [
    ({"space_directions": None, "space": None, "space_origin": None}, "states no voxel size"),
    ({"space_directions": "(4,1,0) (0,4,0) (0,0,5)"}, "no unit vectors"),
    ({"space_units": '"cm" "cm" "cm"'}, "lengths are not in mm"),
    ({"old_min": "0", "old_max": "255"}, "to be scaled"),
    ({}, ""),
])  # fmt: skip
def test_a_nrrd_without_a_sure_size_is_refused(tmp_path: Path, other: dict[str, str | None], word: str) -> None:
    if not word:
        assert read(nrrd(tmp_path)).notes == ()
        return
    with pytest.raises(CaseError, match=word):
        read(nrrd(tmp_path, **other))


@pytest.mark.parametrize(("other", "word"), [
    ({"Offset": "5 5"}, "its offset holds other than 3 numbers"),
    ({"Offset": None, "Position": "5 5"}, "its position holds other than 3 numbers"),
    ({"ElementSize": "4 4"}, "its elementsize holds other than 3 numbers"),
    ({"TransformMatrix": None, "Rotation": "1 0 0 0 1 0"}, "its rotation holds other than 9 numbers"),
])  # fmt: skip
def test_a_metaimage_with_too_few_numbers_is_refused(tmp_path: Path, other: dict[str, str | None], word: str) -> None:
    with pytest.raises(CaseError, match=f"{word}|cannot be parsed"):
        read(meta(tmp_path, **other))


SILENT: dict[str, str | None] = {"space": None, "space_directions": None, "space_origin": None}


@pytest.mark.parametrize(("other", "word"), [
    ({**SILENT, "axis_mins": "0 0 0", "axis_maxs": "28 24 25"}, "states no voxel size"),
    ({**SILENT, "spacings": "nan nan nan"}, "spacings hold what is no length"),
    ({**SILENT, "spacings": "4 4 nan"}, "spacings hold what is no length"),
    ({**SILENT, "spacings": "4 4 5", "units": '"cm" "cm" "cm"'}, "lengths are not in mm"),
    ({**SILENT, "spacings": "4 4 5", "units": '"mm" "mm" "um"'}, "lengths are not in mm"),
])  # fmt: skip
def test_a_nrrd_without_a_length_in_mm_is_refused(tmp_path: Path, other: dict[str, str | None], word: str) -> None:
    with pytest.raises(CaseError, match=word):
        read(nrrd(tmp_path, **other))


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed", None])
def test_a_nrrd_whose_space_names_no_sides_says_so(tmp_path: Path, space: str | None) -> None:
    other = {"space": space} if space else {"space": None, "space_dimension": "3"}
    order = ("type", "dimension", "space", "space_dimension")
    fields = {**NRRD, **other}
    head = {name: fields.pop(name) for name in order if name in fields} | fields
    text = "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in head.items() if value is not None)
    (tmp_path / "a_ct.nrrd").write_bytes(f"NRRD0004\n{text}\n".encode() + voxels().tobytes())
    assert any("names no sides of the patient" in note for note in read(tmp_path / "a_ct.nrrd").notes)


def test_a_simpleitk_that_mirrors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK as sitk

    for version in ("2.4.0", "2.5.5"):
        monkeypatch.setattr(sitk, "__version__", version)
        with pytest.raises(CaseError, match=rf"needs SimpleITK 2\.5\.6 or newer, since {version} mirrors"):
            read(nrrd(tmp_path))
    for version in ("2.5.6", "2.5.6.dev1-gabc", "2.6", "3.0.0"):
        monkeypatch.setattr(sitk, "__version__", version)
        assert read(nrrd(tmp_path)).notes == ()


def test_spaces_that_name_sides_are_taken_by_name_and_a_lost_origin_is_said(tmp_path: Path) -> None:
    for space, place in (("LPS", (0, 0, 0)), ("RAS", (-28, -24, 0)), ("left-anterior-superior", (0, -24, 0))):
        volume = read(nrrd(tmp_path, space=space))
        np.testing.assert_allclose(volume.origins_mm[0], place)
        assert volume.notes == ()
    assert any("gives no origin" in note for note in read(nrrd(tmp_path, space_origin=None)).notes)


FOUR_AXES = {
    "a list": {"space_directions": f"{NRRD['space directions']} none", "kinds": "domain domain domain list"},
    "space and time": {
        "space": "left-posterior-superior-time", "space_directions": "(4,0,0,0) (0,4,0,0) (0,0,5,0) (0,0,0,2)",
        "space_origin": "(0,0,0,0)", "space_units": '"mm" "mm" "mm" "s"',
    },
    "spacings": {**SILENT, "spacings": "4 4 5 2", "units": '"mm" "mm" "mm" "s"'},
}  # fmt: skip


@pytest.mark.parametrize("form", FOUR_AXES)
def test_a_nrrd_of_one_moment_is_read_as_its_volume(tmp_path: Path, form: str) -> None:
    import SimpleITK as sitk

    path = nrrd(tmp_path, dimension="4", sizes="8 7 6 1", **FOUR_AXES[form])
    volume = read(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, voxels())
    np.testing.assert_array_equal(volume.voxels, np.asarray(sitk.GetArrayFromImage(image)).reshape(6, 7, 8))
    assert np.diff(volume.z_mm).tolist() == [5.0] * 5
    assert volume.spacing_mm == (4.0, 4.0) == tuple(image.GetSpacing()[:2])
    np.testing.assert_array_equal(volume.origins_mm[0], image.GetOrigin()[:3])
    plain = read(nrrd(tmp_path, **({} if form != "spacings" else {**SILENT, "spacings": "4 4 5"})))
    np.testing.assert_array_equal(volume.origins_mm, plain.origins_mm)
    assert volume.notes == plain.notes


@pytest.mark.parametrize("suffix", ["mha", "nrrd"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_simpleitk_writes_with_one_moment_is_read_turned_as_it_is(
    tmp_path: Path, suffix: str, packed: bool
) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels())
    image.SetSpacing((4.0, 4.0, 5.0))
    image.SetOrigin((9.0, -8.0, 7.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / f"a_ct.{suffix}"), packed)
    single = read(tmp_path / f"a_ct.{suffix}")
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / f"a_ct.{suffix}"), packed)
    joined = read(tmp_path / f"a_ct.{suffix}")
    np.testing.assert_array_equal(joined.voxels, single.voxels)
    np.testing.assert_array_equal(joined.origins_mm, single.origins_mm)
    np.testing.assert_array_equal(joined.row_step_mm, single.row_step_mm)
    is_said = "the header's space names no sides of the patient; its directions are taken for LPS"
    assert joined.notes == (single.notes if suffix == "mha" else (*single.notes, is_said))  # ITK writes no sides then
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(tmp_path / f"a_ct.{suffix}"), packed)
    with pytest.raises(CaseError, match="has 4 axes and 1 values a voxel; give the 3-D scan"):
        read(tmp_path / f"a_ct.{suffix}")


def test_an_axis_of_time_without_a_direction_is_refused_with_the_way_out(tmp_path: Path) -> None:
    directions = f"{NRRD['space directions']} none"
    path = nrrd(
        tmp_path, dimension="4", sizes="8 7 6 1", space_directions=directions, kinds="domain domain domain time"
    )
    with pytest.raises(CaseError, match="one of them without a direction, which ITK does not read; give the 3-D scan"):
        read(path)


@pytest.mark.parametrize(("unit", "word"), [('"mm" "mm" "um" "s"', "not in mm"), ('"s" "mm" "mm" "mm"', "not in mm")])
def test_only_the_axis_of_time_may_have_another_unit(tmp_path: Path, unit: str, word: str) -> None:
    with pytest.raises(CaseError, match=word):
        read(nrrd(tmp_path, dimension="4", sizes="8 7 6 1", **{**FOUR_AXES["spacings"], "units": unit}))
