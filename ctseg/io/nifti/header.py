"""The geometry that a NIfTI header states, in mm, where its sform, qform and pixdim agree.

A header can hold three statements about voxel size (sform, qform, pixdim) and two about place. Programs that change
one and not the others leave files whose volume depends on who reads them, so the statements are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.grid import LPS_TO_RAS, canonical_axes

UNIT_MM = {1: 1000.0, 2: 1.0, 3: 1e-3}
"""mm in each of the standard's spatial units: metre, millimetre, micron; 0 says nothing."""
SAME_SIZE = 0.01
"""Voxel sizes that differ by a smaller share are rounding."""
SAME_PLACE_MM = 1.0
"""Corners of sform and qform that lie closer are rounding."""
PICTURES = frozenset({0, 1001, 2001})
"""intent codes of nothing in particular, an estimate, and a time series."""
TEMPLATE_CODES = frozenset({2, 3, 4})
"""sform codes of a space that the scan was registered to: aligned, Talairach, MNI152."""

Header = Any
Affine = NDArray[np.float64]


def affine_mm(header: Header, shape: tuple[int, ...]) -> tuple[Affine, tuple[str, ...]]:
    """The RAS affine (4, 4) of a header in mm, and notes on what was assumed.

    The sform is used where there is one, else the qform, else pixdim. Where an sform of a template's space changes the
    voxel size, the qform of the scanner's space is used.

    Args:
        header: nibabel's NIfTI-1 or NIfTI-2 header.
        shape: voxels along each axis.

    Raises:
        CaseError: without the file's name, if the affine is singular or the header contradicts itself.
    """
    scale, notes = _unit_mm(header)
    pixdim, has_qform = np.abs(np.asarray(header["pixdim"][1:4], dtype=float)), int(header["qform_code"]) > 0
    affine = _in_mm(header.get_best_affine(), scale)
    if int(header["sform_code"]) == 0:
        return affine, notes
    qform = _in_mm(header.get_qform(), scale) if has_qform else None
    if (_states_size(pixdim) or has_qform) and not _has_size(affine, scale * pixdim):
        sizes = f"sform has voxels of {_times(_lengths(affine))} mm, its pixdim {_times(scale * pixdim)} mm"
        if qform is None or int(header["sform_code"]) not in TEMPLATE_CODES:
            raise CaseError(f"its {sizes}; write a header with one voxel size")
        return qform, (*notes, f"the {sizes}; the qform is used")
    return affine, (*notes, *_ones(affine, pixdim), *(_compared(affine, qform, shape) if qform is not None else ()))


def _ones(affine: Affine, pixdim: NDArray[np.float64]) -> tuple[str, ...]:
    """A note on a pixdim that was left at ones."""
    if (pixdim != 1).any() or _has_size(affine, pixdim):
        return ()
    return (f"its pixdim says voxels of 1 mm, its sform {_times(_lengths(affine))} mm; the sform is used",)


def intent_notes(header: Header) -> tuple[str, ...]:
    """A note where the header says that its values are no picture's: labels, statistics, displacements."""
    code = int(header["intent_code"])
    if code in PICTURES:
        return ()
    return (f"the header says that its values are no picture's (intent_code {code}); taken as a scan",)


def _in_mm(affine: Any, scale: float) -> Affine:
    """An affine with lengths in mm.

    Raises:
        CaseError: if it holds what is no number, or maps space onto less.
    """
    found = np.asarray(affine, dtype=float)
    if not np.isfinite(found).all() or abs(np.linalg.det(found[:3, :3])) * scale**3 < 1e-9:
        raise CaseError("its affine is singular, so its voxels have no size; write a header with spacing")
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ found, dtype=np.float64)


def _unit_mm(header: Header) -> tuple[float, tuple[str, ...]]:
    """Mm of one spatial unit; an unknown code is taken for mm."""
    code = int(header["xyzt_units"]) % 8
    if code == 0 or code in UNIT_MM:
        return UNIT_MM.get(code, 1.0), ()
    return 1.0, (f"the header has an unknown unit of length (code {code}); taken for mm",)


def _states_size(pixdim: NDArray[np.float64]) -> bool:
    """Programs that write an sform alone leave pixdim at zeros or ones."""
    return bool(np.isfinite(pixdim).all() and (pixdim > 0).all() and (pixdim != 1).any())


def _has_size(affine: Affine, pixdim: NDArray[np.float64]) -> bool:
    """Whether each voxel size is the length of its axis, or, in a sheared grid, the distance of its planes."""
    lengths = _lengths(affine)
    inverse = np.linalg.pinv(affine[:3, :3])
    distances = 1 / np.maximum(np.linalg.norm(inverse, axis=1), 1e-12)
    return bool(np.all(np.minimum(np.abs(lengths - pixdim), np.abs(distances - pixdim)) <= SAME_SIZE * pixdim))


def _compared(sform: Affine, qform: Affine, shape: tuple[int, ...]) -> tuple[str, ...]:
    """A note where sform and qform place the scan differently.

    Raises:
        CaseError: if they disagree about left and right, or about which way an axis runs.
    """
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise CaseError("its sform and qform are mirror images, so left and right are unknown; write one of them again")
    if _axes(sform) != _axes(qform):
        raise CaseError("its sform and qform name different axes; write one of them again")
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(shape[:3]) - 1
    apart = float(np.linalg.norm(corners @ (sform - qform).T, axis=1).max())
    return (f"sform and qform lie up to {apart:.0f} mm apart; the sform is used",) if apart > SAME_PLACE_MM else ()


def _axes(affine: Affine) -> Any:
    return canonical_axes((LPS_TO_RAS @ affine)[:3, :3])


def _lengths(affine: Affine) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0), dtype=np.float64)


def _times(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
