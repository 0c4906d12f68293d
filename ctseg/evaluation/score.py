"""Read one case's masks, check that their grids agree, and measure every model on it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError, CtsegError, first_line
from ctseg.evaluation.cases import Job
from ctseg.evaluation.grids import MaskFile, OutlineFile, common_grid, is_partial, on_one_grid, on_scan, read_any
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.failures import system_failure
from ctseg.io.case import Case
from ctseg.io.discover import read_case
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.catalogue import METRICS
from ctseg.metrics.registry import Metric
from ctseg.metrics.volume import volume_metrics

MISSING = "no prediction: scored as empty"
"""The note of a score."""
IMAGES = "give their scan with --images"
NO_WHOLE = (
    "holds a part of its scan's grid, and no prediction has the whole; segment it, or give the scan with --images"
)


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
    pred_values: tuple[int, ...] = ()
    """The same of the prediction."""


def score_case(
    job: Job, models: tuple[str, ...], settings: EvaluationSettings, metrics: tuple[Metric, ...] = METRICS
) -> list[Score]:
    """Every model's score on one case; a missing or broken mask, or one on another grid, gets its error instead."""
    try:
        ref = read_any(job.ref, settings.reference_labels)
    except (CtsegError, OSError, MemoryError) as error:
        return [Score(model, job.case, job.patient, error=_one_line(error, job.ref)) for model in models]
    reference = _Reference(job.scan, ref, settings.grid_tolerance_mm)
    return [
        _score(job, model, pred, reference, settings, metrics) for model, pred in zip(models, job.preds, strict=True)
    ]


@dataclass(frozen=True)
class _Reference:
    """A case's reference, and its scan, which is read once, where a mask asks for it, and goes with the case."""

    case: Case | None
    mask: MaskFile | OutlineFile
    tolerance_mm: float

    @cached_property
    def _scan(self) -> Volume | Exception:
        """The scan, or why it cannot be read; that is not tried again for the next model."""
        try:
            return read_case(cast(Case, self.case))
        except (CtsegError, OSError, MemoryError) as error:
            return error

    @cached_property
    def on_scan(self) -> MaskFile:
        """The reference on the grid of its scan.

        Raises:
            CtsegError, OSError, MemoryError: if the scan cannot be read, or the reference is of another one.
        """
        return self.put(self.mask)

    def put(self, mask: MaskFile | OutlineFile) -> MaskFile:
        """A mask on the grid of the scan; raises as `on_scan`."""
        if isinstance(self._scan, Exception):
            raise self._scan
        return on_scan(mask, self._scan, self.tolerance_mm)


def _score(
    job: Job,
    model: str,
    path: Path | None,
    ref: _Reference,
    settings: EvaluationSettings,
    metrics: tuple[Metric, ...],
) -> Score:
    try:
        if path is None and settings.missing == "empty":
            return _scored_empty(job, model, ref, settings, metrics)
        if path is None:
            raise CaseError(f"{job.case}: no prediction; segment this case too, or take its reference out")
        both = _on_one_grid(read_any(path, settings.prediction_labels), ref)
        grid = common_grid(*both, settings.grid_tolerance_mm)
        return _measured(job, model, *both, grid, settings, metrics)
    except (CtsegError, OSError, MemoryError) as error:
        return Score(model, job.case, job.patient, error=_one_line(error, path))


def _on_one_grid(pred: MaskFile | OutlineFile, ref: _Reference) -> tuple[MaskFile, MaskFile]:
    """Both masks, on the grid of their scan where neither has the whole of it and the scan is given.

    Raises:
        CtsegError: if the scan cannot be read, or a mask is of another one.
    """
    if not (is_partial(pred) and is_partial(ref.mask)):
        return on_one_grid(pred, ref.mask, ref.tolerance_mm)
    if ref.case is not None:
        return ref.put(pred), ref.on_scan
    try:
        return on_one_grid(pred, ref.mask, ref.tolerance_mm)
    except CaseError as error:
        raise CaseError(str(error) if IMAGES in str(error) else f"{error}; or {IMAGES}") from None


def _scored_empty(
    job: Job, model: str, reference: _Reference, settings: EvaluationSettings, metrics: tuple[Metric, ...]
) -> Score:
    """A missing prediction counts as an empty mask."""
    ref = reference.on_scan if reference.case is not None and is_partial(reference.mask) else reference.mask
    if isinstance(ref, OutlineFile) or ref.is_part:
        raise CaseError(f"{ref.path}: {NO_WHOLE}")
    nothing = replace(ref, mask=np.zeros_like(ref.mask), values=(), notes=())
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
    slices = count_slices(pred, ref, grid)
    return Score(model, job.case, job.patient, values, slices, "", note, ref.values, pred.values)


def _one_line(error: Exception, path: Path | None) -> str:
    reason = system_failure(error) or f"cannot be read ({first_line(error)})"
    return " ".join(str(error).split()) if isinstance(error, CtsegError) else f"{path}: {reason}"


def count_slices(pred: MaskFile, ref: MaskFile, grid: Grid) -> SliceCounts | None:
    """Counts of each slice; None where no file says which slices these are."""
    ids = ref.slice_ids or pred.slice_ids
    if len(ids) != len(grid.slab_mm):
        return None

    def count(mask: Mask) -> NDArray[np.int64]:
        return np.asarray(np.count_nonzero(mask, axis=(1, 2)), dtype=np.int64)

    false_positive, predicted = count(pred.mask & ~ref.mask), count(pred.mask)
    return SliceCounts(ids, count(ref.mask), predicted, false_positive * grid.voxel_ml, predicted * grid.voxel_ml)
