"""What a DICOM header says a second time of what its pixels are and where they lie, beside what is used of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from ctseg.io.dicom.geometry import Stack
from ctseg.io.dicom.header import floats, number, text
from ctseg.io.dicom.no_slices import STORED

SHARE, LEAST_MM = 0.1, 0.1
"""Two statements about one length agree within this share, or these mm: headers round."""
THICKNESSES = 3.0
"""Steps between slices of a head are a third of their thickness to three times it."""
EXTENT_MM = 2.0
"""SliceLocation is rounded to whole mm by some scanners."""
SPACINGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")


def disagreements(datasets: Sequence[Dataset], stack: Stack) -> list[str]:
    """One note for each of the header's other statements that does not fit the slices' positions and spacing.

    Args:
        datasets: of the slices, in the stack's order.
        stack: where they lie.
    """
    first = datasets[0]
    notes = [
        *_kind(first), *_between_slices(first, stack), *_thickness(first, stack), *_thicknesses(datasets),
        *_locations(datasets, stack), *_pixels(first, stack),
    ]  # fmt: skip
    return [f"the header says {note}" for note in notes]


def _kind(first: Dataset) -> list[str]:
    modality = text(first, "Modality").upper()
    stored = STORED.get(text(first, "SOPClassUID"), modality)
    known = modality in STORED.values() and stored != modality
    return [f"an object of {stored} (SOPClassUID), and Modality {modality}; Modality is used"] if known else []


def _between_slices(first: Dataset, stack: Stack) -> list[str]:
    """SpacingBetweenSlices is measured along the normal, by some scanners along the table."""
    said = abs(number(first, "SpacingBetweenSlices", 0.0))
    if not said or len(stack.origins_mm) < 2:
        return []
    steps = np.diff(stack.origins_mm, axis=0)
    found = [float(np.median(np.abs(steps @ stack.normal))), float(np.median(np.linalg.norm(steps, axis=1)))]
    if any(_agree(said, step) for step in found):
        return []
    return [f"slices {said:g} mm apart (SpacingBetweenSlices), their positions {found[0]:.1f} mm; positions are used"]


def _thickness(first: Dataset, stack: Stack) -> list[str]:
    """Slices overlap or leave gaps, but by no more than some times their thickness."""
    said = number(first, "SliceThickness", 0.0)
    if said <= 0 or len(stack.origins_mm) < 2:
        return []
    step = float(np.median(np.abs(np.diff(stack.origins_mm @ stack.normal))))
    if step <= THICKNESSES * said and said <= THICKNESSES * step:
        return []
    return [f"slices {said:g} mm thick (SliceThickness), their positions {step:.3g} mm apart; positions are used"]


def _thicknesses(datasets: Sequence[Dataset]) -> list[str]:
    """Slices of two thicknesses are those of two scans, or of one whose steps change."""
    said = [value for dataset in datasets if (value := number(dataset, "SliceThickness", 0.0)) > 0]
    if not said or max(said) - min(said) <= max(SHARE * max(said), LEAST_MM):
        return []
    return [f"slices {min(said):g} to {max(said):g} mm thick (SliceThickness); positions are used"]


def _locations(datasets: Sequence[Dataset], stack: Stack) -> list[str]:
    """SliceLocation counts from anywhere and in any direction, so that its extent alone is compared."""
    nowhere = float("nan")
    places = np.array([number(dataset, "SliceLocation", nowhere) for dataset in datasets])
    said = float(np.ptp(places)) if np.isfinite(places).all() else 0.0
    if not said or len(places) < 2:
        return []
    whole = stack.origins_mm[-1] - stack.origins_mm[0]
    found = [abs(float(whole @ stack.normal)), float(np.linalg.norm(whole)), float(np.abs(whole).max())]
    if any(_agree(said, extent, EXTENT_MM) for extent in found):
        return []
    return [f"slices over {said:.0f} mm (SliceLocation), their positions {found[0]:.0f} mm; positions are used"]


def _pixels(first: Dataset, stack: Stack) -> list[str]:
    """Other tags of a pixel's size, and that of the whole field: each is what PixelSpacing is, or not given."""
    row, column = (float(np.linalg.norm(step)) for step in (stack.row_step_mm, stack.col_step_mm))
    odd = []
    for name in SPACINGS:
        said = _two(first, name) or (row, column)
        if not np.allclose(said, (row, column), rtol=SHARE, atol=0.0):
            odd.append(f"pixels of {said[0]:g} x {said[1]:g} mm ({name})")
    ratio = _two(first, "PixelAspectRatio")
    if ratio and not _agree(ratio[0] / ratio[1], row / column):
        odd.append(f"pixels of {ratio[0]:g} to {ratio[1]:g} (PixelAspectRatio)")
    field, width = number(first, "ReconstructionDiameter", 0.0), max(stack.shape[0] * row, stack.shape[1] * column)
    if field > 0 and not _agree(field, width):
        odd.append(f"a field of {field:.0f} mm (ReconstructionDiameter)")
    own = f"PixelSpacing {row:g} x {column:g} mm, a field of {width:.0f} mm; PixelSpacing is used"
    return [f"{one}, {own}" for one in odd]


def _two(first: Dataset, name: str) -> tuple[float, ...] | None:
    """Two lengths above 0, or None."""
    said = floats(first, name, 2)
    return said if said and min(said) > 0 else None


def _agree(said: float, found: float, least_mm: float = LEAST_MM) -> bool:
    return abs(said - found) <= max(SHARE * found, least_mm)
