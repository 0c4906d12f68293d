"""NIfTI files: header, grid, orientation, voxels and labels, with one-line errors for broken ones."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from ctseg.errors import CaseError, first_line, without_quotes
from ctseg.failures import system_failure
from ctseg.io.contents import known_form
from ctseg.io.grid import Geometry, canonical_axes, geometry_from_affine
from ctseg.io.kinds import ITK
from ctseg.io.nifti.header import Affine, Header, affine_mm
from ctseg.io.nifti.itk import load_itk, voxel_bytes
from ctseg.io.source import regular_size
from ctseg.io.volume import Array, NativeGrid

BRATS_SHAPE = (240, 240)
"""In-plane matrix of BraTS and of the Decathlon's brain tumour task."""

MAX_VOXELS = 2**30
"""1024 x 1024 x 1024, 4 GiB as float32; head CT has up to 1024 x 1024 x 500."""
HEADER_BYTES = 4096
"""More than nibabel reads to find out what a file is."""
GZIP_RATIO = 1032
"""No deflate stream unpacks to more times its size."""

NIFTI_SIZES = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
"""With which bytes a NIfTI file begins."""
PIECE = 1 << 20
"""Bytes that are unpacked at once."""

T = TypeVar("T")


@dataclass(frozen=True)
class NiftiFile:
    """An opened file: its header is read, its voxels are not."""

    path: Path
    image: Any
    header: Header
    affine: Affine
    """(4, 4) RAS+ mm."""
    shape: tuple[int, int, int]
    notes: tuple[str, ...] = ()
    """What was assumed about a header that contradicts itself or the standard."""


def guarded(path: Path, read: Callable[[], T]) -> T:
    """Call `read`, turning everything that a broken file makes nibabel raise into one line.

    Raises:
        CaseError: naming the file and the way out.
    """
    try:
        return read()
    except FileNotFoundError:
        raise CaseError(f"{path}: no such file") from None
    except CaseError as error:
        message = str(error)
        raise CaseError(message if message.startswith(str(path)) else f"{path}: {message}") from None
    except (ImageFileError, HeaderDataError) as error:
        raise CaseError(
            f"{path}: not a NIfTI file ({without_quotes(first_line(error))}); convert it or leave it out"
        ) from None
    except Exception as error:  # nibabel raises whatever a broken field makes Python raise
        reason = system_failure(error) or f"broken or cut short ({without_quotes(first_line(error))}); copy it again"
        raise CaseError(f"{path}: {reason}") from None


def open_nifti(path: Path, *, layered: bool = False) -> NiftiFile:
    """Open a file and read its header, without its voxels.

    Args:
        path: NIfTI, NRRD or MetaImage.
        layered: as of `load_itk`.

    Raises:
        CaseError: if it is no NIfTI, has fewer than three axes, an affine that maps space onto less, or a header that
            contradicts itself about voxel size or sides.
    """
    return guarded(path, lambda: _open(path, layered))


def _open(path: Path, layered: bool) -> NiftiFile:
    regular_size(path)
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)  # nibabel hides what the system says
    try:
        image, found = _load(path, layered)
    except ImageFileError:
        _refuse_other(path, start)
        raise
    shape = tuple(int(size) for size in image.shape)
    if len(shape) < 3 or min(shape) < 1:
        raise CaseError(f"has shape {shape}, not a volume; give the 3-D scan")
    _check_bytes(image, path, shape)
    affine, notes = affine_mm(image.header, shape)
    return NiftiFile(path, image, image.header, affine, (shape[0], shape[1], shape[2]), (*found, *notes))


def _refuse_other(path: Path, start: bytes) -> None:
    """Say what a file is that is not of the format of its name, where its first bytes tell.

    Raises:
        CaseError: without the file's name, if they do.
    """
    other = known_form(start, path.name)
    if other:
        raise CaseError(other)


def _load(path: Path, layered: bool) -> tuple[Any, tuple[str, ...]]:
    """The image of a file, its voxels unread, and notes."""
    if path.name.lower().endswith(ITK):
        return load_itk(path, layered=layered)
    image = nib.load(path)
    if isinstance(image, nib.AnalyzeImage) and not isinstance(image, nib.Nifti1Pair):
        raise CaseError("Analyze 7.5, which does not say left from right; convert it to NIfTI and check the sides")
    if not isinstance(image, nib.Nifti1Pair):
        raise CaseError("not a NIfTI file; convert it or leave it out")
    notes = _check_stated(image)
    first = image.header.single_vox_offset
    offset = getattr(image.dataobj, "offset", first)
    if isinstance(image, nib.Nifti1Image) and offset < first:
        raise CaseError(
            f"its vox_offset {offset} lies in its header of {first} bytes; write it again with another program"
        )
    return image, notes


def _check_stated(image: Any) -> tuple[str, ...]:
    """Refuse what nibabel mends, or does not compare, when it reads a header; note an intercept that does not count.

    Raises:
        CaseError: without the file's name, if the header has no voxel size, two widths of a voxel, or no scale.
    """
    part = image.file_map["header" if "header" in image.file_map else "image"]
    with ImageOpener(part.filename) as file:
        stated = type(image.header).from_fileobj(file, check=False)
    bits = 8 * image.header.get_data_dtype().itemsize
    if int(stated["bitpix"]) != bits:
        raise CaseError(f"its bitpix {stated['bitpix']} contradicts its datatype of {bits} bits; write it again")
    if any(np.isinf(stated[name]) for name in ("scl_slope", "scl_inter")):
        raise CaseError("its slope or intercept (scl_slope, scl_inter) is infinite; write it again")
    if int(stated["sform_code"]) <= 0 and not (np.abs(stated["pixdim"][1:4]) > 0).all():
        raise CaseError("its pixdim holds no voxel size; write a header with spacing")
    return _lost_intercept(float(stated["scl_slope"]), float(stated["scl_inter"]))


def _lost_intercept(slope: float, intercept: float) -> tuple[str, ...]:
    """A note on an intercept that does not count: by the standard a scl_slope of 0 says that nothing is scaled.

    Programs built on ITK add it all the same.
    """
    if (math.isfinite(slope) and slope != 0) or not math.isfinite(intercept) or intercept == 0:
        return ()
    return (f"its scl_inter is {intercept:g} and its scl_slope {slope:g}, which says that values are not scaled",)


def _check_bytes(image: Any, path: Path, shape: tuple[int, ...]) -> None:
    """Compare what the header claims with the bytes on disk, before any room is made for voxels.

    Raises:
        CaseError: without the file's name, if the file cannot hold so many, or no head has so many.
    """
    claimed = math.prod(shape) * int(image.header.get_data_dtype().itemsize)
    is_itk = path.name.lower().endswith(ITK)
    held = path if is_itk or image.file_map["image"].filename is None else Path(image.file_map["image"].filename)
    size = voxel_bytes(path) if is_itk else held.stat().st_size
    most = size * GZIP_RATIO if is_itk or held.suffix.lower() == ".gz" else size
    if claimed > most:
        raise CaseError(
            f"broken or cut short (its header claims {_size(claimed)} of voxels, {held.name} has {_size(size)}); "
            "copy it again"
        )
    if most == size:
        _refuse_longer(image, size - int(getattr(image.dataobj, "offset", 0)) - claimed)
    if math.prod(shape if is_itk else shape[:3]) > MAX_VOXELS:
        raise CaseError(f"has {' x '.join(map(str, shape[:3]))} voxels, too many for a head; crop or resample it")


def _refuse_longer(image: Any, behind: int) -> None:
    """Refuse a file that holds a slice or more behind what its header says: dim is wrong, and a part would be read.

    Raises:
        CaseError: without the file's name.
    """
    claimed = math.prod(image.shape) * int(image.header.get_data_dtype().itemsize)
    if behind >= max(1, claimed // image.shape[2]):
        raise CaseError(
            f"holds {_size(claimed + behind)} of voxels where its header says {_size(claimed)}; write it again"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count} bytes"


def place(
    affine: Affine, shape: tuple[int, int, int], header: Header, orientation: str | None = None
) -> tuple[NativeGrid, Geometry]:
    """How a file's grid lies on canonical axes; `orientation` as in `read_nifti`."""
    true = _true_affine(header, affine, orientation)
    directions = true[:3, :3] * np.array([[-1.0], [-1.0], [1.0]])
    axes, flips = canonical_axes(directions)
    grid = NativeGrid(axes, flips, shape, affine, header)
    return grid, geometry_from_affine(true, grid)


def carries_orientation(header: Header, affine: Affine) -> bool:
    """Whether the header says anything: files without orientation get the identity, which no scanner writes.

    The Decathlon's brain tumour files are such; their voxels do lie as the identity says, see docs/formats-scans.md.
    """
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        return False
    return not np.allclose(affine, np.eye(4), atol=1e-6)


def _true_affine(header: Header, affine: Affine, orientation: str | None) -> Affine:
    """The header's affine, or one with the order assumed where the header says nothing."""
    if orientation is None or carries_orientation(header, affine):
        return affine
    return _affine_of(orientation, affine)


def _affine_of(codes: str, affine: Affine) -> Affine:
    """An RAS affine with the spacing of `affine` whose axes point the way `codes` say; the first voxel at 0."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    result = np.eye(4)
    result[:3, :3] = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(tuple(codes)), (1, 1, 1))[:3, :3]
    result[:3, :3] *= spacing
    return result


def orientation_notes(header: Header, affine: Affine, orientation: str | None) -> list[str]:
    """What to say about a file whose header carries no orientation."""
    if carries_orientation(header, affine):
        return []
    order = "".join(nib.orientations.aff2axcodes(_true_affine(header, affine, orientation)))
    return [f"the header carries no orientation; voxels are taken to be stored in {order} order"]


def read_voxels(file: NiftiFile, channel: int | None) -> Array:
    """The native (i, j, k) voxels of one channel, slope and intercept applied.

    Raises:
        CaseError: if they cannot be read, are no numbers, or the file holds several volumes and `channel` picks none.
    """

    def read() -> Array:
        image = _checked(file)
        _check_numbers(image)
        extra = tuple(size for size in image.shape[3:] if size != 1)
        if not extra:
            only: Array = np.asanyarray(image.dataobj)
            return only.reshape(image.shape[:3])
        if channel is None or len(extra) > 1 or not 0 <= channel < extra[0]:
            raise CaseError(f"holds {'x'.join(map(str, extra))} volumes; give one 3-D scan a file")
        picked: Array = np.asanyarray(image.dataobj[..., channel])
        return picked.reshape(image.shape[:3])

    return guarded(file.path, read)


def _check_numbers(image: Any) -> None:
    """Refuse colours and complex numbers (`CaseError`, without the file's name)."""
    if image.get_data_dtype().kind not in "iuf":
        raise CaseError(f"voxels are {image.get_data_dtype()}, not numbers; give a greyscale scan")


def _checked(file: NiftiFile) -> Any:
    """The image; a gzipped file is read to its end, where its checksum is, which nibabel does not compare.

    Raises:
        CaseError: without the file's name, if the checksum is another.
    """
    image = file.image
    name = image.file_map["image"].filename if isinstance(image, nib.Nifti1Pair) else None
    if name is None or not str(name).lower().endswith(".gz"):
        return image
    is_whole = isinstance(image, nib.Nifti1Image) and not any(size != 1 for size in image.shape[3:])
    size = image.dataobj.offset + math.prod(image.shape) * int(image.get_data_dtype().itemsize)
    unpacked, behind = _unpack(Path(name), size)
    _refuse_longer(image, behind)
    return type(image).from_bytes(unpacked) if is_whole else image


def _unpack(path: Path, most: int) -> tuple[bytes, int]:
    """The first bytes of a gzipped file, all of which is read, and how many lie behind them.

    What lies behind the gzip stream is no part of it, and neither is a whole NIfTI file behind the first.
    """
    first, behind = bytearray(), bytearray()
    total = 0
    try:
        with gzip.open(path) as stream:
            while piece := stream.read1(PIECE):  # `read` gives nothing where rubbish follows
                total += len(piece)
                left = max(0, most - len(first))
                first += piece[:left]
                behind += piece[left : left + max(0, len(NIFTI_SIZES[0]) - len(behind))]
    except gzip.BadGzipFile as error:
        if "CRC" in str(error) or "length" in str(error):
            raise CaseError("damaged: its checksum is not that of what it holds; copy it again") from None
    return bytes(first), 0 if bytes(behind) in NIFTI_SIZES else max(0, total - most)


def read_slab(file: NiftiFile, slices: int = 5) -> Array:
    """A few slices from the middle of the third axis of the first channel, for a quick look at the values.

    Raises:
        CaseError: if they cannot be read or are no numbers.
    """
    middle = file.shape[2] // 2
    first = (0,) * (len(file.image.shape) - 3)
    slab = (slice(None), slice(None), slice(middle, middle + slices), *first)

    def read() -> Array:
        _check_numbers(file.image)
        return np.asanyarray(file.image.dataobj[slab])

    return guarded(file.path, read)
