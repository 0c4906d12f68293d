"""Slice sets as input: label sets that come without raw scans. Masks are on the slices' own model grid."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from ctseg.errors import CaseError, InputError
from ctseg.inference.models import ModelGroup
from ctseg.inference.prefetch import Outcome
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.results import CaseResult
from ctseg.inference.segment import OnCase, segment_prepared
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case
from ctseg.io.digest import DIGITS
from ctseg.io.slice_table import scan_files
from ctseg.io.slices import SliceSet, check_domain, check_same_greys, intensity_of
from ctseg.io.stack import about_single
from ctseg.io.volume import Volume
from ctseg.outputs import Output
from ctseg.parallel import attempt
from ctseg.preprocess.frame import Frame
from ctseg.preprocess.prepared import Prepared
from ctseg.progress import ProgressCallback

if TYPE_CHECKING:
    import pandas as pd


def segment_slices(
    slices: SliceSet,
    groups: Sequence[ModelGroup],
    out: Path | Output,
    settings: SegmentSettings,
    *,
    split: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_case: OnCase | None = None,
    progress: ProgressCallback | None = None,
) -> list[CaseResult]:
    """Segment haemorrhage on a slice set, one mask for each scan it was made of; see `segment_cases`.

    Only the slices that the set holds are measured, so a volume is that of the scan only where none was left out.

    Args:
        slices: made with the size and field of view that the models were trained on.
        groups: one or more models, grouped by preprocessing; their probabilities are averaged.
        out: folder, or one that was guarded already, with its own `resume` and `overwrite`.
        settings: threshold and what to write; there is no DICOM SEG of a slice set.
        split: only this split; None for all slices.
        resume: keep the finished cases of an earlier run with the same models and settings.
        overwrite: replace an earlier segmentation.
        on_case: called with every row.
        progress: called with (done, total, case).

    Raises:
        InputError: if the set has another size than the models want, or no such split.
        OutputExistsError: if `out` holds anything and neither `resume` nor `overwrite` is set.
    """
    check_size(slices, groups)
    rows = slices_by_case(slices, split, deidentify=settings.deidentify)
    cases = [Case(name, name, "slices", slices.domain, files=(slices.folder,)) for name in rows]

    def prepare(todo: Iterable[Case]) -> Generator[tuple[Case, Outcome]]:
        yield from ((case, attempt(ready, case)) for case in todo)

    def ready(case: Case) -> ReadyCase:
        return ready_slices(slices, case.case_id, rows[case.case_id], groups)

    def digest(case: Case) -> str:
        return slices_digest(slices, rows[case.case_id])

    return segment_prepared(
        cases,
        prepare,
        digest,
        groups,
        out,
        settings,
        resume=resume,
        overwrite=overwrite,
        on_case=on_case,
        progress=progress,
    )


def slices_by_case(
    slices: SliceSet, split: str | None = None, *, deidentify: bool = False
) -> dict[str, NDArray[np.int64]]:
    """Case name -> its array rows from feet to head; `deidentify` names cases by a digest of their slices."""
    chosen = slices.rows(split)
    table = slices.table.iloc[chosen].assign(row=chosen)
    ordered = table.assign(case=scan_files(table)).sort_values(["case", "z_mm", "index"], kind="stable")
    rows = {str(case): group["row"].to_numpy(np.int64) for case, group in ordered.groupby("case", sort=True)}
    if not deidentify:
        return rows
    return {f"C{slices_digest(slices, chosen)[:10]}_{number}": chosen for number, chosen in enumerate(rows.values(), 1)}


def check_size(slices: SliceSet, groups: Sequence[ModelGroup]) -> None:
    """Refuse a slice set of MR, of another size or with other grey values than the models were trained on.

    Raises:
        InputError: naming what differs.
    """
    check_domain(slices, "ct", "")
    for group in groups:
        size = group.preprocessing.size
        if not group.models and (size, size) != slices.size:
            raise InputError(
                f"{slices.folder}: --other-blood wants slices of {size} x {size}; segment the scans themselves, or "
                "leave it out"
            )
    sizes = [group.preprocessing.size for group in groups]
    if any((size, size) != slices.size for size in sizes):
        wanted = ", ".join(f"{size} x {size}" for size in sizes)
        found = f"{slices.size[0]} x {slices.size[1]}"
        raise InputError(f"{slices.folder}: slices are {found}, the model wants {wanted}; preprocess with its --size")
    for group in groups:
        check_same_greys(slices, group.preprocessing.model_dump(), "the slices that the model was trained on")


def ready_slices(slices: SliceSet, case: str, rows: NDArray[np.int64], groups: Sequence[ModelGroup]) -> ReadyCase:
    """The slices of one case (array rows from feet to head), ready for every group of models.

    Raises:
        CaseError: if the slices have no positions, so that nothing in them can be measured in mL.
    """
    if len(rows) > 1 and slices.table["z_mm"].iloc[rows].nunique() == 1:
        raise CaseError(
            f"{case}: z_mm is the same in all its slices, so that it has no volume in mL; write z_mm in slices.csv"
        )
    images = np.asarray(slices.images[rows])
    frame = Frame(slices.size, slices.size, 0.0, 1.0, 0.0, 1.0)
    brain = np.stack([binary_fill_holes(image > 0) for image in images])  # CSF at 0 HU is as black as the background
    prepared = Prepared(images, brain, brain, frame, intensity_of(slices, rows))
    return ReadyCase(
        slice_volume(slices, case, rows), brain, (prepared,) * len(groups), 0.0, slices_digest(slices, rows)
    )


def slices_digest(slices: SliceSet, rows: NDArray[np.int64]) -> str:
    """The digest of one case: of the images, in order, and of where they lie."""
    places = slices.table.iloc[rows][["z_mm", "spacing_row_mm", "spacing_col_mm"]].to_numpy(np.float64)
    return sha256(np.ascontiguousarray(slices.images[rows]).tobytes() + places.tobytes()).hexdigest()[:DIGITS]


def slice_volume(slices: SliceSet, case: str, rows: NDArray[np.int64]) -> Volume:
    """The slices of one case as a volume: positions along z, untilted, as `slices.csv` holds no more; HU for CT."""
    table = slices.table.iloc[rows]
    row_mm, col_mm = (float(table[f"spacing_{name}_mm"].iloc[0]) for name in ("row", "col"))
    origins = np.zeros((len(rows), 3))
    origins[:, 2] = table["z_mm"].to_numpy(np.float64)
    slope, offset = intensity_of(slices, rows)
    return Volume(
        voxels=((slices.images[rows] - offset) / slope).astype(np.float32),
        origins_mm=origins,
        row_step_mm=np.array([0.0, row_mm, 0.0]),
        col_step_mm=np.array([col_mm, 0.0, 0.0]),
        domain=slices.domain,
        case_id=case,
        patient_id=str(table["patient_id"].iloc[0]),
        slice_ids=tuple(table["slice_id"]),
        notes=("slices as preprocessed, not the scan's own grid", *about_single(len(rows), None), *_left_out(table)),
    )


def _left_out(table: pd.DataFrame) -> list[str]:
    """A note where slices of the scan are not in the set: `slab_mm` gives their place to those beside them."""
    count = int(table["index"].max() - table["index"].min()) + 1 - len(table)
    if count < 1:
        return []
    return [f"{count} slices between these are not in the slice set: volumes count half of them with each neighbour"]
