"""A scan in memory: slices in anatomical order with their true positions.

Every reader returns the same axes whatever the file's own order was, and every writer goes back through `NativeGrid`,
so the rest of ctseg never thinks about orientation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ctseg.io.stack import Grid, slab_mm

if TYPE_CHECKING:
    from ctseg.io.drawn import DrawnOn

Array = NDArray[Any]


@dataclass(frozen=True)
class NativeGrid:
    """How the canonical (K, H, W) array lies on the input file's own grid.

    `axes[d]` is the native axis that canonical axis d came from, `flips[d]` whether it was reversed, so that
    `canonical = flip(transpose(native, axes))` and `to_native` undoes exactly that.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64] | None = None
    """(4, 4) RAS+ mm affine of the native grid as it stood in a NIfTI file; None for DICOM."""
    header: Any = field(default=None, repr=False, compare=False)
    """The NIfTI header the grid came from, so that masks get the same sform and qform; None for DICOM."""

    def to_canonical(self, native: Array) -> Array:
        """Native (i, j, k) array -> canonical (K, H, W) view."""
        turned = np.transpose(native, self.axes)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def to_native(self, canonical: Array) -> Array:
        """Canonical (K, H, W) array -> native (i, j, k) view."""
        unflipped = canonical[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.transpose(unflipped, np.argsort(self.axes))


@dataclass(frozen=True)
class Volume:
    """A scan as a stack of slices.

    Canonical axes: slices from feet to head, rows from front to back (anterior at the top), columns from the patient's
    right to left (right side of the patient at the left of the picture), each up to the scan's own obliqueness.
    Positions are DICOM's LPS mm. What is derived from them is computed once.
    """

    voxels: NDArray[np.float32]
    """(K, H, W); HU for CT, scanner units for MR."""
    origins_mm: NDArray[np.float64]
    """(K, 3) LPS position of the centre of voxel [k, 0, 0]; uneven steps and tilt are kept as they are."""
    row_step_mm: NDArray[np.float64]
    """(3,) LPS step from one row to the next (down the picture)."""
    col_step_mm: NDArray[np.float64]
    """(3,) LPS step from one column to the next."""
    domain: str
    """'ct' or 'mr'."""
    case_id: str
    """File-name-safe name of the case without any patient identity."""
    patient_id: str
    """Case name or stable pseudonym of the DICOM PatientID."""
    series_id: str = ""
    slice_ids: tuple[str, ...] = ()
    """(K,) SOPInstanceUIDs, or CASE_index."""
    slice_keys: tuple[int, ...] = ()
    """(K,) index of each slice on the native slice axis (for DICOM: the position in `frames`)."""
    native: NativeGrid | None = None
    frames: tuple[Any, ...] = field(default=(), repr=False)
    """(K,) DICOM datasets without pixel data, in slice order, for DICOM SEG; empty for NIfTI.

    Those of an enhanced object share its SOPInstanceUID; InstanceNumber is the number of the frame, NumberOfFrames
    that of all frames of the object.
    """
    notes: tuple[str, ...] = ()
    """What the reader noticed and corrected: tilt, uneven steps, dropped duplicates, intercept fault."""
    labels: NDArray[np.uint8] | None = None
    """(K, H, W) label values where the source has them."""
    thickness_mm: float | None = None
    """Nominal slice thickness; what a single slice represents."""
    drawn: DrawnOn | None = field(default=None, repr=False)
    """Of a mask that may hold a part of its scan's slices alone: what it says of that scan."""

    @cached_property
    def spacing_mm(self) -> tuple[float, float]:
        """(row, column) distance of neighbouring pixel centres in mm."""
        return float(np.linalg.norm(self.row_step_mm)), float(np.linalg.norm(self.col_step_mm))

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """(3,) unit normal of the slices, pointing the way the slices are ordered."""
        normal = np.cross(self.col_step_mm, self.row_step_mm)
        normal = normal / np.linalg.norm(normal)
        if len(self.origins_mm) > 1 and np.dot(self.origins_mm[-1] - self.origins_mm[0], normal) < 0:
            normal = -normal
        return normal

    @cached_property
    def z_mm(self) -> NDArray[np.float64]:
        """(K,) slice positions along the normal in mm."""
        return self.origins_mm @ self.normal

    @cached_property
    def slab_mm(self) -> NDArray[np.float64]:
        """(K,) thickness in mm that each slice represents: half the way to each neighbour, a whole step at the ends.

        Volumes by these slabs are right for tilted series (the distance is along the normal) and for uneven ones.
        """
        return slab_mm(self.z_mm, self.thickness_mm)

    @cached_property
    def voxel_ml(self) -> NDArray[np.float64]:
        """(K,) volume of one voxel of each slice in mL."""
        return Grid.of(self).voxel_ml

    def with_voxels(self, voxels: Array) -> Volume:
        """The same geometry with other voxels (K, H, W)."""
        return replace(self, voxels=np.asarray(voxels, dtype=np.float32))
