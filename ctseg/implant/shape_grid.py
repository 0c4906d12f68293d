"""The points at which the shape of a haematoma is computed: through each slice, and across coarse pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.implant.head import Head, lerp
from ctseg.io.stack import Mask
from ctseg.phantom.anatomy import Tissue
from ctseg.phantom.ct_scan import WHOLE_LEVEL
from ctseg.phantom.ct_series import SUBSLICE_MM
from ctseg.phantom.fields import Floats
from ctseg.phantom.fitting import Box, Samples
from ctseg.phantom.haematoma import Haematoma
from ctseg.phantom.parts import Part

WORK_MM = 1.0
"""Shapes are computed on pixels of about this width: finer scans interpolate, coarser ones average several points."""
FINEST_MM = 0.8
"""A pixel is cut into points no finer than this."""
SEARCH_MM = 4.0
"""Distance of the points that a shape's box is found with."""
ROOM_TO_GROW_MM = 6.0
"""Of the box around a haematoma: how far its surface may move out when it is fitted to its volume."""
BONE_HU = 120.0
"""Calcium and bone, and what touches them, stay what they are."""


def box_of(head: Head, part: Part, k: int) -> Box | None:
    """The box of the scan around a part whose centre lies in slice `k`, oedema and room to grow included."""
    reach, step = part.shape.reach_mm, max(1, round(SEARCH_MM / head.pixel_mm))
    heights = head.grid.origins_mm @ _normal(head)
    near = np.flatnonzero(np.abs(heights - heights[k]) <= reach + head.grid.slab_mm[k])
    slices = slice(int(near[0]), int(near[-1]) + 1)
    rows, columns = (np.arange(0, size, step, dtype=np.float32) for size in head.voxels.shape[1:])
    points = head.points(slices, rows, columns, np.zeros((1, 3)))[:, 0]
    halo = part.shape.halo_mm if isinstance(part.shape, Haematoma) else 0.0
    inside = part.shape.score(_bare(points)) > -max(1.35 * halo, ROOM_TO_GROW_MM)
    if not inside.any():
        return None
    found = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    first = slice(max(slices.start + int(found[0][0]) - 1, 0), min(slices.start + int(found[0][-1]) + 2, len(heights)))
    rest = [
        slice(max(step * (int(at[0]) - 1), 0), min(step * (int(at[-1]) + 1) + 1, size))
        for at, size in zip(found[1:], head.voxels.shape[1:], strict=True)
    ]
    return first, rest[0], rest[1]


def touches_edge(mask: Mask, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a mask reaches a side of its box that is no side of the scan."""
    for axis, (part, size) in enumerate(zip(box, shape, strict=True)):
        sides = np.moveaxis(mask, axis, 0)
        if (part.start > 0 and sides[0].any()) or (part.stop < size and sides[-1].any()):
            return True
    return False


@dataclass(frozen=True)
class ShapeGrid:
    """Points in one box of a scan."""

    head: Head
    box: Box
    rows: Floats
    """Rows of the scan, with fractions."""
    columns: Floats
    offsets_mm: NDArray[np.float64]
    """(M, 3) LPS: the points of a voxel around its centre."""
    group: int
    """Pixels of the scan between neighbouring rows."""

    @classmethod
    def of(cls, head: Head, box: Box) -> ShapeGrid:
        """Points about 1 mm apart or, where pixels are wider, several in each."""
        pixel = head.pixel_mm
        group = max(1, int(WORK_MM / pixel + 0.3))
        cuts = max(1, round(pixel / FINEST_MM)) if group == 1 else 1
        rows, columns = (
            np.arange(part.start, part.stop, group, dtype=np.float32) + np.float32((group - 1) / 2) for part in box[1:]
        )
        thickness = float(np.median(head.grid.slab_mm[box[0]]))
        through = max(3, round(thickness / SUBSLICE_MM))
        depths = ((np.arange(through) + 0.5) / through - 0.5)[:, None] * thickness * _normal(head)
        across = (np.arange(cuts) + 0.5) / cuts - 0.5
        shifts = across[:, None, None] * head.grid.row_step_mm + across[None, :, None] * head.grid.col_step_mm
        offsets = (depths[:, None] + shifts.reshape(1, -1, 3)).reshape(-1, 3)
        return cls(head, box, rows, columns, offsets, group)

    def scores(self, part: Part) -> Floats:
        """(K, M, h, w) mm inside the part's surface, at these points."""
        points = self.head.points(self.box[0], self.rows, self.columns, self.offsets_mm)
        score: Floats = part.shape.score(_bare(points.reshape(-1, *points.shape[2:]))).reshape(points.shape[:-1])
        return score

    def samples(self, part: Part, scores: Floats, taken: Mask | None) -> Samples:
        """The part for `fit_cover`, at the scan's own pixels.

        Args:
            part: the haematoma.
            scores: of `scores`.
            taken: (K, H, W) of the head's maps: where no blood may go.
        """
        tissue = self.head.tissue(self.box[0], self.rows, self.columns)
        room = self.fine(part.shape.room(tissue)) * self._allowed()
        if taken is not None and taken.any():
            room = room * (1 - self.fine(self.head.at(taken[None], self.box[0], self.rows, self.columns)[0]))
        spread = np.repeat(room[:, None], scores.shape[1], axis=1)
        return Samples(self.box, self.fine(scores), spread, part.soft_mm, WHOLE_LEVEL)

    def oedema(self, part: Part, score: Floats) -> Floats:
        """(K, h, w) weight of the oedema at the scan's pixels, from the mean score (K, h, w) of each point's voxel."""
        tissue = self.head.tissue(self.box[0], self.rows, self.columns)
        return np.clip(self.fine(part.shape.oedema(tissue, score)), 0, 1)

    def texture(self, part: Part) -> Floats:
        """(K, h, w) HU around the blood's mean."""
        points = self.head.points(self.box[0], self.rows, self.columns, np.zeros((1, 3)))[:, 0]
        return self.fine(part.texture.at(points, part.shape.centre))

    def fine(self, values: Floats) -> Floats:
        """Values (..., h, w) at these points -> at the scan's pixels."""
        if self.group == 1:
            return values
        for axis, part in ((values.ndim - 2, self.box[1]), (values.ndim - 1, self.box[2])):
            at = (np.arange(part.stop - part.start, dtype=np.float32) - (self.group - 1) / 2) / self.group
            values = lerp(values, at, axis)
        return values

    def _allowed(self) -> Mask:
        """(K, h, w) brain that is no bone and does not touch any."""
        bone = self.head.voxels[self.box] > BONE_HU
        near = ndimage.binary_dilation(bone, np.ones((1, 3, 3), dtype=bool)) if bone.any() else bone
        allowed: Mask = self.head.brain[self.box] & ~near
        return allowed


def _normal(head: Head) -> NDArray[np.float64]:
    normal = np.cross(head.grid.col_step_mm, head.grid.row_step_mm)
    return np.asarray(normal / np.linalg.norm(normal))


def _bare(points: Floats) -> Tissue:
    """Points (D, H, W, 3) for `Shape.score`, which asks for nothing but where they are."""
    nothing = np.zeros((0,), dtype=np.float32)
    return Tissue(points, points, *[nothing] * 9)
