"""The DICOM objects of one case: segmentation, structure set and report; what cannot be written is a remark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from ctseg.inference.dicom_seg import write_dicom_seg, write_resampled_seg
from ctseg.inference.dicom_source import SegAlgorithm, as_acquired, mask_as_acquired, source_headers
from ctseg.inference.dicom_sr import write_sr
from ctseg.inference.predict import Prediction
from ctseg.inference.resampled import needs_resampling
from ctseg.inference.settings import SegmentSettings
from ctseg.io.dicom.quoting import unquoted
from ctseg.io.grid import native_grid


def write_dicom_objects(
    folder: Path, case: str, prediction: Prediction, settings: SegmentSettings, algorithm: SegAlgorithm
) -> list[str]:
    """Write what the settings ask for of one case that came from DICOM.

    Those of a scan that was turned to axial lie on the slices that were taken.

    An empty mask has no SEG and no RTSTRUCT, since DICOM has none without a frame or an outline; its report says so.

    Returns:
        Remarks for the table: why something was not written.
    """
    if native_grid(prediction.volume).axes[0] != 2:
        mask = mask_as_acquired(prediction.volume, prediction.mask)
        prediction = replace(prediction, volume=as_acquired(prediction.volume), mask=mask)
    case_ = _Case(folder, case, prediction, settings, algorithm)
    remarks, seg = [], None
    if settings.dicom_seg:
        seg, remark = case_.seg()
        remarks.append(remark)
    if settings.rtstruct:
        remarks.append(case_.rtstruct())
    if settings.sr:
        remarks.append(case_.sr(seg))
    return [remark for remark in remarks if remark]


@dataclass(frozen=True)
class _Case:
    """What every object of a case is made from."""

    folder: Path
    case: str
    prediction: Prediction
    settings: SegmentSettings
    algorithm: SegAlgorithm

    def seg(self) -> tuple[Dataset | None, str]:
        """Write `CASE.dcm`, and `CASE_resampled.dcm` of tilted or uneven series; returns the first and a remark."""
        if not self.prediction.mask.any():
            return None, "no DICOM SEG: nothing segmented"
        written: list[Dataset] = []

        def write() -> None:
            args = (self.prediction.volume, self.prediction.mask, self.algorithm)
            hidden = self.settings.deidentify
            shared: Any = {"deidentify": hidden, "sources": source_headers(*args[:2], hidden)}
            written.append(write_dicom_seg(self.folder / f"{self.case}.dcm", *args, **shared))
            if self.settings.resampled and needs_resampling(self.prediction.volume):
                write_resampled_seg(self.folder / f"{self.case}_resampled.dcm", *args, **shared)

        remark = _or_remark("DICOM SEG", write)
        return (written[0] if written else None), remark

    def rtstruct(self) -> str:
        """Write `CASE_rtstruct.dcm`; returns a remark."""
        if not self.prediction.mask.any():
            return "no DICOM RTSTRUCT: nothing segmented"
        from ctseg.inference.dicom_rtstruct import write_rtstruct

        return _or_remark(
            "DICOM RTSTRUCT",
            lambda: write_rtstruct(
                self.folder / f"{self.case}_rtstruct.dcm", self.prediction.volume, self.prediction.mask, self.algorithm,
                deidentify=self.settings.deidentify,
            ),
        )  # fmt: skip

    def sr(self, seg: Dataset | None) -> str:
        """Write `CASE_sr.dcm`; returns a remark."""
        return _or_remark(
            "DICOM SR",
            lambda: write_sr(
                self.folder / f"{self.case}_sr.dcm", self.prediction, self.algorithm, seg,
                deidentify=self.settings.deidentify,
            ),
        )  # fmt: skip


def _or_remark(what: str, write: Callable[[], None]) -> str:
    """Unfit source headers are a remark, no failure; an unfit disk is one."""
    try:
        write()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"no {what}: the source headers do not allow one ({unquoted(error)})"
    return ""
