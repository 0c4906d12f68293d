"""The files of one case, each written atomically; the mask comes last, so a case with a mask is a finished one."""

from __future__ import annotations

from pathlib import Path

from ctseg.files import read_json, write_json
from ctseg.inference.dicom_seg import SegAlgorithm, write_dicom_seg, write_straight_seg
from ctseg.inference.predict import Prediction
from ctseg.inference.preview import write_preview
from ctseg.inference.resampled import needs_straightening
from ctseg.inference.settings import SegmentSettings
from ctseg.io.nifti.volumes import save_map, save_mask, sidecar_path
from ctseg.io.volume import Volume


def write_case(
    folder: Path, case: str, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm
) -> list[str]:
    """Write preview, DICOM SEG, probabilities and mask of one case.

    Returns:
        Remarks for the table: why something was not written.
    """
    remarks = []
    if settings.preview:
        write_preview(folder / f"{case}.png", prediction)
    if settings.dicom_seg and prediction.volume.frames:
        remarks += _dicom_seg(folder / f"{case}.dcm", prediction, settings, algorithm)
    if settings.probabilities:
        save_map(folder / "probabilities" / f"{case}.nii.gz", prediction.volume, prediction.probability)
    save_mask(folder / f"{case}.nii.gz", prediction.volume, prediction.mask)
    _name_slices(sidecar_path(folder / f"{case}.nii.gz"), prediction.volume)
    return remarks


def _name_slices(sidecar: Path, volume: Volume) -> None:
    """Add the slices' SOPInstanceUIDs to the sidecar of a DICOM case: published labels name slices by them."""
    if volume.frames:
        write_json(sidecar, {**read_json(sidecar), "slice_ids": list(volume.slice_ids)})


def _dicom_seg(path: Path, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm) -> list[str]:
    """An empty mask gets no file, as a Segmentation needs a frame; unfit source headers are a remark, no failure."""
    if not prediction.mask.any():
        return ["no DICOM SEG: nothing outlined"]
    try:
        write_dicom_seg(path, prediction.volume, prediction.mask, algorithm, deidentify=settings.deidentify)
        if settings.straight and needs_straightening(prediction.volume):
            straight = path.with_name(f"{path.stem}_straight.dcm")
            write_straight_seg(straight, prediction.volume, prediction.mask, algorithm, deidentify=settings.deidentify)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"no DICOM SEG: the source headers do not allow one ({' '.join(str(error).split())[:120]})"]
    return []
