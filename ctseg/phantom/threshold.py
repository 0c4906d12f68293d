"""How far a plain threshold gets on a phantom cohort: `python -m ctseg.phantom.threshold COHORT`.

The true intracranial mask is used, which no method has. A phantom on which a threshold does well teaches nothing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.io.discover import Case, discover, read_case

BAND_HU = (50.0, 90.0)
"""The usual band for acute blood."""
LOWER_HU = tuple(range(36, 72, 2))
"""Lower bounds tried for the best threshold, with the band's upper bound and `UPPER_HU`."""
UPPER_HU = 95.0
SMOOTH_PIXELS = 2.0


@dataclass(frozen=True)
class Counts:
    """Of one patient and one threshold, in mL."""

    hit: float
    found: float
    true: float


def count(hu: NDArray[Any], lesion: NDArray[np.bool_], voxel_ml: NDArray[Any], low: float, high: float) -> Counts:
    """Count a threshold.

    Args:
        hu: (K, H, W), outside the brain NaN or far below.
        lesion: (K, H, W) true IPH.
        voxel_ml: (K,).
        low: lower bound in HU.
        high: upper bound in HU.
    """
    found = (hu >= low) & (hu <= high)
    hit, all_found, all_true = (float(m.sum(axis=(1, 2)) @ voxel_ml) for m in (found & lesion, found, lesion))
    return Counts(hit, all_found, all_true)


def pooled_dice(counts: list[Counts]) -> float:
    """Dice of all patients' voxels together."""
    total = sum(c.found + c.true for c in counts)
    return 2 * sum(c.hit for c in counts) / total if total else float("nan")


def patient(case: Case, truth: Path) -> dict[str, Counts]:
    """Every threshold on one patient, by name."""
    volume = read_case(case)
    assert volume.native is not None  # noqa: S101 - narrows the type
    masks = []
    for kind in ("iph", "brain"):
        image: Any = nib.load(truth / kind / "test" / f"{case.case_id}.nii.gz")
        masks.append(volume.native.to_canonical(np.asarray(image.dataobj)) > 0)
    lesion, brain = masks
    smooth = ndimage.gaussian_filter(volume.voxels, (0, SMOOTH_PIXELS, SMOOTH_PIXELS))
    found = {}
    for name, voxels in (("raw", volume.voxels), ("smoothed", smooth)):
        inside = np.where(brain, voxels, -1000.0)
        found[f"{name} band"] = count(inside, lesion, volume.voxel_ml, *BAND_HU)
        for low in LOWER_HU:
            found[f"{name} from {low}"] = count(inside, lesion, volume.voxel_ml, low, UPPER_HU)
    return found


def report(cohort: Path) -> list[str]:
    """Lines on the band and on the best threshold, raw and smoothed."""
    cases = discover(cohort / "rsna" / "stage_2_test", "ct", workers=1).cases
    patients = [patient(case, cohort / "truth") for case in cases]
    lines = []
    for name in ("raw", "smoothed"):
        best = max((f"{name} from {low}" for low in LOWER_HU), key=lambda key: pooled_dice([p[key] for p in patients]))
        for key in (f"{name} band", best):
            counts = [p[key] for p in patients]
            false = np.array([c.found - c.hit for c in counts])
            single = np.array([pooled_dice([c]) for c in counts if c.true > 0])
            lines.append(
                f"{key} HU: pooled Dice {pooled_dice(counts):.3f}, cases with IPH {np.median(single):.2f} "
                f"({single.min():.2f} to {single.max():.2f}), false mL a patient {np.median(false):.0f} "
                f"({false.min():.0f} to {false.max():.0f})"
            )
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path, help="folder of `ctseg phantom`")
    sys.stdout.write("\n".join(report(parser.parse_args().cohort)) + "\n")


if __name__ == "__main__":
    main()
