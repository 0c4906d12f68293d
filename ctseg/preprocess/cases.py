"""One case becomes rows of a slice set. Runs in worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.io.case import Case
from ctseg.io.digest import input_digest
from ctseg.io.discover import read_case
from ctseg.io.extent import check_head
from ctseg.io.volume import Volume
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.brain_mask import brain_of
from ctseg.preprocess.ct import prepare_ct, window_map
from ctseg.preprocess.masks import about_mask, mask_digest, with_mask
from ctseg.preprocess.mr import prepare_mr
from ctseg.preprocess.prepared import Prepared, to_masks
from ctseg.preprocess.settings import PreprocessSettings


@dataclass(frozen=True)
class CaseSlices:
    """The kept slices of one case."""

    case_id: str
    images: NDArray[np.uint8]
    """(n, H, W)"""
    masks: NDArray[np.uint8] | None
    """(n, H, W) 0/1"""
    table: pd.DataFrame
    """n rows of `slices.csv`, without `split`."""
    notes: tuple[str, ...]
    label_values: tuple[int, ...] = ()
    """The values above 0 that the scan's labels hold, ascending."""
    digest: str = ""
    """Of the scan's bytes, see `ctseg.io.digest`, and after a dash of its labels' file where it has one."""


@dataclass(frozen=True)
class CaseTask:
    """All that a worker needs beside the case."""

    settings: PreprocessSettings
    extractor: BrainExtractor | None
    labelled: bool
    """Whether the scans come with lesion labels."""
    labels: pd.DataFrame | None = None
    """Slice labels of this case's slices or more, indexed by slice ID."""
    masks: Path | None = None
    """Folder of lesion masks, for scans that carry none."""
    mask: Path | None = None
    """This case's file in it."""

    @property
    def has_masks(self) -> bool:
        """Whether the slice set has masks: the scans' own labels, or haematomas implanted."""
        return self.labelled or self.settings.implants > 0


def process_case(case: Case, task: CaseTask) -> CaseSlices:
    """Read one case, prepare it and keep the slices that the settings ask for.

    Raises:
        CaseError: if the case cannot be read or prepared, or lacks the label that the others have.
    """
    if _none_selected(case, task):
        return _empty(case.case_id, task)
    volume = _read(case, task)
    wanted = _wanted(volume, task)
    if not wanted.any():
        return _empty(case.case_id, task)
    prepared, lesion, notes = _prepared(volume, task)
    keep = np.flatnonzero(wanted & (_brain_mm2(prepared, task.settings) >= task.settings.min_brain_mm2))
    masks = None if lesion is None else to_masks(lesion[keep], prepared.frame)
    if volume.labels is not None:
        notes = (*notes, *_mask_notes(volume, prepared, lesion, masks, keep, task.settings))
    return CaseSlices(
        case.case_id,
        prepared.images[keep],
        masks,
        _table(volume, prepared, keep, masks, task),
        (*volume.notes, *prepared.notes, *notes),
        () if volume.labels is None else tuple(int(value) for value in np.unique(volume.labels) if value),
        _digest(case, task),
    )


def _prepared(volume: Volume, task: CaseTask) -> tuple[Prepared, NDArray[np.bool_] | None, tuple[str, ...]]:
    """The scan's slices, where its lesions lie (K, h, w) if the set has masks, and what was implanted."""
    settings = task.settings
    lesion = is_lesion(volume.labels, settings) if task.labelled and volume.labels is not None else None
    if not settings.implants or volume.domain != "ct" or task.extractor is None:
        return prepare(volume, settings, task.extractor), lesion, ()
    from ctseg.preprocess.implants import with_implants

    brain = brain_of(task.extractor, volume)
    if not brain.any():
        return prepare_ct(volume, settings, brain), lesion, ()  # refused as without implants
    changed, blood, implants = with_implants(volume, brain, settings.implants, settings.seed, settings.contusion_share)
    words = ", ".join(f"{item.wanted.kind} {item.ml:.1f} mL at {item.hu:.0f} HU" for item in implants)
    lesion = blood if lesion is None else lesion | blood
    return prepare_ct(changed, settings, brain), lesion, (f"implanted: {words or 'nothing'}",)


def _mask_notes(
    volume: Volume,
    prepared: Prepared,
    lesion: NDArray[np.bool_] | None,
    masks: NDArray[np.uint8] | None,
    keep: NDArray[np.intp],
    settings: PreprocessSettings,
) -> tuple[str, ...]:
    """What is said of the scan's own labels, see `about_mask`."""
    if lesion is None or masks is None:
        return ()
    slope = window_map(settings.window)[0] if volume.domain == "ct" else None
    return about_mask(lesion[keep], masks, prepared.brain[keep], prepared.images[keep], slope)


def _read(case: Case, task: CaseTask) -> Volume:
    """A case with its lesion labels, where the task wants them."""
    volume = check_head(read_case(case))
    if task.masks is not None and volume.labels is None:
        volume = with_mask(volume, task.mask, task.masks, task.settings.lesion_labels or ())
    if task.labelled and volume.labels is None:
        raise CaseError(f"{case.case_id}: has no lesion labels, but other cases do; label it or leave it out")
    return volume


def _digest(case: Case, task: CaseTask) -> str:
    label = case.label_file or task.mask
    return input_digest(case) + ("" if label is None else f"-{mask_digest(label)}")


def is_lesion(labels: NDArray[np.uint8], settings: PreprocessSettings) -> NDArray[np.bool_]:
    """Where a label value counts as lesion: all above 0, or those that the settings name."""
    if settings.lesion_labels is None:
        return labels > 0
    return np.isin(labels, settings.lesion_labels)


def _none_selected(case: Case, task: CaseTask) -> bool:
    """Whether file names alone tell that no slice has the label to select by, so that nothing need be read (RSNA)."""
    if task.settings.select is None or task.labels is None or case.kind != "dicom":
        return False
    names = [path.stem for path in case.files]
    chosen = task.labels[task.settings.select].reindex(names)
    return bool(chosen.notna().all() and (chosen == 0).all())


def prepare(volume: Volume, settings: PreprocessSettings, extractor: BrainExtractor | None) -> Prepared:
    """`prepare_ct` or `prepare_mr`, by the volume's domain."""
    if volume.domain == "mr":
        return prepare_mr(volume, settings)
    if extractor is None:
        raise ValueError("CT needs a brain extractor")
    return prepare_ct(volume, settings, brain_of(extractor, volume))


def _wanted(volume: Volume, task: CaseTask) -> NDArray[np.bool_]:
    """(K,) slices chosen by index and by slice label."""
    wanted = np.ones(len(volume.voxels), dtype=bool)
    if task.settings.slices is not None:
        first, end = task.settings.slices
        wanted[:first] = wanted[end:] = False
    if task.settings.select is not None and task.labels is not None:
        chosen = task.labels[task.settings.select].reindex(volume.slice_ids).fillna(0).to_numpy()
        wanted &= chosen == 1
    return wanted


def _brain_mm2(prepared: Prepared, settings: PreprocessSettings) -> NDArray[np.float64]:
    """(K,) brain area of each slice."""
    areas: NDArray[np.float64] = prepared.brain.sum(axis=(1, 2)) * settings.pixel_mm**2
    return areas


def _table(
    volume: Volume, prepared: Prepared, keep: NDArray[np.intp], masks: NDArray[np.uint8] | None, task: CaseTask
) -> pd.DataFrame:
    ids = [volume.slice_ids[k] for k in keep]
    table = pd.DataFrame(
        {
            "slice_id": ids,
            "patient_id": volume.patient_id,
            "series_id": volume.series_id or volume.case_id,
            "case_id": volume.case_id,
            "index": keep,
            "z_mm": np.round(volume.z_mm[keep], 3),
            "spacing_row_mm": task.settings.pixel_mm,
            "spacing_col_mm": task.settings.pixel_mm,
            "brain_px": prepared.brain[keep].sum(axis=(1, 2)),
            "lesion_px": "" if masks is None else masks.sum(axis=(1, 2), dtype=np.int64),
        }
    )
    if volume.domain == "mr" or task.settings.brain_hu is not None:
        table["intensity_a"], table["intensity_b"] = prepared.intensity
    if task.labels is not None:
        found = task.labels.reindex(ids)
        for name in task.labels.columns:
            table[name] = found[name].astype("Int8").to_numpy()
    return table


def _empty(case_id: str, task: CaseTask) -> CaseSlices:
    nothing = np.zeros((0, task.settings.size, task.settings.size), np.uint8)
    return CaseSlices(case_id, nothing, nothing if task.has_masks else None, pd.DataFrame(), ())
