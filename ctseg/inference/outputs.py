"""The files of one case, each written atomically; the mask comes last, so a case with a mask is a finished one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ctseg.inference.deidentify import without_text
from ctseg.inference.dicom_seg import SegAlgorithm, write_dicom_seg, write_resampled_seg
from ctseg.inference.predict import Prediction
from ctseg.inference.preview import write_preview
from ctseg.inference.resampled import needs_resampling
from ctseg.inference.settings import SegmentSettings
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.nifti.volumes import save_map, save_mask


def write_case(
    folder: Path, case: str, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm
) -> list[str]:
    """Write preview, DICOM SEG, probabilities and mask of one case.

    Returns:
        Remarks for the table: why something was not written.
    """
    remarks = []
    if settings.deidentify:
        prediction = replace(prediction, volume=without_text(prediction.volume))
    if settings.preview:
        write_preview(folder / f"{case}.png", prediction)
    if settings.dicom_seg and prediction.volume.frames:
        remarks += _dicom_seg(folder / f"{case}.dcm", prediction, settings, algorithm)
    if settings.probabilities:
        save_map(folder / "probabilities" / f"{case}.nii.gz", prediction.volume, prediction.probability)
    save_mask(folder / f"{case}.nii.gz", prediction.volume, prediction.mask)
    return remarks


def _dicom_seg(path: Path, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm) -> list[str]:
    """An empty mask gets no file, as a Segmentation needs a frame; unfit source headers are a remark, no failure."""
    if not prediction.mask.any():
        return ["no DICOM SEG: nothing segmented"]
    try:
        write_dicom_seg(path, prediction.volume, prediction.mask, algorithm, deidentify=settings.deidentify)
        if settings.resampled and needs_resampling(prediction.volume):
            resampled = path.with_name(f"{path.stem}_resampled.dcm")
            write_resampled_seg(
                resampled, prediction.volume, prediction.mask, algorithm, deidentify=settings.deidentify
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"no DICOM SEG: the source headers do not allow one ({unquoted(error)})"]
    return []
