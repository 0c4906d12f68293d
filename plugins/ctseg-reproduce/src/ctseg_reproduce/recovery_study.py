"""Does `segment --recovery` mean anything? Its rank correlation with the true Dice over phantom scans of all qualities.

`ctseg recovery-study COHORT --model RUN -o OUT` takes held-out phantom scans that show an IPH, makes each worse in
drawn ways, segments it with recovery, and compares. Each scan is a row of `recovery.json` as soon as it is measured,
and a next call goes on from there. The brain mask is the phantom's own, so that brain extraction plays no part.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ctseg.errors import InputError
from ctseg.files import read_json, write_json
from ctseg.inference.models import ModelGroup
from ctseg.inference.prepare import prepare_volume
from ctseg.inference.recovery import SIZES_ML, Recovery, predict_with_recovery
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case
from ctseg.io.digest import DIGITS, input_digest
from ctseg.io.discover import discover, read_case
from ctseg.io.input_digests import file_sha256
from ctseg.io.masks import load_mask
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.overlap import dice
from ctseg_reproduce.qualities import Quality, degrade
from ctseg_reproduce.recovery_figure import FAULTS, summarise, write_figure

SCHEMA = "ctseg-recovery-study/3"
FILE, PICTURE = "recovery.json", "recovery.png"
LEAST_ML = 1.0
"""Smallest bleed of a scan that counts: the Dice of smaller ones says little."""
FINE_MM = 0.7
"""Scans with finer pixels are halved first, which no model of 1.5 mm pixels notices."""


def run_study(
    groups: Sequence[ModelGroup],
    cohorts: Sequence[Path],
    output: Path,
    scans: int,
    settings: SegmentSettings,
    seed: int,
    advance: Callable[[str], None],
) -> dict[str, Any]:
    """Measure what is missing and write `recovery.json` and `recovery.png`.

    Args:
        groups: the models.
        cohorts: folders of `ctseg phantom`.
        output: folder.
        scans: how many; each patient is used again with other faults until they are reached.
        settings: with `recovery`.
        seed: of the faults.
        advance: called with each scan.

    Returns:
        The summary.

    Raises:
        InputError: if no cohort has a scan with an IPH, or an earlier file is of another study.
    """
    head = {
        "schema": SCHEMA, "seed": seed, "hu": settings.recovery_hu,
        "models": [model.describe() for group in groups for model in group.models],
    }  # fmt: skip
    path = output / FILE
    rows = _earlier(path, head)
    cases = [found for cohort in cohorts for found in cohort_cases(cohort)]
    if not cases:
        raise InputError(f"{cohorts[0]}: no phantom scan with an IPH of {LEAST_ML:g} mL; make a cohort first")
    for place in range(scans):
        case, truth, brain = cases[place % len(cases)]
        name, made_of = f"{case.case_id}-{place // len(cases)}", _digests(case, truth, brain)
        if all((row["scan"], row["input"]) != (name, made_of) for row in rows):
            faults = (seed, zlib.crc32(case.case_id.encode()), place // len(cases))
            row = {"scan": name, "case": case.case_id, "input": made_of}
            rows.append({**row, **measure(case, truth, brain, groups, settings, faults)})
            write_json(path, {**head, "summary": summarise(rows), "scans": rows})
        advance(name)
    summary = summarise(rows)
    write_json(path, {**head, "summary": summary, "scans": rows})
    write_figure(output / PICTURE, rows)
    return summary


def _earlier(path: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier call.

    Raises:
        InputError: if that had another model, seed or HU.
    """
    if not path.exists():
        return []
    old = read_json(path)
    if not isinstance(old, dict) or any(old.get(key) != value for key, value in head.items()):
        raise InputError(f"{path}: made with another model, seed or HU; choose another output")
    rows = old.get("scans")
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise InputError(f"{path}: a row of its scans is broken; choose another output")
    return rows


def _is_row(row: Any) -> bool:
    """Whether a row has what the correlations are worked out from."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("scan", "case", "input")):
        return False
    quality = row.get("quality")
    if not isinstance(quality, dict):
        return False
    known = [*(row.get(name) for name in ("dice", "found_ml", "true_ml")), *map(quality.get, FAULTS)]
    known += [value for name, value in row.items() if name.startswith("recovery") and value is not None]
    return all(isinstance(value, int | float) for value in known)


def _digests(case: Case, *masks: Path) -> str:
    """What a row was measured on: the scan and its masks."""
    return " ".join([input_digest(case), *(file_sha256(mask)[:DIGITS] for mask in masks)])


def cohort_cases(folder: Path) -> Iterator[tuple[Case, Path, Path]]:
    """Held-out scans of a phantom cohort that show an IPH of a size, with their masks of it and of the brain."""
    scans = folder / "rsna" / "stage_2_test"
    for case in discover([scans], "ct").cases if scans.is_dir() else ():
        truth, brain = (folder / "truth" / kind / "test" / f"{case.case_id}.nii.gz" for kind in ("iph", "brain"))
        if truth.exists() and brain.exists():
            mask, volume = load_mask(truth)
            if Grid.of(volume).volume_ml(mask > 0) >= LEAST_ML:
                yield case, truth, brain


def measure(
    case: Case,
    truth: Path,
    brain: Path,
    groups: Sequence[ModelGroup],
    settings: SegmentSettings,
    seed: tuple[int, ...],
) -> dict[str, Any]:
    """Make one scan worse, segment it, and give its quality, Dice and recovery."""
    rng = np.random.default_rng(seed)
    volume, masks = halved(read_case(case), (load_mask(truth)[0] > 0, load_mask(brain)[0] > 0))
    quality = Quality.draw(rng)
    volume, (blood, inside) = degrade(volume, masks, quality, rng)
    ready = prepare_volume(volume, [group.preprocessing for group in groups], lambda _: inside)
    prediction = predict_with_recovery(ready, groups, settings)
    both, whole, found = (Grid.of(volume).volume_ml(part) for part in (blood & prediction.mask, blood, prediction.mask))
    recovery = prediction.recovery
    read = None if recovery is None else recovery.dice_of(prediction.expected_dice)
    return {
        "quality": asdict(quality), "true_ml": round(whole, 3), "found_ml": round(found, 3),
        "blood_hu": round(float(volume.voxels[blood].mean()), 1) if blood.any() else None,
        "brain_hu": round(float(np.median(volume.voxels[inside])), 1),
        "dice": round(dice(both, found - both, whole - both), 4),
        "recovery": None if read is None else round(read, 4), **_columns("recovery", recovery),
        "segmented_hu": round(float(volume.voxels[prediction.mask].mean()), 1) if prediction.mask.any() else None,
        "expected_dice": round(prediction.expected_dice or 0.0, 4),
        "known": [] if recovery is None else _known(recovery),
        "seconds": None if recovery is None else round(recovery.seconds, 2),
    }  # fmt: skip


def _known(recovery: Recovery) -> list[dict[str, float]]:
    """The known haematomas of a scan: what each is, and what the model made of it."""
    return [
        {
            "ml": item.implant.wanted.ml, "hu": round(item.implant.wanted.hu, 1), "faint": faint,
            "dice": round(item.dice, 4), "expected_dice": round(item.expected, 4), "segmented_ml": round(item.ml, 3),
        }
        for faint, items in ((False, recovery.found), (True, recovery.faint))
        for item in items
    ]  # fmt: skip


def _columns(name: str, recovery: Recovery | None) -> dict[str, float | None]:
    """Mean Dice, and mean share that came back, at each size."""
    columns: dict[str, float | None] = {}
    for ml in SIZES_ML:
        found = [] if recovery is None else [item for item in recovery.found if item.implant.wanted.ml == ml]
        columns[f"{name}_dice_{ml:g}ml"] = round(float(np.mean([item.dice for item in found])), 4) if found else None
        columns[f"{name}_share_{ml:g}ml"] = round(float(np.mean([item.share for item in found])), 4) if found else None
    return columns


def halved(volume: Volume, masks: tuple[Mask, ...]) -> tuple[Volume, tuple[Mask, ...]]:
    """A scan of fine pixels with half the rows and columns, and its masks: a voxel half filled belongs to one."""
    if volume.spacing_mm[0] >= FINE_MM:
        return volume, masks
    rows, columns = (size // 2 for size in volume.voxels.shape[1:])

    def mean(values: Any) -> Any:
        part = values[:, : 2 * rows, : 2 * columns].astype(np.float32)
        return part.reshape(len(values), rows, 2, columns, 2).mean(axis=(2, 4))

    new = replace(
        volume, voxels=mean(volume.voxels), row_step_mm=2 * volume.row_step_mm, col_step_mm=2 * volume.col_step_mm,
        origins_mm=volume.origins_mm + (volume.row_step_mm + volume.col_step_mm) / 2, native=None, frames=(),
        labels=None,
    )  # fmt: skip
    return new, tuple(mean(mask) >= 0.5 for mask in masks)
