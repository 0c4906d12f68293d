"""Rank correlations of recovery and the true Dice, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ctseg.files import write_with
from ctseg.inference.recovery import SIZES_ML
from ctseg.render.plots import add_legend, new_figure
from ctseg.render.png import png_bytes
from ctseg.render.style import INK, MODELS

SIZES = (2, 5, 15)
DICES = ("recovery", "expected_dice", "at_size")
"""Those scores that mean to be a Dice."""
RESAMPLES = 2000
"""Of patients, for the interval: scans of one patient are resampled together."""
FAULTS = ("noise_hu", "blur_mm", "motion_mm", "metal", "thick")
NAMES = {"noise_hu": "noise", "blur_mm": "blur", "motion_mm": "motion", "metal": "metal", "thick": "thick slices"}


def scores(rows: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """What may predict the Dice of each scan; NaN where it is unknown.

    `recovery` is the column of that name of `volumes.csv`. The next ones are other readings of the bright haematomas:
    `at_size` the Dice read between the three sizes at the volume that the model found, `standard` the mean of the
    three, `share` that of the shares that came back. The others are rivals without known haematomas: `expected_dice` is
    the column of that name, 0 where nothing was segmented, and the true volume is what nobody knows.
    """
    table = {
        what: np.array([[_number(row.get(f"recovery_{what}_{ml}ml")) for ml in SIZES] for row in rows], dtype=float)
        for what in ("dice", "share")
    }
    found = np.array([row["found_ml"] for row in rows], dtype=float)
    dices = table["dice"]
    known = {
        name: np.array([_number(row.get(name)) for row in rows], dtype=float)
        for name in ("recovery", "expected_dice", "segmented_hu", "brain_hu")
    }
    return {
        "recovery": known["recovery"],
        "standard": dices.mean(axis=1), "share": table["share"].mean(axis=1),
        **{f"recovery_{ml}ml": dices[:, n] for n, ml in enumerate(SIZES)},
        "at_size": _at_size(found, dices), "expected_dice": known["expected_dice"], "found_ml": found,
        "segmented_hu": known["segmented_hu"], "contrast": known["segmented_hu"] - known["brain_hu"],
        "less_noise": -np.array([row["quality"]["noise_hu"] for row in rows], dtype=float),
        "true_ml": np.array([row["true_ml"] for row in rows], dtype=float),
    }  # fmt: skip


def _at_size(found_ml: NDArray[np.float64], dices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Recovery read between the three sizes at the volume that the model found."""
    read = [
        read_at(ml, line.tolist()) if np.isfinite(line).all() else np.nan
        for ml, line in zip(found_ml, dices, strict=True)
    ]
    return np.array(read)


def read_at(ml: float, dices: Sequence[float]) -> float:
    """Read the Dice of 2, 5 and 15 mL at another volume: linear in its logarithm, constant beyond both ends."""
    return float(np.interp(np.log(max(ml, 1e-3)), np.log(sorted(SIZES_ML)), dices))


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Spearman's correlation of each score with the true Dice, with a 95 % bootstrap interval over patients.

    `within_patients` compares scans of the same patient, made worse in different manners, with each other alone.
    `difference` says how far the scores that mean to be a Dice are from the true one.
    """
    true = np.array([row["dice"] for row in rows], dtype=float)
    cases = np.array([row["case"] for row in rows])
    found: dict[str, Any] = {"scans": len(rows), "patients": len(set(cases)), "dice_median": _rounded(np.median(true))}
    known = scores(rows)
    found |= {name: _correlation(values, true, cases) for name, values in known.items()}
    return found | {
        "difference": {name: _difference(known[name], true) for name in DICES},
        "within_patients": {
            name: _within(known[name], true, cases) for name in ("standard", "recovery", "at_size", "expected_dice")
        },
    }


def _difference(values: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, Any]:
    """Mean absolute and mean difference from the true Dice."""
    off = (values - true)[np.isfinite(values) & np.isfinite(true)]
    if not len(off):
        return {"scans": 0, "mean_absolute": None, "mean": None}
    return {"scans": len(off), "mean_absolute": _rounded(np.abs(off).mean()), "mean": _rounded(off.mean())}


def _within(values: NDArray[np.float64], true: NDArray[np.float64], cases: NDArray[Any]) -> dict[str, Any]:
    """The correlation of what is left without each patient's mean: the bleed is the same, the quality is not."""
    known = np.isfinite(values) & np.isfinite(true)
    names, counts = np.unique(cases[known], return_counts=True)
    several = known & np.isin(cases, names[counts > 1])
    if not several.any():
        return _correlation(values[several], true[several], cases[several])
    places = np.unique(cases[several], return_inverse=True)[1]
    rest = [
        np.round(part[several] - (np.bincount(places, part[several]) / np.bincount(places))[places], 6)
        for part in (values, true)
    ]
    return _correlation(rest[0], rest[1], cases[several])


def _correlation(values: NDArray[np.float64], true: NDArray[np.float64], cases: NDArray[Any]) -> dict[str, Any]:
    known = np.isfinite(values) & np.isfinite(true)
    one, other, names = values[known], true[known], cases[known]
    if known.sum() < 4:
        return {"scans": int(known.sum()), "spearman": None, "low": None, "high": None}
    rng, groups = np.random.default_rng(0), [np.flatnonzero(names == name) for name in np.unique(names)]
    drawn = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([groups[n] for n in rng.integers(len(groups), size=len(groups))])
        drawn.append(_spearman(one[chosen], other[chosen]))
    kept = [value for value in drawn if np.isfinite(value)]
    low, high = np.quantile(kept, (0.025, 0.975)) if kept else (np.nan, np.nan)
    return {
        "scans": int(known.sum()), "spearman": _rounded(_spearman(one, other)), "low": _rounded(low),
        "high": _rounded(high),
    }  # fmt: skip


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """NaN where one of them does not vary."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) > 0 and np.ptp(other) > 0 else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def main_fault(quality: dict[str, float]) -> str:
    """The first fault of a scan, by name."""
    return next((NAMES[name] for name in FAULTS if quality[name] > (1 if name == "thick" else 0)), "as it is")


def write_figure(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a PNG: true Dice against recovery, a mark a scan, coloured by its first fault; expected Dice in grey."""
    figure, axes = new_figure(5.6, 5.2)
    known, true = scores(rows), np.array([row["dice"] for row in rows], dtype=float)
    faults = np.array([main_fault(row["quality"]) for row in rows])
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    axes.scatter(known["expected_dice"], true, s=20, marker="x", linewidths=0.9, color="#9a9a9a", label="expected_dice")
    for colour, name in zip((*MODELS, "#000000"), ("as it is", *NAMES.values()), strict=False):
        chosen = faults == name
        if chosen.any():
            axes.scatter(known["recovery"][chosen], true[chosen], s=22, color=colour, label=f"recovery: {name}")
    axes.set_xlabel("recovery, and expected_dice (grey)")
    axes.set_ylabel("Dice of the true haemorrhage")
    axes.set_xlim(-0.02, 1)
    axes.set_ylim(-0.02, 1)
    axes.set_aspect("equal")
    add_legend(axes)
    return write_with(path, lambda temporary: _save(temporary, figure))


def _save(path: Path, figure: Any) -> None:
    path.write_bytes(png_bytes(figure))
