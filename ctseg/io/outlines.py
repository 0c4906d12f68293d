"""The regions of a DICOM RT structure set on the grid of a scan: the pixels whose centres an outline encloses.

An outline lies on one slice of its scan. No slice between two outlines is filled, and no outline is moved to another
slice: what lies elsewhere is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.dicom.rtstruct import Outline, Region, Structures
from ctseg.io.drawn import Acquired, DrawnOn, SliceName, about_owner, check_acquired, check_drawn_on, named_as
from ctseg.io.grid import is_uneven, mean_step, native_grid
from ctseg.io.placing import SAME_PLACE_MM, nearest, off_by
from ctseg.io.polygons import Filled, filled
from ctseg.io.seg_masks import OVERLAP, check_neighbours
from ctseg.io.volume import Volume

ON_PATH_MM = 0.002
"""Pixel centres this near to an outline lie on it; files round coordinates to 0.001 mm or better."""
CROSSING = (
    "two outlines of one region cross, or are the same, and what they enclose together is undefined; join them, or "
    "write them as CLOSEDPLANAR_XOR"
)
OUTSIDE = "has outlines beside its scan; is it the mask of another scan?"
NOT_PLANAR = "has outlines that cross slices of its scan; draw it on this scan"
BETWEEN = (
    "has outlines that lie up to {:.2f} mm from the nearest slice of its scan; draw it on this scan, or write it as "
    "NIfTI on its grid"
)
TWO_PLANES = "has outlines in {:.2f} mm distance that lie on one slice of its scan; draw it on this scan"
ONE_SLICE = "all of its outlines lie on one slice, whose name they do not give; is it the mask of this scan?"
NESTED = "outlines within outlines of one region are read as holes"
LOST = "{} of its outlines enclose no pixel centre"

Vector = NDArray[np.float64]
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Planes:
    """Parallel planes of pixels through a grid."""

    axis: int
    """The canonical axis along which one follows the other."""
    origins_mm: Vector
    """(n, 3) centre of the first pixel of each."""
    row_step_mm: Vector
    col_step_mm: Vector
    shape: tuple[int, int]

    @property
    def normal(self) -> Vector:
        """(3,) unit normal, the way the planes follow each other."""
        normal = np.cross(self.col_step_mm, self.row_step_mm)
        normal = normal / np.linalg.norm(normal)
        is_against = len(self.origins_mm) > 1 and (self.origins_mm[-1] - self.origins_mm[0]) @ normal < 0
        return -normal if is_against else normal

    def of(self, labels: Labels) -> Labels:
        """(n, rows, columns) view of labels on the grid (K, H, W)."""
        return np.moveaxis(labels, self.axis, 0)


@dataclass(frozen=True)
class _Placed:
    """An outline on its plane."""

    outline: Outline
    region: int
    """Place among the regions."""
    plane: int
    off_mm: float
    height_mm: float


@dataclass
class _Said:
    """What is to be known of outlines once they are filled."""

    lost: int = 0
    overlap: bool = False
    nested: bool = False

    def notes(self) -> list[str]:
        said = {OVERLAP: self.overlap, NESTED: self.nested, LOST.format(self.lost): self.lost > 0}
        return [note for note, holds in said.items() if holds]


def outlines_on(
    found: Structures,
    scan: Volume,
    names: Sequence[SliceName],
    chosen: Collection[int] = (),
    tolerance_mm: float | None = None,
    *,
    by_place: bool = False,
) -> tuple[Labels, list[str]]:
    """The regions of a structure set on the grid of its scan (K, H, W), and notes.

    Args:
        found: the regions.
        scan: the grid to put them on.
        names: of its slices where they are known, see `ctseg.io.drawn.slice_names`.
        chosen: label values that are seen where regions overlap; empty: the lowest of all is.
        tolerance_mm: how far an outline may lie off its slice. None: half a slice, which is noted.
        by_place: whether outlines on one slice, of which the file says nothing, are taken for those of the scan's slice
            in their place, which is noted.

    Raises:
        CaseError: without a file's name, if it names another scan, its outlines lie elsewhere than on slices of this
            one, or two of them cross.
    """
    notes = [*found.notes, *check_scan(found, scan, names)]
    labels = np.zeros(scan.voxels.shape, np.uint8)
    outlines = [(place, outline) for place, region in enumerate(found.regions) for outline in region.outlines]
    if not outlines:
        return labels, list(dict.fromkeys(notes))
    planes = _planes_of(scan, [outline for _, outline in outlines])
    placed = _placed(outlines, planes, scan, tolerance_mm)
    if by_place and _are_nameless(placed, found.regions, planes):
        notes.append(ONE_SLICE)
    else:
        _check_slices(placed, found.regions, planes, scan, names)
    drawn = _draw(placed, found.regions, planes, planes.of(labels), chosen)
    notes += [*off_by(max(item.off_mm for item in placed)), *drawn.notes()]
    return labels, list(dict.fromkeys(notes))


def check_scan(found: Structures, scan: Volume, names: Sequence[SliceName]) -> list[str]:
    """Compare the scan that each region names; returns notes where that is another series, or somebody else's.

    Raises:
        CaseError: without a file's name, if one lies in another frame of reference.
    """
    notes = about_owner(found.owner, scan)
    for region in found.regions:
        own = frozenset[SliceName]().union(*(outline.sources for outline in region.outlines))
        notes += check_drawn_on(_drawn([own or region.frame.names], region), scan, names)
    return notes


def _drawn(sources: Sequence[frozenset[SliceName]], region: Region) -> DrawnOn:
    frame = region.frame
    return DrawnOn(np.ones(len(sources), bool), tuple(sources), frame.series_uids, frame.uid, None, is_even=False)


def _planes_of(scan: Volume, outlines: Sequence[Outline]) -> Planes:
    """The planes in which outlines lie: the scan's slices, or of an even stack those across them.

    Raises:
        CaseError: if outlines lie in none of them.
    """
    found = next((planes for planes in _families(scan) if _are_in(outlines, planes.normal)), None)
    if found is None:
        raise CaseError(NOT_PLANAR)
    return found


def _families(scan: Volume) -> list[Planes]:
    slices, rows, cols = scan.voxels.shape
    first, row, col = scan.origins_mm[0], scan.row_step_mm, scan.col_step_mm
    found = [Planes(0, scan.origins_mm, row, col, (rows, cols))]
    if slices > 1 and not is_uneven(scan.origins_mm):
        step = mean_step(scan.origins_mm, scan.normal)
        found.append(Planes(1, first + np.arange(rows)[:, None] * row, step, col, (slices, cols)))
        found.append(Planes(2, first + np.arange(cols)[:, None] * col, step, row, (slices, rows)))
    return found


def _are_in(outlines: Sequence[Outline], normal: Vector) -> bool:
    """Whether each outline lies in a plane with this normal."""
    return all(np.ptp(outline.points_mm @ normal) <= 2 * SAME_PLACE_MM for outline in outlines)


def _placed(
    outlines: Sequence[tuple[int, Outline]], planes: Planes, scan: Volume, tolerance_mm: float | None
) -> list[_Placed]:
    """Each outline on the nearest plane.

    Raises:
        CaseError: if that is too far.
    """
    normal = planes.normal
    z_mm, heights = planes.origins_mm @ normal, np.array([(item.points_mm @ normal).mean() for _, item in outlines])
    steps = np.abs(np.diff(z_mm)) if len(z_mm) > 1 else scan.slab_mm
    most = float(steps.min()) / 2 if tolerance_mm is None else tolerance_mm
    at = nearest(heights, z_mm)
    off = np.abs(heights - z_mm[at])
    if off.max() > most:
        beside = heights.min() < z_mm[0] - most or heights.max() > z_mm[-1] + most
        raise CaseError(OUTSIDE if beside else BETWEEN.format(float(off.max())))
    return [
        _Placed(outline, region, int(plane), float(apart), float(height))
        for (region, outline), plane, apart, height in zip(outlines, at, off, heights, strict=True)
    ]


def _check_slices(
    placed: Sequence[_Placed], regions: Sequence[Region], planes: Planes, scan: Volume, names: Sequence[SliceName]
) -> None:
    """Refuse outlines that were drawn on other slices than those where they lie, or on those of another scan.

    Raises:
        CaseError: if they were, or nothing tells that they were not.
    """
    used, heights = _used(placed)
    if _are_named(placed, regions, planes, scan, names) or _lists_all(regions, planes):
        return
    step = float(np.diff(heights).min()) if len(used) > 1 else None
    check_neighbours(used, planes.origins_mm @ planes.normal, step)


def _are_nameless(placed: Sequence[_Placed], regions: Sequence[Region], planes: Planes) -> bool:
    """Whether outlines lie on one slice of several, and the file names no slice of any scan."""
    is_named = any(item.outline.sources or regions[item.region].frame.names for item in placed)
    is_one = len({item.plane for item in placed}) == 1 < len(planes.origins_mm)
    return is_one and not is_named and max(item.off_mm for item in placed) <= SAME_PLACE_MM


def _are_named(
    placed: Sequence[_Placed], regions: Sequence[Region], planes: Planes, scan: Volume, names: Sequence[SliceName]
) -> bool:
    """Whether all outlines name the slices of the scan on which they lie.

    Raises:
        CaseError: if one names another.
    """
    is_native = planes.axis == 0 and (native_grid(scan).axes[0] == 2 or not scan.frames)
    drawn = _drawn([item.outline.sources for item in placed], regions[0])
    at = np.array([item.plane for item in placed], np.intp)
    heights = np.array([item.height_mm for item in placed])
    check_acquired(None if is_native else Acquired(planes.normal, heights, drawn.sources), scan, names)
    return named_as(drawn, np.arange(len(placed)), at, names if is_native else ())


def _used(placed: Sequence[_Placed]) -> tuple[NDArray[np.intp], Vector]:
    """(n,) the planes with an outline, in order, and the mean height of the outlines of each.

    Raises:
        CaseError: if outlines in several planes lie on one of the scan.
    """
    heights, at = np.array([item.height_mm for item in placed]), np.array([item.plane for item in placed], np.intp)
    used = np.unique(at)
    apart = max(float(np.ptp(heights[at == plane])) for plane in used)
    if apart > SAME_PLACE_MM:
        raise CaseError(TWO_PLANES.format(apart))
    return used, np.array([heights[at == plane].mean() for plane in used])


def _lists_all(regions: Sequence[Region], planes: Planes) -> bool:
    """Whether the file lists as many slices as the scan has, so that it was drawn on one of as many."""
    return all(len(region.frame.names) == len(planes.origins_mm) for region in regions)


def _draw(
    placed: Sequence[_Placed], regions: Sequence[Region], planes: Planes, labels: Labels, chosen: Collection[int]
) -> _Said:
    """Fill the outlines of each region on each plane of the labels (n, rows, columns)."""
    groups: dict[tuple[int, int], list[Outline]] = {}
    for item in placed:
        groups.setdefault((item.region, item.plane), []).append(item.outline)
    said = _Said()
    is_last = {region.number: bool(chosen) and region.number not in chosen for region in regions}
    for region, plane in sorted(groups, key=lambda key: (is_last[regions[key[0]].number], regions[key[0]].number)):
        outlines = groups[region, plane]
        areas = [_filled(outline, planes, plane) for outline in outlines]
        mask, nested = _joined(areas, planes.shape, are_xor=all(outline.is_xor for outline in outlines))
        said.lost += sum(not (area.inside.any() or area.path.any()) for area in areas)
        there = labels[plane]
        said.overlap |= bool(there[mask].any())
        said.nested |= nested
        there[mask & (there == 0)] = regions[region].number
    return said


def _filled(outline: Outline, planes: Planes, plane: int) -> Filled:
    """The pixels of an outline on a plane.

    Raises:
        CaseError: if it reaches beyond the pixels.
    """
    steps = np.stack([planes.row_step_mm, planes.col_step_mm], axis=1)
    points = (outline.points_mm - planes.origins_mm[plane]) @ np.linalg.pinv(steps).T
    if (points <= -1).any() or (points >= planes.shape).any():
        raise CaseError(OUTSIDE)
    rows, cols = (ON_PATH_MM / float(np.linalg.norm(step)) for step in steps.T)
    return filled(points, (rows, cols))


def _joined(areas: Sequence[Filled], shape: tuple[int, int], *, are_xor: bool) -> tuple[Mask, bool]:
    """(rows, columns) what the outlines of one region enclose together, and whether they are nested unsaid.

    Nested ones are by turns in and out. DICOM leaves it open for CLOSED_PLANAR.

    Raises:
        CaseError: if two cross that do not say by which rule they are combined.
    """
    inside, path = np.zeros((shape[0] + 2, shape[1] + 2), bool), np.zeros((shape[0] + 2, shape[1] + 2), bool)
    owner = np.zeros(inside.shape, np.int32)
    nested = False
    sizes = [0, *(int(area.inside.sum()) for area in areas)]
    for number in sorted(range(1, len(sizes)), key=lambda n: -sizes[n]):
        area = areas[number - 1]
        rows, cols = (slice(part.start + 1, part.stop + 1) for part in area.part)  # an outline may leave by a part
        below = owner[rows, cols][area.inside]
        if len(below) and not are_xor and ((below != below[0]).any() or sizes[below[0]] == len(below)):
            raise CaseError(CROSSING)
        nested = nested or (not are_xor and bool(below.any()))
        owner[rows, cols][area.inside] = number
        inside[rows, cols] ^= area.inside
        path[rows, cols] |= area.path
    return np.asarray((inside | path)[1:-1, 1:-1]), nested
