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
