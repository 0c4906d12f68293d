"""Can the voxels be those of a head? A lost or wrong unit of length changes every volume in mL by its cube."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ctseg.errors import CaseError
from ctseg.io.volume import Volume

VOXEL_MM = (0.05, 20.0)
"""No scanner of heads has smaller or larger voxels."""
LARGEST_MM = 600.0
"""A field of view in-plane, or a stack, that is larger is no scan of a head alone."""


def check_extent(volume: Volume) -> Volume:
    """The volume, with a note where it is too large for a scan of a head.

    Raises:
        CaseError: if a voxel is smaller or larger than any scanner's.
    """
    slice_mm = float(np.median(volume.slab_mm))
    sizes = (slice_mm, *volume.spacing_mm)
    if not all(VOXEL_MM[0] <= size <= VOXEL_MM[1] for size in sizes):
        raise CaseError(
            f"{volume.case_id}: voxels of {' x '.join(f'{size:.3g}' for size in sizes)} mm (slice, row, column), where "
            f"heads have {VOXEL_MM[0]:g} to {VOXEL_MM[1]:g} mm; write the header with sizes in mm"
        )
    extent = [count * size for count, size in zip(volume.voxels.shape, sizes, strict=True)]
    if max(extent) <= LARGEST_MM:
        return volume
    note = (
        f"covers {' x '.join(f'{length:.0f}' for length in extent)} mm (slices, rows, columns), more than a head: is "
        "the unit of length right?"
    )
    return replace(volume, notes=(*volume.notes, note))
