"""What a file's name says that it is: a scan to read, a scan in a form that is not read, or one of the known others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Formats that SimpleITK reads."""
ANALYZE = ".hdr"
"""Header of a pair, NIfTI or Analyze 7.5; the voxels lie in the `.img` beside it."""

IGNORED_NAMES = frozenset({".ds_store", "desktop.ini", "dicomdir", "ehthumbs.db", "thumbs.db", "autorun.inf"})
IGNORED_PREFIXES = ("._", "~$", ".partial-", ".replaced-", ".nfs", ".fuse_hidden", ".git")
"""What systems, programs and ctseg itself put beside files."""
IGNORED_FOLDERS = frozenset({"__macosx", "$recycle.bin", "system volume information"})
IGNORED_SUFFIXES = frozenset(
    {
        ".bat", ".bmp", ".bval", ".bvec", ".chm", ".class", ".css", ".csv", ".dll", ".doc", ".docm", ".docx", ".exe",
        ".gif", ".hlp", ".htm", ".html", ".ico", ".inf", ".ini", ".jar", ".jnlp", ".jpeg", ".jpg", ".js", ".json",
        ".lnk", ".log", ".md", ".md5", ".msi", ".ocx", ".odp", ".ods", ".odt", ".pdf", ".png", ".ppt", ".pptx", ".py",
        ".rtf", ".sh", ".sha256", ".svg", ".toml", ".tsv", ".ttf", ".txt", ".url", ".war", ".xls", ".xlsm", ".xlsx",
        ".xml", ".yaml", ".yml",
    }
)  # fmt: skip
"""Files with these names are no scans; they are counted and not opened."""

CONVERT = "convert it to NIfTI (.nii.gz)"
UNPACK = "an archive; unpack it and give the folder"
INFLATE = "compressed; uncompress it"
NO_PLACE = f"an array without voxel size; {CONVERT}"
NESTED = "a zip inside a zip; unpack the outer one and give the folder"
LEFT_SUFFIXES = {
    ".mgz": "a FreeSurfer volume; convert it to NIfTI (mri_convert)",
    ".mgh": "a FreeSurfer volume; convert it to NIfTI (mri_convert)",
    ".mnc": "a MINC volume; convert it to NIfTI (mnc2nii)",
    ".head": "an AFNI volume; convert it to NIfTI (3dAFNItoNIFTI)",
    ".brik": "an AFNI volume; convert it to NIfTI (3dAFNItoNIFTI)",
    ".par": "a Philips PAR/REC volume; export DICOM, or convert it to NIfTI (dcm2niix)",
    ".rec": "a Philips PAR/REC volume; export DICOM, or convert it to NIfTI (dcm2niix)",
    **dict.fromkeys((".gipl", ".vtk", ".vti", ".mif", ".mih", ".nia", ".tif", ".tiff"), f"not read; {CONVERT}"),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5", ".raw", ".zraw"), NO_PLACE),
    **dict.fromkeys((".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".iso"), UNPACK),
    **dict.fromkeys((".cab", ".dmg", ".lzh", ".ace", ".arj", ".cpio", ".tzst", ".tlz"), UNPACK),
    **dict.fromkeys((".bz2", ".xz", ".zst", ".lz4", ".z", ".lzma", ".lz", ".br"), INFLATE),
    **dict.fromkeys((".z01", ".zipx", ".r00"), UNPACK),
    **dict.fromkeys(
        (".part", ".crdownload", ".filepart", ".partial", ".download"), "an unfinished download; fetch it again"
    ),
    **dict.fromkeys((".gpg", ".pgp", ".enc", ".age", ".aes"), "encrypted; decrypt it"),
    **dict.fromkeys((".hdf", ".nc", ".zarr"), NO_PLACE),
    **dict.fromkeys((".nifti", ".nifti1", ".nifti2"), "a NIfTI volume by its name; rename it so that it ends in .nii"),
    **dict.fromkeys((".v", ".ecat", ".pic", ".spr", ".vhdr"), f"not read; {CONVERT}"),
}
"""Files that may hold a scan and are not read, with the way out."""
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
RENAMED = re.compile(r"\.(nii|nii\.gz|nrrd|nhdr|mha|mhd|mgz|zip|tar|tar\.gz|tgz|7z|rar)([.~ _(-].*|~|\d+)$")
"""A scan's or an archive's suffix that something was put behind: a backup, a copy, a second download, a split part."""
LONGEST = 255
"""Letters of the longest name that a file system takes; a member of an archive may have longer ones."""
SUFFIX_LOST = "something stands behind its suffix (a copy, a backup, a part?); rename it, or join its parts"


@dataclass(frozen=True)
class Kind:
    """What is done with a file."""

    what: str
    """'volume' (NIfTI or ITK), 'zip', 'dicom' (tried as such), 'left' or 'ignored'."""
    reason: str = ""
    """Why it is left out, or under which name an ignored file is counted."""


def kind_of(name: str) -> Kind:
    """What a file of this name is, folders aside."""
    lower = name.lower()
    if lower in IGNORED_NAMES:
        return Kind("ignored", name)
    if lower.startswith(IGNORED_PREFIXES):
        return Kind("ignored", "temporary and system files")
    if lower.startswith("."):
        return _hidden(lower)
    if lower.endswith(".gz") and not lower.endswith(NIFTI):
        return _gzip(lower)
    return _by_suffix(lower, PurePath(lower).suffix)


def _by_suffix(lower: str, suffix: str) -> Kind:
    if suffix in IGNORED_SUFFIXES:
        return Kind("ignored", suffix)
    if suffix in LEFT_SUFFIXES:
        return Kind("left", LEFT_SUFFIXES[suffix])
    if is_volume(lower):
        return Kind("volume")
    if suffix not in DICOM_SUFFIXES and RENAMED.search(lower[-LONGEST:]):
        return Kind("left", SUFFIX_LOST)
    return Kind("zip" if suffix == ".zip" else "dicom")


def is_hidden_folder(name: str) -> bool:
    """Whether a folder of this name is not looked into: hidden, or a system's own."""
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in IGNORED_FOLDERS


def is_volume(name: str) -> bool:
    """Whether the name is that of a whole volume in a file (or a header of one): NIfTI, Analyze, NRRD, MetaImage."""
    return name.lower().endswith((*NIFTI, *ITK, ANALYZE)) and not name.startswith(".")


def _hidden(lower: str) -> Kind:
    if is_volume(lower[1:]) or lower.endswith((".dcm", ".dcm.gz", ".zip")):
        return Kind("left", "hidden, as its name begins with a dot; rename it if it is a scan")
    return Kind("ignored", "hidden files")


def _gzip(lower: str) -> Kind:
    """A gzip file by the name inside; what could be DICOM is unpacked in memory."""
    inner = lower.removesuffix(".gz")
    suffix = PurePath(inner).suffix
    if suffix in IGNORED_SUFFIXES:
        return Kind("ignored", f"{suffix}.gz")
    if suffix == ".tar":
        return Kind("left", UNPACK)
    if suffix in LEFT_SUFFIXES or is_volume(inner) or suffix in (".zip", ".img"):
        return Kind("left", f"{INFLATE} (gunzip)")
    return Kind("dicom")
