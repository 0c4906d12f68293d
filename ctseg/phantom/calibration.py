"""Measure the phantom's bleeds as those of BHSD were measured, and compare: `python -m ctseg.phantom.calibration`.

A cohort is made in a temporary folder and read back from its DICOM files; every connected part of every truth mask
gives one row of mL and mean HU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctseg.files import write_text, write_with
from ctseg.harmless import csv_text
from ctseg.io.discover import discover, read_case
from ctseg.io.volume import Volume
from ctseg.phantom.bhsd import BHSD, LEVELS
from ctseg.phantom.bleed_statistics import quantile
from ctseg.phantom.bleeds import KINDS, Findings
from ctseg.phantom.cohort import orders
from ctseg.phantom.fitting import FACES
from ctseg.phantom.rsna import CtCase, make_ct_case

MIX: tuple[Findings, ...] = (
    Findings(iph=True, ivh=True),
    Findings(edh=True),
    Findings(iph=True, sah=True, trauma=True),
    Findings(sdh=True),
    Findings(iph=True, ivh=True, sah=True),
    Findings(edh=True, sah=True, trauma=True),
    Findings(iph=True),
    Findings(sah=True, sdh=True, trauma=True),
    Findings(ivh=True),
    Findings(iph=True, edh=True, trauma=True),
    Findings(iph=True, sdh=True, trauma=True),
    Findings(ivh=True, edh=True),
)
"""Combinations of BHSD, rich in the rarer kinds so that each is measured on a third of the patients or more."""
COLUMNS = ("patient", "brain_hu", "kind", "ml", "hu", "contrast_hu")
"""Of `text_of`; the contrast is that of an IPH."""
SHOWN = (0.05, 0.25, 0.50, 0.75, 0.95)
NAMES = dict(zip(KINDS, ("IPH", "IVH", "SAH", "SDH", "EDH"), strict=True))


@dataclass(frozen=True)
class Measured:
    """Every part of one patient."""

    rows: tuple[tuple[str, float, float], ...]
    """Kind, mL, mean HU."""
    brain_hu: float
    """Median HU of the intracranial space."""
    contrast_hu: tuple[float, ...]
    """Mean HU of every IPH minus the median of the intracranial space within 10 mm around it."""


def measure(volume: Volume, masks: dict[str, NDArray[np.bool_]], brain: NDArray[np.bool_]) -> Measured:
    """Measure a scan.

    Args:
        volume: voxels (K, H, W) in HU.
        masks: (K, H, W) of each kind of bleed.
        brain: (K, H, W) intracranial space.
    """
    rows: list[tuple[str, float, float]] = []
    contrasts: list[float] = []
    healthy = brain & ~np.any(list(masks.values()), axis=0)
    voxel_ml = np.asarray(volume.voxel_ml)
    for kind, mask in masks.items():
        labels, _ = ndimage.label(mask, FACES)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            part = labels[box] == number
            hu = float(volume.voxels[box][part].mean())
            rows.append((kind, float(part.sum(axis=(1, 2)) @ voxel_ml[box[0]]), hu))
            if kind == "intraparenchymal":
                contrasts.append(hu - _around(volume, healthy, box))
    return Measured(tuple(rows), float(np.median(volume.voxels[brain])), tuple(contrasts))


def _around(volume: Volume, healthy: NDArray[np.bool_], box: tuple[slice, ...]) -> float:
    """Median HU of the healthy brain within 10 mm around a box in its slices."""
    wide = int(np.ceil(10.0 / volume.spacing_mm[0]))
    place = (box[0], *(slice(max(s.start - wide, 0), s.stop + wide) for s in box[1:]))
    values = volume.voxels[place][healthy[place]]
    return float(np.median(values)) if len(values) else float("nan")


def measure_patient(index: int, *, seed: int, matrix: int, step_mm: float) -> Measured:
    """Make a patient in a temporary folder and measure what was written."""
    case = CtCase(
        index,
        "stage_2_train",
        MIX[index % len(MIX)],
        matrix,
        step_mm,
        (seed, 4, index),
        orders(MIX, index),
        every_mask=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        make_ct_case(Path(temporary), case)
        volume = read_case(discover(Path(temporary) / "rsna", "ct", workers=1).cases[0])
        read = partial(_mask, Path(temporary) / "truth", volume)
        return measure(volume, {kind: read(kind) for kind in KINDS}, read("brain"))


def _mask(truth: Path, volume: Volume, kind: str) -> NDArray[np.bool_]:
    image: Any = nib.load(truth / kind / "train" / f"{volume.case_id}.nii.gz")
    assert volume.native is not None  # noqa: S101 - narrows the type
    mask: NDArray[np.bool_] = volume.native.to_canonical(np.asarray(image.dataobj)) > 0
    return mask


def measure_cohort(
    patients: int, *, seed: int = 0, matrix: int = 512, step_mm: float = 5.0, workers: int = 2
) -> list[Measured]:
    """Make and measure patients in parallel; the result does not depend on `workers`."""
    work = partial(measure_patient, seed=seed, matrix=matrix, step_mm=step_mm)
    if workers < 1:
        return [work(index) for index in range(patients)]
    with ProcessPoolExecutor(workers, initializer=_single_threaded) as pool:
        return list(pool.map(work, range(patients)))


def _single_threaded() -> None:
    import torch

    torch.set_num_threads(1)


def quantiles(cohort: list[Measured], kind: str) -> dict[str, NDArray[np.float64]]:
    """Quantiles at `SHOWN` of HU, mL and parts in a scan of one kind."""
    rows = [[row for row in patient.rows if row[0] == kind] for patient in cohort]
    parts = [len(found) for found in rows if found]
    ml, hu = [row[1] for found in rows for row in found], [row[2] for found in rows for row in found]
    return {
        "hu": np.quantile(np.array(hu), SHOWN),
        "ml": np.quantile(np.array(ml), SHOWN),
        "parts": np.quantile(np.array(parts), SHOWN),
    }


def wanted(kind: str) -> dict[str, NDArray[np.float64]]:
    """The same quantiles of BHSD."""
    table = BHSD[kind]
    return {
        "hu": np.array([quantile(table.hu, share) for share in SHOWN]),
        "ml": np.array([quantile(table.ml, share, log=True) for share in SHOWN]),
        "parts": np.array([table.parts_at(share) for share in SHOWN]),
    }


def table(cohort: list[Measured]) -> str:
    """Markdown table of BHSD beside the phantom."""
    lines = ["| kind | what | BHSD 5 / 25 / 50 / 75 / 95 % | phantom |", "|---|---|---|---|"]
    for kind in KINDS:
        have, want = quantiles(cohort, kind), wanted(kind)
        count = sum(row[0] == kind for patient in cohort for row in patient.rows)
        for name, digits in (("hu", 1), ("ml", 2), ("parts", 1)):
            cells = (" / ".join(f"{v:.{digits}f}" for v in values) for values in (want[name], have[name]))
            lines.append(f"| {NAMES[kind]} ({count}) | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def text_of(cohort: list[Measured]) -> str:
    """Every part of every patient as a line of CSV under `COLUMNS`."""
    lines: list[dict[str, Any]] = []
    for number, patient in enumerate(cohort):
        contrasts = iter(patient.contrast_hu)
        for kind, *values in patient.rows:
            contrast = f"{next(contrasts):.6g}" if kind == "intraparenchymal" else ""
            brain, ml, hu = (f"{value:.6g}" for value in (patient.brain_hu, *values))
            lines.append(dict(zip(COLUMNS, (number, brain, kind, ml, hu, contrast), strict=True)))
    return csv_text(COLUMNS, lines)


def draw(cohort: list[Measured], out: Path) -> None:
    """Cumulative distributions of mL and HU of both, one column a kind."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(KINDS), figsize=(3.1 * len(KINDS), 5.6), sharey=True)
    for column, kind in enumerate(KINDS):
        rows = [row for patient in cohort for row in patient.rows if row[0] == kind]
        for line, (values, real, label) in enumerate(
            (
                ([r[2] for r in rows], BHSD[kind].hu, "mean HU of a part"),
                ([r[1] for r in rows], BHSD[kind].ml, "mL of a part"),
            )
        ):
            axis = axes[line, column]
            axis.plot(real, LEVELS, "o-", color="tab:blue", label="BHSD, patients")
            axis.plot(np.sort(values), (np.arange(len(values)) + 0.5) / len(values), color="tab:red", label="phantom")
            axis.set_xlabel(label)
            axis.grid(alpha=0.3)
            if line:
                axis.set_xscale("log")
        axes[0, column].set_title(f"{NAMES[kind]} ({len(rows)} parts)")
    axes[0, 0].legend(fontsize=8)
    axes[0, 0].set_ylabel("cumulative share")
    axes[1, 0].set_ylabel("cumulative share")
    figure.tight_layout()
    write_with(out, lambda path: figure.savefig(path, dpi=80, format="png"))
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("--rows", type=Path, help="table to write, a line for every part")
    parser.add_argument("--patients", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    cohort = measure_cohort(arguments.patients, seed=arguments.seed, matrix=arguments.matrix, workers=arguments.workers)
    draw(cohort, arguments.out)
    if arguments.rows:
        write_text(arguments.rows, text_of(cohort))
    sys.stdout.write("\n".join([table(cohort), *_summary(cohort)]) + "\n")


def _summary(cohort: list[Measured]) -> list[str]:
    """Lines on the brain and on the contrast of IPH."""
    brains = [patient.brain_hu for patient in cohort]
    contrasts = [value for patient in cohort for value in patient.contrast_hu]
    shares = "/".join(f"{100 * share:.0f}" for share in _RANGE)
    return [
        f"{name}, {shares} %: {' / '.join(f'{value:.1f}' for value in np.nanquantile(values, _RANGE))}"
        for name, values in (("median HU of the brain", brains), ("IPH minus brain around it", contrasts))
    ]


_RANGE = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

if __name__ == "__main__":
    main()
