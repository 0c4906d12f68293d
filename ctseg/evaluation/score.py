"""Read one case's masks, check that their grids agree, and measure every model on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, CtsegError, first_line
from ctseg.evaluation.cases import Job
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.failures import system_failure
from ctseg.files import read_json_beside
from ctseg.io.dicom.rtstruct import Structures, read_rtstruct
from ctseg.io.drawn import SliceName, same_scan
from ctseg.io.grid import native_grid
from ctseg.io.masks import is_outlines
from ctseg.io.nifti import volumes as nifti
from ctseg.io.nifti.slicer import is_part
from ctseg.io.outlines import check_scan, outlines_on
from ctseg.io.placing import placed
from ctseg.io.seg_masks import reaching, seg_on, spanned
from ctseg.io.source import Source
from ctseg.io.stack import Grid, Mask, largest_offset_mm
from ctseg.io.volume import Volume
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric
from ctseg.metrics.volume import volume_metrics

TWO_PARTS = (
    "both masks leave out empty slices: those beside both are not counted, and mL rest on the spacing that they state"
)
TWO_OUTLINES = (
    "both are RT structure sets, whose outlines have no pixels of their own; write one of them as NIfTI on the grid of "
    "the scan"
)
MISSING = "no prediction: scored as empty"
"""Notes of scores."""


@dataclass(frozen=True)
class SliceCounts:
    """What each of the K slices of one case holds, for detection by slice."""

    slice_ids: tuple[str, ...]
    ref_px: NDArray[np.int64]
    pred_px: NDArray[np.int64]
    fp_ml: NDArray[np.float64]
    pred_ml: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One model on one case; `error` says why there are no metrics."""

    model: str
    case: str
    patient: str
    metrics: dict[str, float] = field(default_factory=dict)
    slices: SliceCounts | None = None
    error: str = ""
    note: str = ""
    """What to know about a case that was measured."""
    values: tuple[int, ...] = ()
    """Label values of the reference above 0."""


@dataclass(frozen=True)
class MaskFile:
    """A mask (K, H, W) with its geometry, and whether true slice positions stood beside it."""

    path: Path
    mask: Mask
    volume: Volume
    slice_ids: tuple[str, ...] = ()
    has_sidecar: bool = False
    values: tuple[int, ...] = ()
    """Label values above 0 that it holds."""
    is_part: bool = False
    """Whether it may cover a part of the grid alone; what is beside the part is background."""
    notes: tuple[str, ...] = ()
    """What to know about it once it is on a grid."""


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
    return MaskFile(path, mask, volume, ids, "origins_mm" in sidecar, found, is_part(path) or volume.drawn is not None)


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
        return _put_on(one, other, tolerance_mm), other
    return one, _put_on(other, one, tolerance_mm)


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
    first, second = _put_on(one, whole, tolerance_mm), _put_on(other, whole, tolerance_mm)
    return replace(first, notes=(*first.notes, *notes, TWO_PARTS)), second


def _put_on(part: MaskFile, whole: MaskFile, tolerance_mm: float) -> MaskFile:
    labels = part.mask.astype(np.uint8)
    try:
        if part.volume.drawn is not None:
            mask, notes = seg_on(labels, part.volume, whole.volume, _names(whole), tolerance_mm)
        else:
            mask, notes = placed(labels, part.volume, whole.volume, tolerance_mm), []
    except CaseError as error:
        raise CaseError(f"{part.path}: {error} ({whole.path})") from None
    return replace(whole, path=part.path, mask=mask > 0, values=part.values, notes=tuple(notes))


def _drawn_on(outlines: OutlineFile, whole: MaskFile, tolerance_mm: float) -> tuple[MaskFile, MaskFile]:
    """The outlines of a structure set on the grid of another mask, and that mask.

    A DICOM SEG, which leaves out slices, reaches as far as the outlines then.

    Raises:
        CaseError: naming both files, if they lie elsewhere.
    """
    found, notes = outlines.found, list[str]()
    points = [outline.points_mm for region in found.regions for outline in region.outlines]
    try:
        if whole.volume.drawn is not None and points:
            names = frozenset[SliceName]().union(*whole.volume.drawn.sources)
            notes = [*check_scan(found, whole.volume, sorted(names)), TWO_PARTS]
            grid = reaching(whole.volume, np.concatenate(points))
            whole = _put_on(whole, MaskFile(whole.path, whole.mask, grid), tolerance_mm)
        labels, more = outlines_on(found, whole.volume, _names(whole), outlines.labels, tolerance_mm)
    except CaseError as error:
        raise CaseError(f"{outlines.path}: {error} ({whole.path})") from None
    chosen = np.isin(labels, outlines.labels) if outlines.labels else labels > 0
    notes = list(dict.fromkeys((*notes, *more)))
    return replace(whole, path=outlines.path, mask=chosen, values=found.numbers, notes=tuple(notes)), whole


def _names(whole: MaskFile) -> list[SliceName]:
    """The names of a mask's slices, where they are in order; slices that were turned have names of their own."""
    return [(name, 0) for name in whole.slice_ids] if native_grid(whole.volume).axes[0] == 2 else []


def _sidecar(path: Path) -> dict[str, Any]:
    """What ctseg wrote beside a mask; empty where there is nothing or somebody else's JSON."""
    found = read_json_beside(nifti.sidecar_path(path))
    return found if isinstance(found, dict) and str(found.get("schema", "")).startswith("ctseg-") else {}


def score_case(
    job: Job, models: tuple[str, ...], settings: EvaluationSettings, metrics: tuple[Metric, ...] = METRICS
) -> list[Score]:
    """Every model's score on one case; a missing or broken mask, or one on another grid, gets its error instead."""
    try:
        ref = read_any(job.ref, settings.reference_labels)
    except (CtsegError, OSError, MemoryError) as error:
        return [Score(model, job.case, job.patient, error=_one_line(error, job.ref)) for model in models]
    return [_score(job, model, pred, ref, settings, metrics) for model, pred in zip(models, job.preds, strict=True)]


def _score(
    job: Job,
    model: str,
    path: Path | None,
    ref: MaskFile | OutlineFile,
    settings: EvaluationSettings,
    metrics: tuple[Metric, ...],
) -> Score:
    try:
        if path is None and settings.missing == "empty":
            return _scored_empty(job, model, ref, settings, metrics)
        if path is None:
            raise CaseError(f"{job.case}: no prediction; segment this case too, or take its reference out")
        both = on_one_grid(read_any(path, settings.prediction_labels), ref, settings.grid_tolerance_mm)
        grid = common_grid(*both, settings.grid_tolerance_mm)
        return _measured(job, model, *both, grid, settings, metrics)
    except (CtsegError, OSError, MemoryError) as error:
        return Score(model, job.case, job.patient, error=_one_line(error, path))


def _scored_empty(
    job: Job, model: str, ref: MaskFile | OutlineFile, settings: EvaluationSettings, metrics: tuple[Metric, ...]
) -> Score:
    """A missing prediction counts as an empty mask."""
    if isinstance(ref, OutlineFile) or ref.is_part:
        raise CaseError(f"{ref.path}: holds a part of its scan's grid, and no prediction has the whole; segment it")
    nothing = replace(ref, mask=np.zeros_like(ref.mask))
    score = _measured(job, model, nothing, ref, Grid.of(ref.volume), settings, metrics)
    return replace(score, note=MISSING)


def _measured(
    job: Job,
    model: str,
    pred: MaskFile,
    ref: MaskFile,
    grid: Grid,
    settings: EvaluationSettings,
    metrics: tuple[Metric, ...],
) -> Score:
    values = volume_metrics(
        pred.mask,
        ref.mask,
        grid,
        metrics=metrics,
        tolerance_mm=settings.nsd_tolerance_mm,
        min_lesion_ml=settings.min_lesion_ml,
    )
    note = "; ".join(dict.fromkeys((*pred.notes, *ref.notes)))
    return Score(model, job.case, job.patient, values, count_slices(pred, ref, grid), note=note, values=ref.values)


def _one_line(error: Exception, path: Path | None) -> str:
    reason = system_failure(error) or f"cannot be read ({first_line(error)})"
    return " ".join(str(error).split()) if isinstance(error, CtsegError) else f"{path}: {reason}"


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


def count_slices(pred: MaskFile, ref: MaskFile, grid: Grid) -> SliceCounts | None:
    """Counts of each slice; None where no file says which slices these are."""
    ids = ref.slice_ids or pred.slice_ids
    if len(ids) != len(grid.slab_mm):
        return None

    def count(mask: Mask) -> NDArray[np.int64]:
        return np.asarray(np.count_nonzero(mask, axis=(1, 2)), dtype=np.int64)

    false_positive, predicted = count(pred.mask & ~ref.mask), count(pred.mask)
    return SliceCounts(ids, count(ref.mask), predicted, false_positive * grid.voxel_ml, predicted * grid.voxel_ml)
