"""How well a model's out-of-distribution flags tell good scans from planted faults: area under the curve by fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ctseg.errors import CaseError
from ctseg.inference.ood import ood_flags, prepared_traits, trait_scores
from ctseg.io.stack import Mask
from ctseg.io.volume import Volume
from ctseg.parallel import Failure, attempt
from ctseg.plugins.protocols import BrainExtractor
from ctseg.preprocess.ct import prepare_ct
from ctseg.preprocess.settings import PreprocessSettings
from ctseg.progress import ProgressCallback
from ctseg_reproduce.planted_faults import FAULTS

REFUSED = float("inf")
"""Score of a scan that is refused for want of a brain: nobody segments it unknowingly."""


def score_scan(volume: Volume, brain: Mask, profile: Mapping[str, Any], settings: PreprocessSettings) -> dict[str, Any]:
    """The largest trait score of a scan, which trait it is, and whether the scan is flagged."""
    try:
        prepared = prepare_ct(volume, settings, brain)
    except CaseError:
        return {"score": REFUSED, "trait": "no brain found", "flagged": True}
    traits = prepared_traits(prepared, volume.z_mm, settings.pixel_mm)
    scores = trait_scores(profile, traits)
    worst = max(scores, key=lambda name: scores[name])
    flags = ood_flags(profile, prepared, volume.z_mm, settings.pixel_mm)
    return {"score": scores[worst], "trait": worst, "flagged": bool(flags), "values": traits.values}


def study_faults(
    volumes: Iterable[Volume], profile: Mapping[str, Any], settings: PreprocessSettings, extractor: BrainExtractor,
    *, seed: int = 0, total: int | None = None, progress: ProgressCallback | None = None,
    failed: list[str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row a scan and fault, and one for the scan as it is (`fault` 'none').

    Args:
        volumes: normal head CT that the profile was not made of.
        profile: of the model.
        settings: the model's preprocessing.
        extractor: finds the brain.
        seed: of the faults; each scan draws its own.
        total: number of scans, for the progress.
        progress: called with (scans done, total, case).
        failed: takes a line for each scan that cannot be measured, which then has no row.
    """
    rows = []
    for number, volume in enumerate(volumes):
        found = attempt(partial(_rows_of, profile, settings, extractor, (seed, number)), volume)
        if not isinstance(found, Failure):
            rows += found
        elif failed is not None:
            failed.append(f"{volume.case_id}: {found.error.removeprefix(f'{volume.case_id}: ')}")
        if progress is not None:
            progress(number + 1, total, volume.case_id)
    return rows


def _rows_of(
    profile: Mapping[str, Any],
    settings: PreprocessSettings,
    extractor: BrainExtractor,
    seed: tuple[int, int],
    volume: Volume,
) -> list[dict[str, Any]]:
    """The rows of one scan.

    Raises:
        CaseError: if it shows no brain: it is no normal head that a fault could be planted in.
    """
    brain = np.asarray(extractor(volume), dtype=bool)
    if not brain.any():
        raise CaseError("no brain found, so no fault can be planted; leave it out")
    rows = [{"case": volume.case_id, "fault": "none", **score_scan(volume, brain, profile, settings)}]
    for place, (name, plant) in enumerate(FAULTS.items()):
        rng = np.random.default_rng([*seed, place])
        faulty = replace(plant(rng, volume, brain), native=None, frames=(), labels=None)
        found = np.asarray(extractor(faulty), dtype=bool)
        rows.append({"case": volume.case_id, "fault": name, **score_scan(faulty, found, profile, settings)})
    return rows


def area_under_curve(normal: Iterable[float], faulty: Iterable[float]) -> float:
    """The chance that a faulty scan has the higher score, ties counting half (Hanley and McNeil 1982)."""
    low, high = np.asarray(list(normal))[:, None], np.asarray(list(faulty))[None]
    return float(np.mean((high > low) + 0.5 * (high == low)))


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By fault: scans, area under the curve against the normal ones, and the share that is flagged."""
    by_fault: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_fault.setdefault(str(row["fault"]), []).append(row)
    normal = [float(row["score"]) for row in by_fault["none"]]
    return {
        fault: {
            "scans": len(found),
            "auc": area_under_curve(normal, (float(row["score"]) for row in found)),
            "flagged": float(np.mean([bool(row["flagged"]) for row in found])),
        }
        for fault, found in by_fault.items()
    }
