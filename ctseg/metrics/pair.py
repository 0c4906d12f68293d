"""One predicted mask beside its reference, and what several metrics are computed from, each computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.arguments import a_number
from ctseg.errors import InputError
from ctseg.io.arrays import a_mask, checked_grid
from ctseg.io.stack import Grid, Mask
from ctseg.metrics.lesions import lesion_counts
from ctseg.metrics.overlap import confusion
from ctseg.metrics.surface import bounding_box, surface_distances

NSD_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class MaskPair:
    """A predicted and a reference mask on one grid; make it with `MaskPair.of`, and no metric can write into it."""

    pred: Mask
    """(K, H, W) predicted mask."""
    ref: Mask
    """(K, H, W) reference mask."""
    grid: Grid
    """Where the voxels lie, in mm."""
    nsd_tolerance_mm: float = NSD_TOLERANCE_MM
    """How far a surface may be off for the normalised surface Dice."""
    min_lesion_ml: float = 0.0
    """Smaller lesions count nowhere in the lesion-wise counts."""

    @classmethod
    def of(
        cls, pred: Mask, ref: Mask, grid: Grid, *, tolerance_mm: float = NSD_TOLERANCE_MM, min_lesion_ml: float = 0.0
    ) -> MaskPair:
        """A pair without the rows and columns that neither mask fills; all slices stay, and so do all positions.

        Args:
            pred: (K, H, W) predicted mask.
            ref: (K, H, W) reference mask.
            grid: their common geometry (`Grid.of(volume)`, or `Grid.even` for plain spacings).
            tolerance_mm: how far a surface may be off for the normalised surface Dice.
            min_lesion_ml: lesions smaller than this count nowhere in the lesion-wise counts.

        Raises:
            InputError: if the masks are not of one three-dimensional shape or hold anything but labels, the grid is
                none of theirs, or a number is none.
        """
        pred, ref = a_mask(pred, "MaskPair.of: pred"), a_mask(ref, "MaskPair.of: ref")
        if pred.shape != ref.shape:
            raise InputError(f"masks of shapes {pred.shape} and {ref.shape} cannot be compared")
        grid = checked_grid(grid, len(pred), "MaskPair.of: grid")
        tolerance_mm = a_number(tolerance_mm, "MaskPair.of: tolerance_mm", 0.0)
        min_lesion_ml = a_number(min_lesion_ml, "MaskPair.of: min_lesion_ml", 0.0)
        box = bounding_box(pred | ref)
        rows, cols = (slice(0, 1), slice(0, 1)) if box is None else (box[1], box[2])
        cut = grid.cropped(rows.start, cols.start)
        parts = _read_only(pred[:, rows, cols]), _read_only(ref[:, rows, cols])
        places = (cut.origins_mm, cut.row_step_mm, cut.col_step_mm, cut.slab_mm)
        return cls(*parts, Grid(*map(_read_only, places)), tolerance_mm, min_lesion_ml)

    @cached_property
    def confusion(self) -> tuple[int, int, int]:
        """True positive, false positive and false negative voxels."""
        return confusion(self.pred, self.ref)

    @property
    def pred_empty(self) -> bool:
        """Whether nothing is predicted."""
        return not self.pred.any()

    @property
    def ref_empty(self) -> bool:
        """Whether the reference holds no lesion."""
        return not self.ref.any()

    @cached_property
    def volumes_ml(self) -> tuple[float, float]:
        """Volume of the prediction and of the reference in mL."""
        return self.grid.volume_ml(self.pred), self.grid.volume_ml(self.ref)

    @cached_property
    def surface_distances_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """(n,) from prediction to reference and (m,) back, see `surface_distances`; None where a mask is empty."""
        return None if self.pred_empty or self.ref_empty else surface_distances(self.pred, self.ref, self.grid)

    @cached_property
    def negative_slices(self) -> NDArray[np.bool_]:
        """(K,) slices without a lesion in the reference."""
        return np.asarray(~self.ref.any(axis=(1, 2)))

    @cached_property
    def lesions(self) -> dict[tuple[str, str], int]:
        """Numbers of lesions, see `lesion_counts`."""
        return lesion_counts(self.pred, self.ref, self.grid, self.min_lesion_ml)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written into: what one metric did to it would change the others."""
    view = array.view()
    view.flags.writeable = False
    return view
