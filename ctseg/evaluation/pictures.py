"""Pictures of chosen cases: the worst and the best, as rows of slices and in the viewer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import CtsegError
from ctseg.evaluation.cases import Job
from ctseg.evaluation.grids import (
    MaskFile,
    OutlineFile,
    is_partial,
    least_offset_mm,
    offset_mm,
    on_one_grid,
    on_scan,
    read_any,
    read_mask,
)
from ctseg.evaluation.numbers import millilitres
from ctseg.evaluation.scans import Scans
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.io.discover import read_case
from ctseg.io.volume import Volume
from ctseg.render.page import Picture
from ctseg.render.png import png_bytes
from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet
from ctseg.render.slices import Outline, window_hu
from ctseg.render.style import MODELS, REFERENCE
from ctseg.render.viewer import Viewer, make_viewer

ROW = Layout(DARK, side=300, gap=0)
"""Slices of a case lie side by side, without text that the page cannot set."""
MARGIN = 0.03
"""Air left around the head, as a share of the picture."""


@dataclass(frozen=True)
class ExampleCase:
    """One case that the report shows, loaded."""

    job: Job
    grey: NDArray[np.uint8]
    ref: MaskFile
    outlines: tuple[Outline, ...]
    """The reference first, then each model that has a mask on its grid."""
    remark: str = ""
    """Why there is no scan behind the outlines, where one was given."""


def example_cases(done: pd.DataFrame, model: str, count: int) -> dict[str, list[str]]:
    """The cases that the report shows, `count` of each kind at most, no case twice.

    Worst and best are by the model's Dice among the cases with a lesion in the reference; false positives are the
    largest predictions where the reference is empty.
    """
    rows = done[done["model"] == model]
    names = rows[rows["ref_ml"] > 0].sort_values(["dice", "case"])["case"].tolist()
    worst = names[: min(count, (len(names) + 1) // 2)]
    best = [name for name in names[::-1][:count] if name not in worst]
    false_positives = rows[(rows["ref_ml"] == 0) & (rows["pred_ml"] > 0)].sort_values(
        ["pred_ml", "case"], ascending=[False, True]
    )
    kinds = {
        "Worst cases": worst,
        "Best cases": best,
        "Largest false positives": false_positives["case"].head(count).tolist(),
    }
    return {title: cases for title, cases in kinds.items() if cases}


def load_example(job: Job, models: Sequence[str], scans: Scans, settings: EvaluationSettings) -> ExampleCase:
    """Masks and scan of a case; a scan that is missing or on another grid leaves the background black."""
    ref, predicted = _both_sides(job, settings)
    outlines = [Outline(ref.mask, REFERENCE, "reference", inside=True)]
    for place, (model, pred) in enumerate(zip(models, predicted, strict=True)):
        mask = None if pred is None else _on_grid_of(ref, pred, settings)
        if mask is not None and mask.mask.shape == ref.mask.shape and offset_mm(mask, ref) <= _near_mm(ref, settings):
            outlines.append(Outline(mask.mask, MODELS[place % len(MODELS)], model, inside=True))
    grey, remark = _grey(job, ref, scans, settings)
    return cropped(ExampleCase(job, grey, ref, tuple(outlines), remark))


def _both_sides(job: Job, settings: EvaluationSettings) -> tuple[MaskFile, Sequence[MaskFile | OutlineFile | None]]:
    """The reference on its grid, and each prediction as it was read, or on the scan where none has the whole grid."""
    given = read_any(job.ref, settings.reference_labels)
    predicted = [_prediction(path, settings) for path in job.preds]
    if job.scan is not None and all(is_partial(file) for file in (given, *predicted) if file is not None):
        scan = read_case(job.scan)
        return on_scan(given, scan, settings.grid_tolerance_mm), [_on_scan(pred, scan, settings) for pred in predicted]
    found = (whole for pred in predicted if (whole := _on_grid_of(pred, given, settings)) is not None)
    return next(found, None) or read_mask(job.ref, settings.reference_labels), predicted


def cropped(example: ExampleCase) -> ExampleCase:
    """The case without the air around the head; whole where there is no scan."""
    seen: NDArray[np.bool_] = np.any(example.grey > 0, axis=0)
    if not seen.any():
        return example
    for outline in example.outlines:
        seen |= outline.mask.any(axis=0)
    rows, cols = np.flatnonzero(np.any(seen, axis=1)), np.flatnonzero(np.any(seen, axis=0))
    part = np.s_[:, _span(rows, seen.shape[0]), _span(cols, seen.shape[1])]
    outlines = tuple(replace(outline, mask=outline.mask[part]) for outline in example.outlines)
    return replace(example, grey=example.grey[part], outlines=outlines)


def _span(filled: NDArray[np.intp], size: int) -> slice:
    """From the first to the last filled row or column, with some air around."""
    margin = round(MARGIN * size)
    return slice(max(0, int(filled[0]) - margin), min(size, int(filled[-1]) + 1 + margin))


def _prediction(path: Path | None, settings: EvaluationSettings) -> MaskFile | OutlineFile | None:
    try:
        return read_any(path, settings.prediction_labels) if path else None
    except (CtsegError, OSError, MemoryError):
        return None


def _on_scan(file: MaskFile | OutlineFile | None, scan: Volume, settings: EvaluationSettings) -> MaskFile | None:
    """A mask on the grid of its scan; None where it lies elsewhere."""
    try:
        return None if file is None else on_scan(file, scan, settings.grid_tolerance_mm)
    except CtsegError:
        return None


def _on_grid_of(
    whole: MaskFile | OutlineFile | None, mask: MaskFile | OutlineFile, settings: EvaluationSettings
) -> MaskFile | None:
    """A mask, on the grid of another where it is a part of one; None where there is no such grid."""
    try:
        return None if whole is None else on_one_grid(mask, whole, settings.grid_tolerance_mm)[0]
    except CtsegError:
        return None


def _grey(job: Job, ref: MaskFile, scans: Scans, settings: EvaluationSettings) -> tuple[NDArray[np.uint8], str]:
    """The scan in the brain window, or black; and what is to be said about it."""
    volume, remark = scans.volume(job)
    black = np.zeros(ref.mask.shape, np.uint8)
    if volume is None:
        return black, remark
    if volume.voxels.shape != ref.mask.shape:
        return black, f"{scans.name(job)} is on another grid"
    apart = least_offset_mm(volume, ref.volume)
    if apart > _near_mm(ref, settings):
        return black, f"{scans.name(job)} lies up to {apart:.3g} mm from the reference"
    return window_hu(volume.voxels), ""


def _near_mm(ref: MaskFile, settings: EvaluationSettings) -> float:
    """How far grids may lie apart that are drawn over each other: half a pixel is not seen."""
    return max(settings.grid_tolerance_mm, min(ref.volume.spacing_mm) / 2)


def example_slices(ref: NDArray[np.bool_], pred: NDArray[np.bool_]) -> list[int]:
    """Up to three slices, in order: the largest reference area, the most missed and the most false positive."""
    chosen: list[int] = []
    for mask in (ref, ref & ~pred, pred & ~ref):
        area = np.count_nonzero(mask, axis=(1, 2))
        order = [int(index) for index in np.argsort(-area, kind="stable") if area[index]]
        chosen += [index for index in order[:3] if index not in chosen][:1]
    return sorted(chosen) or [len(ref) // 2]


def case_picture(example: ExampleCase, model: str, row: Mapping[Hashable, Any], viewer: str) -> Picture:
    """The example slices of a case for one model, with every outline; `viewer` is the anchor of its slice viewer."""
    pred = next((item for item in example.outlines if item.name == model), example.outlines[0])
    slices = example_slices(example.outlines[0].mask, pred.mask)
    picture = slice_row(example.grey, example.outlines, example.ref.volume.spacing_mm, slices)
    numbers = ", ".join(str(index + 1) for index in slices)
    places = f"slice{'s' if len(slices) > 1 else ''} {numbers} of {len(example.ref.mask)}"
    remark = f" ({example.remark})" if example.remark else ""
    caption = f"{example.job.case}: {_measured(row)}; {places}{remark}"
    return Picture(picture, caption, f"Outlines of {example.job.case} on {places}", (f"#{viewer}", "all slices"))


def _measured(row: Mapping[Hashable, Any]) -> str:
    """What a caption says of a case's numbers: a Dice tells nothing where the reference is empty."""
    predicted = f"predicted {millilitres(row['pred_ml'])}"
    if not row["ref_ml"]:
        return f"no lesion in the reference, {predicted}"
    return f"Dice {row['dice']:.2f}, reference {millilitres(row['ref_ml'])}, {predicted}"


def slice_row(
    grey: NDArray[np.uint8], outlines: Sequence[Outline], spacing_mm: tuple[float, float], slices: Sequence[int]
) -> bytes:
    """PNG of chosen slices of a (K, H, W) volume side by side with their outlines, R and L in their corners."""
    tiles = [
        Tile(grey[index], tuple(item.slice(index) for item in outlines), spacing_mm=spacing_mm, sides=("R", "L"))
        for index in slices
    ]
    return png_bytes(draw_sheet([tiles], layout=ROW))


def case_viewer(example: ExampleCase, anchor: str = "") -> Viewer:
    """The whole volume of a case with every outline; it opens where the reference, or else a prediction, is largest."""
    volume = example.ref.volume
    areas = {item.name: np.count_nonzero(item.mask, axis=(1, 2)) * volume.voxel_ml for item in example.outlines}
    lines = [
        f"{place:.1f} mm · " + " · ".join(f"{name} {values[index]:.2f} mL" for name, values in areas.items())
        for index, place in enumerate(volume.z_mm - volume.z_mm[0])
    ]
    filled = [values for values in areas.values() if values.any()]
    start = int(np.argmax(filled[0])) if filled else len(lines) // 2
    return make_viewer(example.job.case, example.grey, example.outlines, volume.spacing_mm, lines, start, anchor)
