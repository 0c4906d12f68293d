"""What a file is by its first bytes, where its name does not say so: the way out for scans under odd names."""

from __future__ import annotations

from pathlib import PurePath

from ctseg.io.kinds import CONVERT, INFLATE, NO_PLACE, UNPACK

ENOUGH_BYTES = 512
"""A NIfTI header says what it is at byte 344, a tar archive at 257."""
RENAME = "{} by its content; rename it so that its name ends in {}"
NIFTI = RENAME.format("a NIfTI volume", ".nii")
PACKED = f"{INFLATE}, or rename it so that its name ends in .gz (.nii.gz for a volume)"
FETCH = "a stand-in for a file that was not fetched; fetch it (`git lfs pull`, `datalad get`)"
WEB_PAGE = "a web page, not a scan (a download that asks for a login?); fetch it again"

MARKS: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", RENAME.format("a DICOM file", ".dcm")),
    (344, b"n+1\0", NIFTI),
    (4, b"n+2\0", NIFTI),
    (344, b"ni1\0", RENAME.format("the header of a NIfTI pair", ".hdr")),
    (4, b"ni2\0", RENAME.format("the header of a NIfTI pair", ".hdr")),
    (0, b"NRRD000", RENAME.format("a NRRD volume", ".nrrd")),
    (0, b"ObjectType", RENAME.format("a MetaImage volume", ".mha")),
    (0, b"NDims", RENAME.format("a MetaImage volume", ".mha")),
    (0, b"PK\3\4", RENAME.format("a zip", ".zip")),
    (0, b"\x1f\x8b", f"gzip, {PACKED}"),
    (0, b"\x1f\x9d", INFLATE),
    (0, b"BZh", INFLATE),
    (0, b"\xfd7zXZ\0", INFLATE),
    (0, b"\x28\xb5\x2f\xfd", INFLATE),
    (0, b"\x04\x22\x4d\x18", INFLATE),
    (0, b"]\0\0", INFLATE),
    (257, b"ustar", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", UNPACK),
    (0, b"Rar!\x1a\x07", UNPACK),
    (0, b"MSCF\0\0", UNPACK),
    (2, b"-lh", UNPACK),
    (0, b"\x89HDF\r\n", NO_PLACE),
    (0, b"CDF\1", f"a MINC or netCDF file; {CONVERT}"),
    (0, b"MATRIX7", f"an ECAT volume; {CONVERT}"),
    (0, b"mrtrix image", f"an MRtrix volume; {CONVERT}"),
    (0, b"II*\0", f"a TIFF picture; {CONVERT}"),
    (0, b"MM\0*", f"a TIFF picture; {CONVERT}"),
    (0, b"version https://git-lfs", FETCH),
    (0, b"/annex/objects/", FETCH),
)
"""(place, bytes there, what to do), the surest first."""
WEB = (b"<!doctype html", b"<html")
VOXELS_ALONE = "the voxels of a pair whose header (.hdr) is not beside it; copy both"


def known_form(start: bytes, name: str) -> str:
    """What a file that could not be read under its name is, with the way out; empty where nobody knows.

    Args:
        start: its first `ENOUGH_BYTES`, unpacked where the name says that it is compressed.
        name: its name.
    """
    for place, mark, reason in MARKS:
        if start[place : place + len(mark)] == mark:
            return reason
    if start.lstrip()[:14].lower().startswith(WEB):
        return WEB_PAGE
    return VOXELS_ALONE if PurePath(name.lower()).suffix == ".img" and len(start) >= ENOUGH_BYTES else ""
