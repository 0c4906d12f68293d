"""The masks of one case on one grid: on that of a whole mask, of both parts, or of their scan. Nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ctseg.errors import CaseError
from ctseg.files import read_json_beside
from ctseg.io.dicom.rtstruct import Structures, read_rtstruct
from ctseg.io.drawn import SliceName, same_scan, slice_names
from ctseg.io.grid import native_grid
from ctseg.io.kinds import kind_of
from ctseg.io.masks import is_outlines
from ctseg.io.nifti import volumes as nifti
from ctseg.io.nifti.slicer import is_part
from ctseg.io.outlines import check_scan, outlines_on
from ctseg.io.placing import placed
from ctseg.io.seg_masks import seg_on
from ctseg.io.source import Source
from ctseg.io.spanning import reaching, spanned
from ctseg.io.stack import Grid, Mask, largest_offset_mm
from ctseg.io.volume import Volume

TWO_PARTS = (
    "both masks leave out empty slices: those beside both are not counted, and mL rest on the spacing that they state"
)
TWO_OUTLINES = (
    "both are RT structure sets, whose outlines have no pixels of their own; give their scan with --images, or write "
    "one of them as NIfTI on its grid"
)
"""Notes and reasons."""


@dataclass(frozen=True)
class MaskFile:
    """A mask (K, H, W) with its geometry, and whether true slice positions stood beside it."""

    path: Path
    mask: Mask
    volume: Volume
    slice_ids: tuple[str, ...] = ()
    frames: tuple[SliceName, ...] = ()
    """Where its slices are frames of an enhanced object: the object's UID and their numbers."""
    has_sidecar: bool = False
    values: tuple[int, ...] = ()
    """Label values above 0 that it holds."""
    is_part: bool = False
    """Whether it may cover a part of the grid alone; what is beside the part is background."""
    notes: tuple[str, ...] = ()
    """What to know about it, as of an overlap of its segments, and of how it lies on a grid."""


@dataclass(frozen=True)
class OutlineFile:
    """An RT structure set, which has no grid of its own."""

    path: Path
    found: Structures
    labels: tuple[int, ...]
    """Numbers of the regions that count; empty for all."""


def read_any(path: Path, labels: tuple[int, ...] = ()) -> MaskFile | OutlineFile:
    """A mask on its grid, or the outlines of an RT structure set; `labels` as of `read_mask`.

    Raises:
        CaseError: if the file cannot be read as a mask.
    """
    if is_outlines(path):
        return OutlineFile(path, read_rtstruct(Source(str(path)), labels), labels)
    return read_mask(path, labels)


def read_mask(path: Path, labels: tuple[int, ...] = ()) -> MaskFile:
    """A mask in canonical order; `labels` are the values that count, empty for all above 0.

    Raises:
        CaseError: if the file cannot be read as a mask.
    """
    values, volume = nifti.load_mask(path, labels)
    mask = np.isin(values, labels) if labels else np.asarray(values) > 0
    sidecar = _sidecar(path)
    ids = tuple(str(item) for item in sidecar.get("slice_ids", ())) or tuple(volume.slice_ids)
    found = tuple(int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=2)) if value)
    may_be_cut = is_part(path) or volume.drawn is not None
    frames, has_places = _frames(sidecar), "origins_mm" in sidecar
    return MaskFile(path, mask, volume, ids, frames, has_places, found, may_be_cut, volume.notes)


def may_be_partial(path: Path) -> bool:
    """Whether a mask may have no grid, or a part of its scan's alone, as far as its name and a text header tell."""
    return kind_of(path.name).what == "dicom" or is_part(path)


def is_partial(file: MaskFile | OutlineFile) -> bool:
    """Whether a mask has no grid, or may have a part of its scan's alone."""
    return isinstance(file, OutlineFile) or file.is_part


def on_scan(file: MaskFile | OutlineFile, scan: Volume, tolerance_mm: float) -> MaskFile:
    """A mask on the grid of its scan; what is beside a part of the grid is background.

    Args:
        file: the mask.
        scan: (K, H, W) the scan.
        tolerance_mm: how far voxels and outlines may lie off.

    Raises:
        CaseError: naming the mask, if it lies elsewhere.
    """
    whole = MaskFile(Path(scan.case_id), np.zeros(scan.voxels.shape, bool), scan, tuple(scan.slice_ids))
    if isinstance(file, OutlineFile):
        return _outlined(file, whole, slice_names(scan), tolerance_mm, by_place=True)
    return _put_on(file, whole, slice_names(scan), tolerance_mm)


def on_one_grid(
    one: MaskFile | OutlineFile, other: MaskFile | OutlineFile, tolerance_mm: float
) -> tuple[MaskFile, MaskFile]:
    """Both masks, a part of a grid on the whole grid of the other one; two parts on the grid that both span.

    Raises:
        CaseError: naming the file of a part that has voxels or outlines beside those of the other.
    """
    if isinstance(one, OutlineFile) and isinstance(other, OutlineFile):
        raise CaseError(f"{one.path} and {other.path}: {TWO_OUTLINES}")
    if isinstance(one, OutlineFile):
        return _drawn_on(one, cast(MaskFile, other), tolerance_mm)
    if isinstance(other, OutlineFile):
        return _drawn_on(other, one, tolerance_mm)[::-1]
    return _masks_on_one_grid(one, other, tolerance_mm)


def _masks_on_one_grid(one: MaskFile, other: MaskFile, tolerance_mm: float) -> tuple[MaskFile, MaskFile]:
    are_drawn = [file.volume.drawn is not None for file in (one, other)]
    if one.mask.shape == other.mask.shape and not any(are_drawn):
        return one, other
    if one.is_part and other.is_part and any(are_drawn):
        return _on_both(one, other, tolerance_mm)
    if one.is_part == other.is_part:
        return one, other
    if one.is_part:
        return _put_on(one, other, _names(other), tolerance_mm), other
    return one, _put_on(other, one, _names(one), tolerance_mm)


def _on_both(one: MaskFile, other: MaskFile, tolerance_mm: float) -> tuple[MaskFile, MaskFile]:
    """Two parts on the smallest grid that holds both.

    Raises:
        CaseError: naming both files, if there is none.
    """
    try:
        grid, notes = spanned(one.volume, other.volume), same_scan(one.volume, other.volume)
    except CaseError as error:
        raise CaseError(f"{one.path} and {other.path}: {error}") from None
    whole = MaskFile(other.path, other.mask, grid)
    first, second = (_put_on(part, whole, _names(whole), tolerance_mm) for part in (one, other))
    return replace(first, notes=(*first.notes, *notes, TWO_PARTS)), second


def _put_on(part: MaskFile, whole: MaskFile, names: Sequence[SliceName], tolerance_mm: float) -> MaskFile:
    """A part of a grid on the whole; `names` are those of the whole's slices where they are known."""
    labels = part.mask.astype(np.uint8)
    try:
        if part.volume.drawn is not None:
            mask, notes = seg_on(labels, part.volume, whole.volume, names, tolerance_mm)
        else:
            mask, notes = placed(labels, part.volume, whole.volume, tolerance_mm), []
    except CaseError as error:
        raise CaseError(f"{part.path}: {error} ({whole.path})") from None
    return replace(whole, path=part.path, mask=mask > 0, values=part.values, notes=(*part.notes, *notes))


def _drawn_on(outlines: OutlineFile, whole: MaskFile, tolerance_mm: float) -> tuple[MaskFile, MaskFile]:
    """The outlines of a structure set on the grid of another mask, and that mask.

    A DICOM SEG, which leaves out slices, reaches as far as the outlines then.

    Raises:
        CaseError: naming both files, if they lie elsewhere.
    """
    found, notes = outlines.found, list[str]()
    points = [outline.points_mm for region in found.regions for outline in region.outlines]
    if whole.volume.drawn is not None and points:
        names = frozenset[SliceName]().union(*whole.volume.drawn.sources)
        try:
            notes = [*check_scan(found, whole.volume, sorted(names)), TWO_PARTS]
            grid = reaching(whole.volume, np.concatenate(points))
        except CaseError as error:
            raise CaseError(f"{outlines.path}: {error} ({whole.path})") from None
        further = MaskFile(whole.path, whole.mask, grid)
        whole = _put_on(whole, further, _names(further), tolerance_mm)
    drawn = _outlined(outlines, whole, _names(whole), tolerance_mm)
    return replace(drawn, notes=tuple(dict.fromkeys((*notes, *drawn.notes)))), whole


def _outlined(
    outlines: OutlineFile, whole: MaskFile, names: Sequence[SliceName], tolerance_mm: float, *, by_place: bool = False
) -> MaskFile:
    """The pixels that outlines enclose, on the grid of another mask, or of a scan that was given."""
    try:
        labels, notes = outlines_on(
            outlines.found, whole.volume, names, outlines.labels, tolerance_mm, by_place=by_place
        )
    except CaseError as error:
        raise CaseError(f"{outlines.path}: {error} ({whole.path})") from None
    chosen = np.isin(labels, outlines.labels) if outlines.labels else labels > 0
    return replace(whole, path=outlines.path, mask=chosen, values=outlines.found.numbers, notes=tuple(notes))


def _names(whole: MaskFile) -> list[SliceName]:
    """The names of a mask's slices, where they are in order; slices that were turned have names of their own."""
    names = whole.frames or tuple((name, 0) for name in whole.slice_ids)
    return list(names) if native_grid(whole.volume).axes[0] == 2 else []


def _sidecar(path: Path) -> dict[str, Any]:
    """What ctseg wrote beside a mask; empty where there is nothing or somebody else's JSON."""
    found = read_json_beside(nifti.sidecar_path(path))
    return found if isinstance(found, dict) and str(found.get("schema", "")).startswith("ctseg-") else {}


def _frames(sidecar: dict[str, Any]) -> tuple[SliceName, ...]:
    """The names of frames in a sidecar; none where it holds anything else."""
    found = sidecar.get("frames", ())
    try:
        return tuple((str(uid), int(number)) for uid, number in found)
    except (TypeError, ValueError):
        return ()


def common_grid(pred: MaskFile, ref: MaskFile, tolerance_mm: float) -> Grid:
    """The grid of both masks; nothing is ever resampled.

    Where only one of the files has its true slice positions beside it (a mask of ctseg's own on an uneven series,
    compared with another tool's), the headers decide whether the grids agree and the true positions are used.

    Raises:
        CaseError: naming both files, if shape or position differ.
    """
    one, other = pred.mask.shape, ref.mask.shape
    if one != other:
        raise CaseError(f"{pred.path} has {_by(one)} voxels but {ref.path} {_by(other)}; put them on one grid")
    offset = offset_mm(pred, ref)
    if offset > tolerance_mm:
        raise CaseError(f"{pred.path} and {ref.path} lie up to {offset:.2f} mm apart; put them on one grid")
    grids = Grid.of(pred.volume), Grid.of(ref.volume)
    thick = tuple(float(grid.slab_mm[0]) for grid in grids)
    if one[0] == 1 and pred.has_sidecar == ref.has_sidecar and abs(thick[0] - thick[1]) > tolerance_mm:
        raise CaseError(
            f"{pred.path} says a slice of {thick[0]:.3g} mm and {ref.path} one of {thick[1]:.3g} mm; put them on one "
            "grid"
        )
    return grids[0] if pred.has_sidecar and not ref.has_sidecar else grids[1]


def offset_mm(one: MaskFile, other: MaskFile) -> float:
    """How far the voxels of two masks of one shape lie apart at most.

    Where only one of the files has its true slice positions beside it, their headers may agree instead.
    """
    if one.has_sidecar == other.has_sidecar:
        return largest_offset_mm(one.volume, other.volume)
    return least_offset_mm(one.volume, other.volume)


def least_offset_mm(one: Volume, other: Volume) -> float:
    """How far the voxels of two grids of one shape lie apart at most, by their true positions or by their headers."""
    return min(largest_offset_mm(one, other), _header_offset_mm(one, other))


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _header_offset_mm(one: Volume, other: Volume) -> float:
    """Largest distance of the corners of two files by their affines alone; infinite where a file has none."""
    grids = one.native, other.native
    if any(grid is None or grid.affine is None for grid in grids):
        return float("inf")
    first, second = (grid for grid in grids if grid is not None)
    if first.shape != second.shape or first.affine is None or second.affine is None:
        return float("inf")
    ends = np.stack(np.meshgrid(*[(0, size - 1) for size in first.shape], (1,), indexing="ij"), axis=-1).reshape(-1, 4)
    return float(np.abs(ends @ (first.affine - second.affine).T).max())
