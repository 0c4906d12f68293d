"""What is no scan by its name is looked at: what it is by its first bytes is listed with the way out, exit 1."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.contents import known_form
from ctseg.io.discover import discover, read_case
from ctseg.io.kinds import kind_of

Write = Callable[..., list[Path]]


def volume(folder: Path, kind: type = nib.Nifti1Image) -> bytes:
    voxels = np.random.default_rng(0).normal(30, 8, (8, 7, 6)).astype(np.int16)
    nib.save(kind(voxels, np.diag([-1.0, -2.0, 3.0, 1.0])), folder / "made.nii")
    return (folder / "made.nii").read_bytes()


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("IM0001", data)
    return buffer.getvalue()


def tarred(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("IM0001")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def cohort(tmp_path: Path, write_series: Write, head_ct: np.ndarray, straight: list[tuple[float, ...]]) -> Path:
    """A folder with one series that can be read."""
    return write_series(head_ct, straight, "cohort")[0].parent


FORMS = {
    "scan": ("a NIfTI volume", lambda data: data),
    "scan.dat": ("a NIfTI volume", lambda data: data),
    "scan.img": ("a NIfTI volume", lambda data: data),
    "scan.gz": ("a NIfTI volume", gzip.compress),
    "scan.bin": ("gzip", gzip.compress),
    "study": ("a zip", zipped),
    "study.dcm": ("a zip", zipped),
    "archive": ("an archive", tarred),
    "scan.xyz": ("compressed", bz2.compress),
    "scan.2": ("compressed", lzma.compress),
    "scan.3": ("compressed", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
    "nrrd": ("a NRRD volume", lambda _: b"NRRD0004\ntype: short\n"),
    "meta": ("a MetaImage volume", lambda _: b"ObjectType = Image\nNDims = 3\n"),
    "IM0007": ("a stand-in", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"),
    "IM0008": ("a stand-in", lambda _: b"/annex/objects/MD5E-s1--a.nii.gz\n"),
    "IM0009.dcm": ("a web page", lambda _: b"\n<!DOCTYPE html><html>"),
    "voxels.img": ("the voxels of a pair", lambda _: bytes(5000)),
}


@pytest.mark.parametrize("name", FORMS)
def test_scans_under_odd_names_are_listed_with_the_way_out(cohort: Path, tmp_path: Path, name: str) -> None:
    word, form = FORMS[name]
    (cohort / name).write_bytes(form(volume(tmp_path)))
    found = discover(cohort, "ct")
    (left,) = found.rejected
    assert (len(found.cases), left.broken, Path(left.path_or_series).name) == (1, True, name)
    assert left.reason.startswith(word)
    assert ";" in left.reason


@pytest.mark.parametrize("name", ["README", "notes.xyz", "IM.0001"])
def test_other_files_are_listed_and_are_no_scans(cohort: Path, name: str) -> None:
    (cohort / name).write_bytes(b"something else, of no form that is known, " * 30)
    found = discover(cohort, "ct")
    assert [item.broken for item in found.rejected] == [False]


@pytest.mark.parametrize("name", [
    "a_ct.nii.gz.1", "a_ct.nii.gz copy", "a_ct.nii~", "a.nii.bak", "a.NII.GZ.tmp", "a.nrrd.old", "s.zip.001",
    "s.7z.002", "a.nii.Z", "a.nii.lzma", "a.nii.gz.gpg", "s.zipx", "s.z01", "s.r00", "s.CAB", "s.dmg", "a.nifti", "a.v",
    "a.hdf", "a.nii.gz.download",
])  # fmt: skip
def test_names_that_hide_a_scan_are_listed(name: str) -> None:
    kind = kind_of(name)
    assert kind.what == "left"
    assert ";" in kind.reason


@pytest.mark.parametrize("name", ["1.2.840.10008.5", "IM.001", "a.nii.dcm", "CT.1.2", "a.IMA", "i0001.MRDC.1"])
def test_names_of_dicom_files_are_tried(name: str) -> None:
    assert kind_of(name).what == "dicom"


@pytest.mark.parametrize(("name", "word", "form"), [
    ("a_ct.nii", "gzip", gzip.compress),
    ("a_ct.nii.gz", "a NIfTI volume by its content", lambda data: data),
    ("a_ct.nii.gz", "a web page", lambda _: b"<html><body>Log in</body></html>"),
    ("a_ct.nii.gz", "a stand-in", lambda _: b"version https://git-lfs.github.com/spec/v1\n"),
    ("a_ct.nii.gz", "a zip", zipped),
    ("a_ct.nii", "a DICOM file", lambda data: bytes(128) + b"DICM" + data),
])  # fmt: skip
def test_a_volume_of_another_form_than_its_name_says_so(
    tmp_path: Path, name: str, word: str, form: Callable[[bytes], bytes]
) -> None:
    data = volume(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / name).write_bytes(form(data))
    (case,) = discover(tmp_path / "scans", "ct").cases
    with pytest.raises(CaseError, match=f"{name}: {word}"):
        read_case(case)


def test_nifti_2_is_known_too(tmp_path: Path) -> None:
    assert known_form(volume(tmp_path, nib.Nifti2Image), "x").startswith("a NIfTI volume")
    assert known_form(b"", "x") == ""
