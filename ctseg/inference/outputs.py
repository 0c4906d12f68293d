"""The files of one case, each written atomically; the mask comes last, so a case with a mask is a finished one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ctseg.inference.deidentify import without_text
from ctseg.inference.dicom_objects import write_dicom_objects
from ctseg.inference.dicom_source import SegAlgorithm
from ctseg.inference.kind_slices import OTHER
from ctseg.inference.label_tables import OTHER_BLOOD, write_label_tables
from ctseg.inference.predict import Prediction
from ctseg.inference.preview import write_pictures
from ctseg.inference.settings import SegmentSettings
from ctseg.io.nifti.volumes import save_map, save_mask


def write_case(
    folder: Path, case: str, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm
) -> list[str]:
    """Write preview, DICOM objects, probabilities and mask of one case.

    Returns:
        Remarks for the table: why something was not written.
    """
    remarks: list[str] = []
    if settings.deidentify:
        prediction = replace(prediction, volume=without_text(prediction.volume))
    if settings.label_tables:
        write_label_tables(folder)
    if settings.preview:
        write_pictures(folder, case, prediction, solid=settings.preview_3d)
    if prediction.volume.frames:
        remarks += write_dicom_objects(folder, case, prediction, settings, algorithm)
    else:
        asked = [name for name, wanted in (("RTSTRUCT", settings.rtstruct), ("SR", settings.sr)) if wanted]
        remarks += [f"no DICOM {name}: the scan is no series of DICOM slices" for name in asked]
    if settings.probabilities:
        save_map(folder / "probabilities" / f"{case}.nii.gz", prediction.volume, prediction.probability)
    _write_other_blood(folder / OTHER, case, prediction, settings)
    save_mask(folder / f"{case}.nii.gz", prediction.volume, prediction.mask)
    return remarks


def _write_other_blood(folder: Path, case: str, prediction: Prediction, settings: SegmentSettings) -> None:
    """Write the mask of the other kinds, with what its values mean where that is asked for; nothing without one."""
    if prediction.other_blood is None:
        return
    if settings.label_tables:
        write_label_tables(folder, OTHER_BLOOD)
    save_mask(folder / f"{case}.nii.gz", prediction.volume, prediction.other_blood.kinds)
