"""Nothing below an input is passed over: it is read, listed with the way out, or counted by a list of names."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import socket
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from ctseg.errors import CaseError, InputError
from ctseg.io import archive as archive_module
from ctseg.io import source as source_module
from ctseg.io.case import Discovery
from ctseg.io.dicom.reader import read_series
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover, read_case
from ctseg.io.kinds import kind_of
from ctseg.io.nifti.file import open_nifti, read_voxels
from ctseg.io.slices import is_slice_set

Write = Callable[..., list[Path]]
Positions = list[tuple[float, float, float]]


def scan(path: Path, seed: int = 0, kind: type = nib.Nifti1Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(30, 8, (8, 7, 6)).astype(np.int16)
    voxels[:2] = -1000
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    affine[:3, 3] = [5, 6, 7]
    nib.save(kind(voxels, affine), path)
    return path


def left(found: Discovery) -> dict[str, tuple[str, bool]]:
    return {Path(item.path_or_series).name: (item.reason, item.broken) for item in found.rejected}


def names(found: Discovery) -> list[str]:
    return [case.case_id for case in found.cases]


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    scan(tmp_path / "elsewhere/p2/b.nii")
    scan(tmp_path / "elsewhere/c.nii")
    scan(tmp_path / "cohort/p1/a.nii")
    (tmp_path / "cohort/p2").symlink_to("../elsewhere/p2")
    (tmp_path / "cohort/c.nii").symlink_to(tmp_path / "elsewhere/c.nii")
    assert names(discover(tmp_path / "cohort", "ct")) == ["a", "b", "c"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only/p").symlink_to(tmp_path / "cohort", target_is_directory=True)
    (tmp_path / "alias").symlink_to(tmp_path / "only")
    assert names(discover(tmp_path / "only", "ct")) == ["a", "b", "c"]
    assert names(discover(tmp_path / "alias", "ct")) == ["a", "b", "c"]


def test_links_in_a_circle_end_and_a_folder_is_read_once(tmp_path: Path) -> None:
    scan(tmp_path / "cohort/real/a.nii")
    (tmp_path / "cohort/real/up").symlink_to(tmp_path / "cohort")
    (tmp_path / "cohort/again").symlink_to("real")
    found = discover([tmp_path / "cohort", tmp_path / "cohort/real"], "ct")
    assert names(found) == ["a"]
    assert found.cases[0].files == (tmp_path / "cohort/real/a.nii",)
    assert {name: reason for name, (reason, _) in left(found).items()} == {
        "again": f"a link to {tmp_path / 'cohort/real'}, which is read once",
        "up": f"a link to {tmp_path / 'cohort'}, which is read once",
    }
    assert not found.incomplete


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").symlink_to("gone.nii.gz")
    (tmp_path / "p3").symlink_to("gone")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "note.txt").symlink_to("gone.txt")
    found = discover(tmp_path, "ct")
    assert set(left(found)) == {"b.nii.gz", "p3", "self"}
    assert all(broken for _, broken in left(found).values())
    assert "datalad get" in left(found)["b.nii.gz"][0]


def test_pipes_and_sockets_are_never_opened(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    (tmp_path / "deep").mkdir()
    for name in ("IM0001", "b.dcm", "c.nii", "d.zip", "dataset.json", "deep/.ctseg.json", "deep/a.nii.gz"):
        os.mkfifo(tmp_path / name)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # names of sockets are short
        server.bind("sock")
        os.chdir(here)
        found = discover([tmp_path, Path("/dev/zero"), tmp_path / "IM0001"], "ct")
    assert names(found) == ["a"]
    assert not is_slice_set(tmp_path)
    assert left(found)["sock"][0] == "a socket, not a file; it is not opened"
    assert left(found)["zero"][0] == "a device, not a file; it is not opened"
    assert all("a named pipe" in left(found)[name][0] for name in ("IM0001", "b.dcm", "c.nii", "d.zip"))
    with pytest.raises(InputError, match="holds no CT scan that can be read; a device"):
        discover(Path("/dev/zero"), "ct")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    scan(tmp_path / "closed/b.nii")
    (tmp_path / "closed").chmod(0)
    found = discover(tmp_path, "ct")
    assert left(found)["closed"] == ("cannot be read (Permission denied); check its permissions", True)


def test_gzipped_dicom_is_read_in_folders_and_zips(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path
) -> None:
    files = write_series(head_ct, straight)
    (tmp_path / "gz").mkdir()
    for number, file in enumerate(files):
        name = ("a.dcm.gz", "b.DCM.GZ", "IM2.gz", "d.ima.gz", "e.gz", "f.dicom.gz")[number]
        (tmp_path / "gz" / name).write_bytes(gzip.compress(file.read_bytes(), 1))
    with zipfile.ZipFile(tmp_path / "gz.zip", "w") as made:
        for file in (tmp_path / "gz").iterdir():
            made.write(file, file.name)
    for path in (tmp_path / "gz", tmp_path / "gz.zip", files[0].parent):
        found = discover(path)
        (case,) = found.cases
        volume = pickle.loads(pickle.dumps(read_case(case)))  # noqa: S301 - as worker processes send it
        np.testing.assert_array_equal(volume.voxels, head_ct)
        assert len(input_digest(case)) == 12


def test_gzip_bombs_and_broken_gzip_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "GZIP_FLOOR_BYTES", 10_000)
    monkeypatch.setattr(source_module, "GZIP_RATIO", 2)
    scan(tmp_path / "a.nii")
    start = b"\0" * 128 + b"DICM" + b"\x09\0\x10\0OB\0\0" + struct.pack("<I", 2**31)
    (tmp_path / "bomb.dcm.gz").write_bytes(gzip.compress(start + bytes(10_000_000)))
    whole = gzip.compress(np.random.default_rng(0).bytes(9000))
    (tmp_path / "cut.dcm.gz").write_bytes(whole[:100])
    (tmp_path / "none.dcm.gz").write_bytes(b"no gzip")
    (tmp_path / "flipped.dcm.gz").write_bytes(whole[:50] + bytes(50) + whole[100:])
    found = discover(tmp_path, "ct")
    assert all(broken for _, broken in left(found).values())
    assert set(left(found)) == {"bomb.dcm.gz", "cut.dcm.gz", "none.dcm.gz", "flipped.dcm.gz"}
    (tmp_path / "IM7.gz").write_bytes(whole[:100])
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        made.writestr("IM8", b"y" * 300)
    (tmp_path / "z.zip").write_bytes((tmp_path / "z.zip").read_bytes().replace(b"y" * 300, b"z" * 300))
    found = discover(tmp_path, "ct")
    assert left(found)["IM7.gz"][1], "nobody knows what was in it"
    assert left(found)["z.zip[IM8]"][1]
    assert "unpacks to more than" in left(found)["bomb.dcm.gz"][0]


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("b.mgz", "mri_convert"), ("b.mnc", "mnc2nii"), ("b+orig.BRIK", "3dAFNItoNIFTI"), ("b.rec", "dcm2niix"),
        ("b.tar.gz", "unpack it"), ("b.7z", "unpack it"), ("b.nii.bz2", "uncompress"), ("b.dcm.xz", "uncompress"),
        ("b.nrrd.gz", "gunzip"), ("b.npy", "convert it to NIfTI"), ("b.nii.gz.part", "unfinished download"),
        ("b.raw", "convert it to NIfTI"), (".b.nii.gz", "rename it"), ("b.img.gz", "gunzip"),
    ],
)  # fmt: skip
def test_forms_that_are_not_read_are_left_out_with_the_way_out(tmp_path: Path, name: str, way_out: str) -> None:
    scan(tmp_path / "a.nii")
    (tmp_path / name).write_bytes(b"x")
    found = discover(tmp_path, "ct")
    assert way_out in left(found)[name][0]
    assert found.incomplete
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        made.writestr(name, b"x")
    assert way_out in left(discover([tmp_path / "a.nii", tmp_path / "z.zip"], "ct"))[f"z.zip[{name}]"][0]


def test_other_names_are_counted_by_a_list(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    for name in (".DS_Store", "Thumbs.db", "._a.nii", "a.json", "x/b.JSON", "participants.tsv", "DICOMDIR", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    scan(tmp_path / ".git/annex/b.nii")
    scan(tmp_path / "__MACOSX/b.nii")
    found = discover(tmp_path, "ct")
    assert found.rejected == ()
    assert dict(found.ignored) == {
        ".DS_Store": 1, "Thumbs.db": 1, "temporary and system files": 1, ".json": 2, ".tsv": 1, "DICOMDIR": 1,
        "hidden files": 1, "hidden folders": 2,
    }  # fmt: skip
    assert found.about_ignored() == [
        "not opened, as no scans by their names: 10 (.json 2, hidden folders 2, .DS_Store 1, .tsv 1, DICOMDIR 1, "
        "Thumbs.db 1, hidden files 1, temporary and system files 1)"
    ]


def test_what_is_given_by_name_is_always_answered(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    for name in ("DICOMDIR", "b.json", "c.nii.gz.md5"):
        (tmp_path / name).write_bytes(b"x")
    found = discover([tmp_path / name for name in ("a.nii", "DICOMDIR", "b.json", "c.nii.gz.md5")], "ct")
    assert "give the folder" in left(found)["DICOMDIR"][0]
    assert set(left(found)) == {"DICOMDIR", "b.json", "c.nii.gz.md5"}


def test_files_of_unknown_names_are_listed_by_suffix(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    for name in ("b.foo", "c.foo", "d.foo", "e.bar", "README"):
        (tmp_path / name).write_bytes(b"garbage")
    found = discover(tmp_path, "ct")
    assert [item.path_or_series for item in found.rejected] == [
        str(tmp_path / "README"), f"{tmp_path / 'b.foo'} and 2 more .foo", str(tmp_path / "e.bar"),
    ]  # fmt: skip
    (tmp_path / "IM1").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    assert left(discover(tmp_path, "ct"))["IM1"][1], "a file that says it is DICOM may be a scan"


def test_own_outputs_below_an_input_are_named_and_not_read(tmp_path: Path) -> None:
    scan(tmp_path / "a.nii")
    scan(tmp_path / "done/a.nii")
    mark = {"schema": "ctseg-output/1", "kind": "segment", "files": []}
    (tmp_path / "done/.ctseg.json").write_text(json.dumps(mark))
    found = discover(tmp_path, "ct")
    assert names(found) == ["a"]
    assert "an output of `ctseg segment`" in left(found)["done"][0]
    (tmp_path / "done/.ctseg.json").write_text(json.dumps({**mark, "kind": "phantom"}))
    assert len(discover(tmp_path, "ct").cases) == 2


def test_nifti_pairs_are_read_and_analyze_is_refused(tmp_path: Path) -> None:
    single = read_case(discover(scan(tmp_path / "one/a.nii"), "ct").cases[0])
    scan(tmp_path / "pair/b.hdr", kind=nib.Nifti1Pair)
    found = discover(tmp_path / "pair", "ct")
    (case,) = found.cases
    assert found.rejected == ()
    assert (case.case_id, [file.name for file in case.files]) == ("b", ["b.hdr", "b.img"])
    volume = read_case(case)
    np.testing.assert_array_equal(volume.voxels, single.voxels)
    np.testing.assert_allclose(volume.origins_mm, single.origins_mm)
    before = input_digest(case)
    with (tmp_path / "pair/b.img").open("r+b") as file:
        file.write(b"\1\1")
    assert input_digest(case) != before
    nib.save(nib.AnalyzeImage(np.ones((4, 4, 4), np.int16), None), tmp_path / "old.hdr")
    (old,) = discover(tmp_path / "old.hdr", "ct").cases
    with pytest.raises(CaseError, match=r"old\.hdr: Analyze 7\.5, .* left from right; convert it to NIfTI"):
        read_case(old)
    assert left(discover([tmp_path / "pair", tmp_path / "old.hdr", tmp_path / "old.img"]))["old.hdr"][1]


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_nrrd_and_metaimage_are_read_by_simpleitk(tmp_path: Path, suffix: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    path = scan(tmp_path / "one/a.nii")
    read = itk.ReadImage(str(path))
    bare = itk.GetImageFromArray(itk.GetArrayFromImage(read))
    bare.CopyInformation(read)
    itk.WriteImage(bare, str(tmp_path / f"b{suffix}"))
    found = discover([item for item in tmp_path.iterdir() if item.is_file()], "ct")
    assert found.rejected == ()
    (case,) = found.cases
    volume, single = read_case(case), read_case(discover(path, "ct").cases[0])
    np.testing.assert_array_equal(volume.voxels, single.voxels)
    np.testing.assert_allclose(volume.origins_mm, single.origins_mm)
    assert volume.notes == single.notes
    assert len(case.files) == (2 if suffix in (".nhdr", ".mhd") else 1)


def test_an_nrrd_without_space_says_what_is_assumed_and_lies_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: %s\nspacings: 1 1 2\nencoding: raw\nendian: little\n\n"
    voxels = np.random.default_rng(0).normal(30, 8, 27).astype("<i2")
    voxels[:9] = -1000
    (tmp_path / "a.nrrd").write_bytes(head % b"3 3 3" + voxels.tobytes())
    (tmp_path / "huge.nrrd").write_bytes(head % b"4000 4000 4000" + voxels.tobytes())
    (tmp_path / "none.mha").write_bytes(b"garbage")
    ways = {}
    for case in discover(tmp_path, "ct").cases:
        try:
            ways[case.case_id] = "; ".join(read_case(case).notes)
        except CaseError as error:
            ways[case.case_id] = str(error)
    assert "no orientation; voxels are taken to be stored in LPS order" in ways["a"]
    assert "claims 128.0 GB of voxels" in ways["huge"]
    assert "none.mha: broken, or not of the format" in ways["none"]


@pytest.mark.parametrize(
    ("suffix", "key", "line", "words"),
    [
        (".nrrd", "space origin", 'space origin: (0,0,0)\nspace units: "um" "um" "um"', "its lengths are not in mm"),
        (".nrrd", "space origin", 'space origin: (0,0,0)\nspace units: "mm" "mm" "mm"', ""),
        (".nrrd", "space directions", "space directions: (0,0,0) (0,1,0) (0,0,1)", "affine is singular"),
        (".nrrd", "sizes", "sizes: 8 8 2", "bytes of voxels where its header says"),
        (".mha", "DimSize", "DimSize = 8 8 2", "bytes of voxels where its header says"),
        (".mhd", "DimSize", "DimSize = 8 8 2", "bytes of voxels where its header says"),
        (".mha", "Offset", "Offset = nan 0 0", "its Offset holds what is no length"),
        (".mha", "ElementSpacing", "ElementSpacing = -1 1 1", "its ElementSpacing holds what is no length"),
        (".mha", "TransformMatrix", "TransformMatrix = nan 0 0 0 1 0 0 0 1", "affine is singular"),
        (".mha", "Offset", "Offset = 0 0 0\nElementToIntensityFunctionSlope = 2", "its values are to be scaled"),
        (".mha", "Offset", "Offset = 0 0 0\nElementSize = 3 3 3", "says voxels of 3 x 3 x 3 mm (ElementSize)"),
        (".mha", "AnatomicalOrientation", "AnatomicalOrientation = SPL", "says axes from SPL (AnatomicalOrientation)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_itks_headers_say_twice_is_refused_or_said(
    tmp_path: Path, suffix: str, key: str, line: str, words: str
) -> None:
    itk = pytest.importorskip("SimpleITK")
    voxels = np.full((6, 8, 8), 30, np.int16)
    voxels[:, :2] = -1000
    image = itk.GetImageFromArray(voxels)
    image.SetSpacing((2.0, 2.0, 5.0))
    path = tmp_path / f"b{suffix}"
    itk.WriteImage(image, str(path))
    data = path.read_bytes()
    begin = data.index(key.encode())
    path.write_bytes(data[:begin] + line.encode() + data[data.index(b"\n", begin) :])
    (case,) = discover(path, "ct").cases
    try:
        found = "; ".join(read_case(case).notes)
    except CaseError as error:
        found = str(error)
    assert words in found, found


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n")
    (case,) = discover(tmp_path, "ct").cases
    with pytest.raises(
        CaseError, match=r"a\.nrrd: needs SimpleITK: pip install 'ctseg\[itk\]', or convert it to NIfTI"
    ):
        read_case(case)


def patched(path: Path, *places: tuple[bytes, int, bytes]) -> Path:
    """A zip with bytes overwritten behind every occurrence of a mark."""
    data = bytearray(path.read_bytes())
    for mark, offset, value in places:
        at = data.find(mark)
        while at >= 0:
            data[at + offset : at + offset + len(value)] = value
            at = data.find(mark, at + 4)
    path.write_bytes(data)
    return path


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (((CENTRAL, 10, b"\x09\0"), (LOCAL, 8, b"\x09\0")), "the zip uses Deflate64; unpack it and give the folder"),
        (((CENTRAL, 10, b"\x5d\0"), (LOCAL, 8, b"\x5d\0")), "the zip uses Zstandard; unpack it and give the folder"),
        (((CENTRAL, 10, b"\x2a\0"),), "the zip uses compression method 42; unpack it"),
        (((CENTRAL, 8, b"\x01\0"), (LOCAL, 6, b"\x01\0")), "the zip is encrypted; unpack it and give the folder"),
        (((CENTRAL, 24, b"\0\0\0\x7f"),), "would unpack to 11.9 GiB, so it is refused"),
        (((CENTRAL, 20, b"\0\0\0\x7f"),), "so it is refused"),
        (((b"PK\x05\x06", 12, b"\0\0\0\x7f"),), "not a readable zip"),
    ],
)
def test_a_zip_that_cannot_be_read_is_one_line(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path, places: tuple, reason: str
) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for file in write_series(head_ct, straight):
            made.write(file, file.name)
    scan(tmp_path / "a.nii")
    found = discover([tmp_path / "a.nii", patched(tmp_path / "z.zip", *places)], "ct")
    assert len(found.rejected) == 1
    assert reason in found.rejected[0].reason
    assert found.incomplete


def test_a_huge_table_of_contents_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_TABLE_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        for number in range(5):
            made.writestr(f"{number}", b"x")
    scan(tmp_path / "a.nii")
    assert "table of contents" in left(discover(tmp_path, "ct"))["z.zip"][0]


def test_a_zip_in_a_zip_is_named(write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        for file in write_series(head_ct, straight):
            made.write(file, file.name)
        made.writestr("p2/inner.zip", b"x")
        made.writestr("__MACOSX/._a.dcm", b"x")
        made.writestr("report.pdf", b"x")
    found = discover(tmp_path / "z.zip", "ct")
    assert "unpack the outer one" in left(found)["inner.zip]"][0]
    assert dict(found.ignored) == {"hidden folders": 1, ".pdf": 1}


def test_the_table_of_a_zip_is_read_once(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as made:
        for file in write_series(head_ct, straight):
            made.write(file, file.name)
    opened = []
    whole = zipfile.ZipFile.__init__
    monkeypatch.setattr(zipfile.ZipFile, "__init__", lambda self, *a, **k: (opened.append(a), whole(self, *a, **k))[1])
    (case,) = discover(tmp_path / "z.zip").cases
    read_case(case)
    input_digest(case)
    assert len(opened) == 1
    with zipfile.ZipFile(tmp_path / "z.zip", "a") as made:
        made.writestr("more", b"x")
    assert "more" in str(discover(tmp_path / "z.zip").rejected), "a zip that has changed is read again"


def test_long_names_become_cases_that_can_be_written(tmp_path: Path) -> None:
    for seed, name in enumerate(("a" * 240, "a" * 239 + "b", "山" * 80, "short")):
        scan(tmp_path / f"{name}.nii", seed)
    scan(tmp_path / ("f" * 200) / f"{'a' * 240}.nii", 9)
    found = discover(tmp_path, "ct")
    assert len(set(names(found))) == 5
    for case in found.cases:
        assert len(f"{case.case_id}-123456-2_resampled.dcm") <= 255
        assert case.case_id == "short" or len(case.case_id) < 20 or any("name is shortened" in n for n in case.notes)
    assert names(discover(tmp_path, "ct")) == names(found)


def test_names_that_are_no_utf8_are_cases(tmp_path: Path) -> None:
    try:
        scan(tmp_path / "a.nii").rename(os.fsdecode(os.fsencode(tmp_path) + b"/Gr\xf6\xdfe.nii"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    (name,) = names(discover(tmp_path, "ct"))
    assert name.isascii()


def test_kinds_do_not_depend_on_case() -> None:
    for name in ("A.NII.GZ", "a.Nii", "A.NRRD", "A.MHA", "A.HDR"):
        assert kind_of(name).what == "volume"
    assert kind_of("A.ZIP").what == "zip"
    assert kind_of("A.DCM.GZ").what == kind_of("IM0001").what == kind_of("1.2.840.113").what == "dicom"


@pytest.mark.parametrize("said_by", ["ImageType", "private", "private as bytes"])
def test_a_mosaic_is_no_slice(
    write_series: Write, head_ct: np.ndarray, straight: Positions, tmp_path: Path, said_by: str
) -> None:
    """Siemens tiles the slices of an echo-planar volume in one picture; read as a slice it is a head of 1.2 m."""
    files = write_series(head_ct, straight, Modality="MR")
    for file in files:
        dataset = pydicom.dcmread(file)
        if said_by == "ImageType":
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        else:
            dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
            dataset.add_new(0x0019100A, *(("US", 36) if said_by == "private" else ("UN", b"\x24\0")))
        dataset.save_as(file)
    write_series(head_ct, straight, "plain", Modality="MR", SeriesInstanceUID="1.2.3", PatientID="OTHER")
    found = discover(tmp_path, "mr")
    assert [len(case.files) for case in found.cases] == [6]
    ((reason, broken),) = left(found).values()
    assert "mosaic" in reason
    assert broken
    with pytest.raises(CaseError, match="mosaic"):
        read_series(files, domain="mr")


def test_another_makers_element_of_that_number_says_nothing(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    for file in (files := write_series(head_ct, straight, Modality="MR")):
        dataset = pydicom.dcmread(file)
        dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
        dataset.add_new(0x0019100A, "US", 36)
        dataset.save_as(file)
    assert read_series(files, domain="mr").voxels.shape == (6, 24, 20)


META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 96 96 20\nElementSpacing = 2.5 2.5 8\nElementType = MET_SHORT\n"
    "ElementDataFile = {}\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 96 96 20\nspace: left-posterior-superior\n"
    "space directions: (2.5,0,0) (0,2.5,0) (0,0,8)\nspace origin: (0,0,0)\nendian: little\nencoding: raw\n{}\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.mhd", META.format("../other/secret.raw")), ("x.mhd", META.format("{}/secret.raw")),
        ("x.mhd", META.format("LIST\n{}/secret.raw")), ("x.mha", META.format("../other/secret.raw")),
        ("x.mhd", META.format("secret%03d.raw 1 20 1")),
        ("x.mhd", "Comment = " + "x" * 2**20 + "\n" + META.format("x")),
        ("x.nhdr", NRRD.format("data file: ../other/secret.raw")), ("x.nhdr", NRRD.format("DataFile:={}/secret.raw")),
        ("x.nhdr", NRRD.format("data file: LIST\n../other/secret.raw")),
        ("x.nrrd", NRRD.format("datafile: ../other/secret.raw")),
        ("x.nhdr", NRRD.format("# " + "x" * 2**20 + "\ndata file: ../other/secret.raw")),
    ],
)  # fmt: skip
def test_no_header_chooses_the_file_of_its_voxels(tmp_path: Path, name: str, text: str) -> None:
    pytest.importorskip("SimpleITK")
    voxels = np.full((20, 96, 96), 30, "<i2").tobytes()
    for folder in ("scans", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "other" / "secret.raw").write_bytes(voxels)
    (tmp_path / "scans" / "x.raw").write_bytes(voxels)
    (tmp_path / "scans" / name).write_text(text.replace("{}", str(tmp_path / "other")))
    with pytest.raises(CaseError, match="names another file|header of more than"):
        open_nifti(tmp_path / "scans" / name)


@pytest.mark.parametrize(("name", "text"), [("x.mhd", META), ("x.nhdr", NRRD.format("data file: {}"))])
def test_voxels_beside_are_read(tmp_path: Path, name: str, text: str) -> None:
    pytest.importorskip("SimpleITK")
    (tmp_path / "x.raw").write_bytes(np.full((20, 96, 96), 30, "<i2").tobytes())
    (tmp_path / name).write_text(text.format("x.raw"))
    assert read_voxels(open_nifti(tmp_path / name), None).max() == 30


def test_programs_on_a_disc_are_no_zips_to_rename(
    write_series: Write, head_ct: np.ndarray, straight: Positions
) -> None:
    folder = write_series(head_ct, straight)[0].parent
    for name in ("viewer.jar", "help.CHM", "letter.odt"):
        (folder / name).write_bytes(b"PK\x03\x04")
    found = discover(folder)
    assert (found.rejected, dict(found.ignored)) == ((), {".jar": 1, ".chm": 1, ".odt": 1})
