"""Does `segment --recovery` mean anything? Its rank correlation with the true Dice over phantom scans of all qualities.

`ctseg recovery-study COHORT --model RUN -o OUT` takes held-out phantom scans that show an IPH, makes each worse in
drawn ways, segments it with recovery, and compares. Each scan is a row of `recovery.json` as soon as it is measured,
and a next call goes on from there. The brain mask is the phantom's own, so that brain extraction plays no part.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctseg.errors import CaseError, InputError
from ctseg.files import read_json, write_json
from ctseg.inference.models import ModelGroup
from ctseg.inference.predict import predict_with_recovery
from ctseg.inference.prepare import prepare_volume
from ctseg.inference.recovery import SIZES_ML, Recovery
from ctseg.inference.settings import SegmentSettings
from ctseg.io.case import Case, Discovery
from ctseg.io.digest import DIGITS, input_digest
from ctseg.io.discover import discover, read_case
from ctseg.io.input_digests import file_sha256
from ctseg.io.masks import load_mask
from ctseg.io.private import without_paths
from ctseg.io.stack import Grid, Mask
from ctseg.io.volume import Volume
from ctseg.metrics.overlap import dice
from ctseg.parallel import Failure, attempt
from ctseg_reproduce.qualities import Quality, degrade
from ctseg_reproduce.recovery_figure import FAULTS, summarise, write_figure

SCHEMA = "ctseg-recovery-study/3"
FILE, PICTURE = "recovery.json", "recovery.png"
LEAST_ML = 1.0
"""Smallest bleed of a scan that counts: the Dice of smaller ones says little."""
FINE_MM = 0.7
"""Scans with finer pixels are halved first, which no model of 1.5 mm pixels notices."""


Files = tuple[Case, Path, Path]
"""A scan, its mask of IPH and its mask of the brain."""


@dataclass
class Notes:
    """What a person has to know of a study beside its numbers."""

    failed: list[str] = field(default_factory=list)
    """A line for each scan that could not be measured."""
    said: list[str] = field(default_factory=list)
    """A line for whatever else changes which scans count."""

    def fail(self, case: Case, failure: Failure) -> None:
        """Add a line for a scan."""
        reason = failure.error.removeprefix(f"{case.case_id}: ")
        self.failed.append(f"{case.case_id}: {without_paths(reason, case)}")

    def earlier(self, rows: Sequence[dict[str, Any]], names: Collection[str]) -> None:
        """Say which rows are of scans that the call did not ask for."""
        if others := [row["scan"] for row in rows if row["scan"] not in names]:
            self.said.append(f"{len(others)} scans of earlier calls count, too: {', '.join(others[:5])}")


def run_study(
    groups: Sequence[ModelGroup],
    cohorts: Sequence[Path],
    output: Path,
    scans: int,
    settings: SegmentSettings,
    seed: int,
    advance: Callable[[str], None],
    notes: Notes | None = None,
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
        notes: takes what is to be said; scans that cannot be measured are left out.

    Returns:
        The summary.

    Raises:
        InputError: if no cohort has a scan with an IPH that can be measured, or an earlier file is of another study.
    """
    notes = notes or Notes()
    head = {
        "schema": SCHEMA, "seed": seed, "hu": settings.recovery_hu,
        "models": [model.describe() for group in groups for model in group.models],
    }  # fmt: skip
    path = output / FILE
    rows = _earlier(path, head)
    cases = [found for cohort in cohorts for found in cohort_cases(cohort, notes)]
    if not cases:
        raise InputError(f"{cohorts[0]}: no phantom scan with an IPH of {LEAST_ML:g} mL; make a cohort first")
    work = partial(_measured, groups, settings, seed)
    rows, names = _measure_all(rows, cases, scans, work, notes, advance, partial(_save, path, head))
    if not rows:
        raise InputError(f"{cohorts[0]}: no scan can be measured; {notes.failed[0]}")
    notes.earlier(rows, names)
    write_figure(output / PICTURE, rows)
    return _save(path, head, rows)


def _save(path: Path, head: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the file; returns its summary."""
    summary = summarise(rows)
    write_json(path, {**head, "summary": summary, "scans": rows})
    return summary


def _measure_all(
    rows: list[dict[str, Any]],
    cases: Sequence[Files],
    scans: int,
    work: Callable[[int, Files], dict[str, Any]],
    notes: Notes,
    advance: Callable[[str], None],
    save: Callable[[list[dict[str, Any]]], object],
) -> tuple[list[dict[str, Any]], set[str]]:
    """The rows with those that were missing, without those of scans that were replaced; and the names asked for."""
    asked, names, broken = set[tuple[str, str]](), set[str](), set[Path]()
    for place in range(scans):
        files, again = cases[place % len(cases)], place // len(cases)
        name = f"{files[0].case_id}-{again}"
        names.add(name)
        advance(name)
        if files[1] in broken:
            continue
        row = attempt(partial(_row, rows, name, partial(work, again)), files)
        if isinstance(row, Failure):
            broken.add(files[1])
            notes.fail(files[0], row)
            continue
        asked.add((name, row["input"]))
        if row not in rows:
            rows.append(row)
            save(rows)
    return [row for row in rows if row["scan"] not in names or (row["scan"], row["input"]) in asked], names


def _row(
    rows: Sequence[dict[str, Any]], name: str, work: Callable[[Files], dict[str, Any]], files: Files
) -> dict[str, Any]:
    """The row of a scan: that of an earlier call where it was measured on the same files, else a new one."""
    made_of = _digests(*files)
    known = next((row for row in rows if (row["scan"], row["input"]) == (name, made_of)), None)
    return known or {"scan": name, "case": files[0].case_id, "input": made_of, **work(files)}


def _measured(
    groups: Sequence[ModelGroup], settings: SegmentSettings, seed: int, again: int, files: Files
) -> dict[str, Any]:
    """`measure`, with the faults of the scan's name and of how often it was used before."""
    faults = (seed, zlib.crc32(files[0].case_id.encode()), again)
    return measure(*files, groups, settings, faults)


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


def cohort_cases(folder: Path, notes: Notes | None = None) -> Iterator[Files]:
    """Held-out scans of a phantom cohort that show an IPH of a size, with their masks of it and of the brain.

    Args:
        folder: of `ctseg phantom`.
        notes: takes a line for each scan whose masks are missing or broken, and for what is no scan.
    """
    notes, scans = notes or Notes(), folder / "rsna" / "stage_2_test"
    found = discover([scans], "ct") if scans.is_dir() else Discovery((), ())
    notes.said += [f"left out: {item}" for item in found.rejected]
    for case in found.cases:
        truth, brain = (folder / "truth" / kind / "test" / f"{case.case_id}.nii.gz" for kind in ("iph", "brain"))
        files = case, truth, brain
        size = attempt(_iph_ml, files)
        if isinstance(size, Failure):
            notes.fail(case, size)
        elif size >= LEAST_ML:
            yield files


def _iph_ml(files: Files) -> float:
    """The mL of IPH that a scan's mask shows.

    Raises:
        CaseError: if a mask is missing or broken.
    """
    _, truth, brain = files
    for path in (truth, brain):
        if not path.exists():
            raise CaseError(f"{path}: no such file; make the cohort again")
    mask, volume = load_mask(truth)
    return Grid.of(volume).volume_ml(mask > 0)


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
    scan = read_case(case)
    volume, masks = halved(scan, (_mask_of(scan, truth), _mask_of(scan, brain)))
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


def _mask_of(scan: Volume, path: Path) -> Mask:
    """A mask of a scan.

    Raises:
        CaseError: if it has another size.
    """
    mask: Mask = load_mask(path)[0] > 0
    if mask.shape != scan.voxels.shape:
        sizes = " and ".join("x".join(map(str, array.shape)) for array in (mask, scan.voxels))
        raise CaseError(f"{path}: mask and scan have {sizes} voxels; make the cohort again")
    return mask


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
