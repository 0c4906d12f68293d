"""NRRD and MetaImage files by way of SimpleITK, as NIfTI images in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ctseg.errors import CaseError, without_quotes
from ctseg.io.grid import LPS_TO_RAS
from ctseg.io.kinds import CONVERT
from ctseg.io.nifti.itk_header import compared, fields_of
from ctseg.io.nifti.itk_packed import check_packed
from ctseg.io.quiet import quiet
from ctseg.io.volume import Array

MISSING = "needs SimpleITK: pip install 'ctseg[itk]', or " + CONVERT
OLDEST = (2, 5, 6)
"""Earlier versions turn a NRRD whose space is left-anterior-superior about the wrong axis: left becomes right."""
STATES_PLACE = re.compile(rb"^(space( directions)?|TransformMatrix|Rotation|Orientation)\s*[:=]", re.MULTILINE)
"""Header lines that say which way the axes point."""
VOXELS_IN = re.compile(rb"^[ \t]*+(?:data ?file|ElementDataFile)[ \t]*+[:=]++(.*+)$", re.MULTILINE | re.I)
"""The header line that says where the voxels are: `LOCAL`, a file, or a list of files; with blanks around it."""
BLANKS = b" \t\r"
NRRD_END = re.compile(rb"\r?\n\r?\n")
HEAD_BYTES = 1024 * 1024
"""Longer headers are refused: they could name another file further on."""
UNIT = 0.02
"""Lengths and right angles of direction cosines are true within this."""
MOST_LAYERS = 255
"""As many as there can be segments."""
BESIDE = {".mhd": (".raw", ".zraw", ".img"), ".nhdr": (".raw", ".raw.gz", ".img")}
"""Header files and the suffixes that the files of their voxels have."""


class _Voxels:
    """Voxels that are read when they are asked for; what nibabel calls an array proxy."""

    def __init__(self, reader: Any, dtype: np.dtype[Any], check: Callable[[], None]) -> None:
        self._reader, self.dtype, self._check = reader, dtype, check
        layers = reader.GetNumberOfComponents()
        self.shape = (*(int(size) for size in reader.GetSize()[:3]), *((layers,) if layers > 1 else ()))
        self.ndim = len(self.shape)

    @cached_property
    def _array(self) -> Array:
        import SimpleITK as sitk  # noqa: N813 - the name that its documentation gives it

        self._check()
        try:
            with quiet():
                found = sitk.GetArrayFromImage(self._reader.Execute())
        except RuntimeError as error:
            raise CaseError(_broken(error)) from None
        found = found[0] if self._reader.GetDimension() == 4 else found
        return np.asarray(found.transpose(2, 1, 0, *range(3, found.ndim)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._array, dtype=dtype)

    def __getitem__(self, place: Any) -> Array:
        return np.asarray(self._array[place])


def load_itk(path: Path, *, layered: bool = False) -> tuple[Any, tuple[str, ...]]:
    """A NIfTI image with the file's voxels (read when they are asked for) and geometry, and notes.

    Args:
        path: the file, or the header of a pair.
        layered: whether a NRRD may hold several values a voxel, which become a fourth axis (X, Y, Z, layers).

    Raises:
        CaseError: without the file's name, if SimpleITK is not installed or too old, or the file is broken or no
            greyscale volume.
    """
    sitk = _itk()
    head = header_text(path)
    states_place = STATES_PLACE.search(head) is not None
    _check_voxels_place(path, head)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise CaseError(_timed(head) or _broken(error)) from None
    layers = reader.GetNumberOfComponents()
    if not _is_volume(reader) or (layers != 1 and not layered):
        raise CaseError(f"has {reader.GetDimension()} axes and {layers} values a voxel; give the 3-D scan")
    if layers > MOST_LAYERS:
        raise CaseError(f"has {layers} layers of segments, of which {MOST_LAYERS} are read at most; save it with fewer")
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).dtype
    lps = _affine(reader)
    notes = compared(head, lps, reader.GetSize()[:3], dtype.itemsize * layers, _held(path, head))
    file, start = _voxels_of(path, head)
    expected = math.prod(reader.GetSize()) * dtype.itemsize * layers
    check = partial(check_packed, file, start, head, expected, expected // reader.GetSize()[2])
    image = nib.Nifti1Image(
        _Voxels(reader, dtype, check), LPS_TO_RAS @ lps, dtype=None if dtype.itemsize < 8 else dtype
    )
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code=1, update_affine=False)
    if not states_place:
        notes.append("the header carries no orientation; voxels are taken to be stored in LPS order")
    return image, tuple(notes)


def _is_volume(reader: Any) -> bool:
    """Whether a file has three axes in space, and at most a fourth of length one, as of one moment."""
    axes = reader.GetDimension()
    return bool(axes == 3 or (axes == 4 and reader.GetSize()[3] == 1))


def _itk() -> Any:
    """SimpleITK, of a version that takes a header's sides for what they are.

    Raises:
        CaseError: if it is not installed or too old.
    """
    try:
        import SimpleITK as sitk  # noqa: N813 - the name that its documentation gives it
    except ImportError:
        raise CaseError(MISSING) from None
    found: Any = sitk
    if tuple(int(part) for part in re.findall(r"\d+", found.__version__)[:3]) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise CaseError(
            f"needs SimpleITK {oldest} or newer, since {found.__version__} mirrors some NRRD files: "
            f"pip install 'SimpleITK>={oldest}', or {CONVERT}"
        )
    return found


def header_text(path: Path) -> bytes:
    """The text at the beginning of a file, without the voxels behind it.

    Raises:
        CaseError: without the file's name, if it has no end.
    """
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
    is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    end = (NRRD_END if is_nrrd else VOXELS_IN).search(start)
    if end is None and len(start) == HEAD_BYTES:
        raise CaseError(f"has a header of more than {HEAD_BYTES // 1024} KiB; {CONVERT}")
    return start if end is None else start[: end.end()]


def _check_voxels_place(path: Path, head: bytes) -> None:
    """Refuse a header that names any other file than the one beside it: a path in a file is nobody's wish to read it.

    Raises:
        CaseError: without the file's name.
    """
    named = [found[1].strip(BLANKS) for found in VOXELS_IN.finditer(head)]
    stem, kind = path.name[: -len(path.suffix)], path.suffix.lower()
    allowed = {f"{stem}{suffix}".encode() for suffix in BESIDE.get(kind, ())}
    allowed |= {f"{stem}{suffix.upper()}".encode() for suffix in BESIDE.get(kind, ())}
    allowed |= {b"LOCAL"} if kind == ".mha" else set()
    if any(name not in allowed for name in named):
        where = f"beside it as {stem}.raw" if kind in BESIDE else "into the same file"
        raise CaseError(f"its header names another file for its voxels, which is not opened; put them {where}")


def _timed(head: bytes) -> str:
    """Why ITK reads no NRRD with a fourth axis of kind time that has no direction; empty of other files."""
    fields = fields_of(head)
    if fields.get("dimension") != "4" or "none" not in fields.get("space directions", ""):
        return ""
    return "has 4 axes, one of them without a direction, which ITK does not read; give the 3-D scan"


def _broken(error: RuntimeError) -> str:
    """The last line of ITK's report, which says what is wrong; the others say where in its code."""
    said = (line.strip() for line in str(error).splitlines())
    lines = [line for line in said if line and not line.startswith("Reason: ")] or ["no reason given"]
    reason = "its header cannot be parsed" if "File cannot be read" in lines[-1] else without_quotes(lines[-1][:120])
    return f"broken, or not of the format of its name ({reason}); copy it again, or {CONVERT}"


def _affine(reader: Any) -> Array:
    """LPS affine (4, 4) of ITK's direction, spacing and origin.

    Raises:
        CaseError: without the file's name, if the directions are no unit vectors at right angles.
    """
    axes = reader.GetDimension()
    lps, directions = np.eye(4), np.reshape(reader.GetDirection(), (axes, axes))[:3, :3]
    is_usable = np.isfinite(directions).all() and abs(np.linalg.det(directions)) > 1e-9  # else it is singular, below
    if is_usable and np.abs(directions.T @ directions - np.eye(3)).max() > UNIT:
        raise CaseError("its axes are no unit vectors at right angles, so that sizes are unknown; write it again")
    lps[:3, :3] = directions * np.asarray(reader.GetSpacing()[:3])
    lps[:3, 3] = reader.GetOrigin()[:3]
    return lps


def _held(path: Path, head: bytes) -> int:
    """Bytes of voxels as they lie on disk, behind the header or in the file beside it that it names."""
    file, start = _voxels_of(path, head)
    return file.stat().st_size - start if file.is_file() else 0


def _voxels_of(path: Path, head: bytes) -> tuple[Path, int]:
    """The file that holds the voxels, and where in it they begin."""
    kind = path.suffix.lower()
    if kind not in BESIDE:
        return path, len(head) + (kind == ".mha")  # a line's end, which a NRRD's header holds
    named = VOXELS_IN.search(head)
    if named is None:
        return path, 0
    return path.with_name(named[1].strip(BLANKS).decode("utf-8", "surrogateescape")), 0


def voxel_bytes(path: Path) -> int:
    """Bytes on disk that the voxels of a file can come from: its own, and those of files beside it of the same name."""
    stem = path.name.split(".")[0]
    beside = path.parent.glob(f"{_escaped(stem)}*") if path.suffix.lower() in (".mhd", ".nhdr") else [path]
    return sum(item.stat().st_size for item in beside if item.is_file())


def _escaped(text: str) -> str:
    from glob import escape

    return escape(text)
