"""Damaged or cut voxels of a compressed NRRD or MetaImage are refused: ITK reads them, or what was in memory before."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ctseg.errors import CaseError
from ctseg.io.discover import discover, read_case

pytest.importorskip("SimpleITK")

SHAPE = (6, 17, 18)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {truth}\n{size}"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 4 4 5\nDimSize = 18 17 6\n"
    "ElementType = MET_SHORT\nElementDataFile = {where}\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 18 17 6\nencoding: gzip\n"
    "endian: little\nspace directions: (4,0,0) (0,4,0) (0,0,5)\nspace origin: (0,0,0)\n{file}\n"
)


def voxels() -> bytes:
    made = np.random.default_rng(0).normal(30, 8, SHAPE).astype("<i2")
    made[:, :, :4] = -1000
    return made.tobytes()


def mha(folder: Path, packed: bytes, stated: str | None = None, truth: str = "True") -> Path:
    size = f"CompressedDataSize = {len(packed) if stated is None else stated}\n" if stated != "" else ""
    head = META.format(truth=truth, size=size, where="LOCAL").encode()
    (folder / "a_ct.mha").write_bytes(head + packed)
    return folder / "a_ct.mha"


def mhd(folder: Path, packed: bytes) -> Path:
    (folder / "a_ct.zraw").write_bytes(packed)
    (folder / "a_ct.mhd").write_text(META.format(truth="True", size="", where="a_ct.zraw"))
    return folder / "a_ct.mhd"


def nrrd(folder: Path, packed: bytes) -> Path:
    (folder / "a_ct.nrrd").write_bytes(NRRD.format(file="").encode() + packed)
    return folder / "a_ct.nrrd"


def nhdr(folder: Path, packed: bytes) -> Path:
    (folder / "a_ct.raw.gz").write_bytes(packed)
    (folder / "a_ct.nhdr").write_text(NRRD.format(file="data file: a_ct.raw.gz\n"))
    return folder / "a_ct.nhdr"


def flipped(packed: bytes, place: int) -> bytes:
    changed = bytearray(packed)
    changed[place] ^= 0x10
    return bytes(changed)


FORMS: dict[str, tuple[Callable[[Path, bytes], Path], Callable[[bytes], bytes]]] = {
    "mha": (mha, zlib.compress), "mhd": (mhd, zlib.compress), "nrrd": (nrrd, gzip.compress),
    "nhdr": (nhdr, gzip.compress),
}  # fmt: skip
DAMAGES: dict[str, Callable[[Callable[[bytes], bytes]], bytes]] = {
    "a bit": lambda pack: flipped(pack(voxels()), len(pack(voxels())) // 2),
    "the checksum": lambda pack: flipped(pack(voxels()), -6 if pack is gzip.compress else -2),
    "cut": lambda pack: pack(voxels())[:-900],
    "cut by a few": lambda pack: pack(voxels())[:-3],
    "too few": lambda pack: pack(voxels()[:-600]),
    "not packed": lambda pack: voxels(),
    "empty": lambda pack: b"",
}


def read(path: Path) -> np.ndarray:
    (case,) = discover(path, "ct").cases
    return read_case(case).voxels


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_stream_is_refused(tmp_path: Path, form: str, damage: str) -> None:
    write, pack = FORMS[form]
    whole = read(write(tmp_path, pack(voxels())))  # ITK gives what this left in memory for the next
    np.testing.assert_array_equal(whole, np.frombuffer(voxels(), "<i2").reshape(SHAPE))
    with pytest.raises(CaseError, match=r"a_ct\.(mha|mhd|nrrd|nhdr): (damaged|broken|its CompressedDataSize)"):
        read(write(tmp_path, DAMAGES[damage](pack)))


@pytest.mark.parametrize("form", FORMS)
def test_so_is_one_that_holds_more_slices(tmp_path: Path, form: str) -> None:
    write, pack = FORMS[form]
    with pytest.raises(CaseError, match="unpacks to more than the 3672 bytes that its header says"):
        read(write(tmp_path, pack(voxels() + voxels())))


@pytest.mark.parametrize(
    ("stated", "word"),
    [("", "is not given"), ("0", "is no number"), ("1e3", "is no number"), ("900", "damaged"), ("99999", "are there")],
)
def test_a_metaimage_without_the_size_of_its_stream_is_refused(tmp_path: Path, stated: str, word: str) -> None:
    with pytest.raises(CaseError, match=word):
        read(mha(tmp_path, zlib.compress(voxels()), stated))


@pytest.mark.parametrize("truth", ["True", "true", "T", "1"])
def test_whatever_counts_as_true_is_looked_at(tmp_path: Path, truth: str) -> None:
    packed = zlib.compress(voxels())
    np.testing.assert_array_equal(read(mha(tmp_path, packed, truth=truth))[0, 0], np.frombuffer(voxels(), "<i2")[:18])
    with pytest.raises(CaseError, match="damaged"):
        read(mha(tmp_path, flipped(packed, len(packed) // 2), truth=truth))


def test_streams_that_follow_each_other_and_rubbish_behind_them_are_no_damage(tmp_path: Path) -> None:
    for packed in (
        gzip.compress(voxels()[:1000]) + gzip.compress(voxels()[1000:]),
        gzip.compress(voxels()) + b"rubbish",
    ):
        np.testing.assert_array_equal(read(nrrd(tmp_path, packed)).ravel(), np.frombuffer(voxels(), "<i2"))
