"""Raw scans: every case read and checked as `preprocess` and `segment` would, and the cohort as a whole."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.errors import CaseError
from ctseg.harmless import one_line
from ctseg.inspection.report import Report
from ctseg.io.case import Case, Discovery, Rejected
from ctseg.io.digest import input_digest
from ctseg.io.discover import discover, read_case
from ctseg.io.hu_check import check_hu
from ctseg.io.input_digests import text_digest
from ctseg.io.private import without_paths
from ctseg.io.volume import Volume
from ctseg.parallel import Failure, ordered_map
from ctseg.preprocess.mr import nonzero_brain
from ctseg.preprocess.pipeline import case_patients
from ctseg.progress import ProgressCallback
from ctseg.wording import counted, first_of

FEW_SLICES = 5
"""A head is not whole with fewer."""
THICK_MM = 10.0
"""Slices further apart than this miss lesions."""
ODD_SPACING = 2.5
"""A scan whose pixels differ by this factor from the cohort's median is another kind of scan, or has a wrong header."""
TILES = 12


@dataclass(frozen=True)
class ScanRow:
    """One scan that could be read."""

    case: str
    domain: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    """(row, column)."""
    step_mm: float | None
    """Median distance of neighbouring slices; None for a single slice."""
    low: float
    """First percentile of the voxels; HU for CT."""
    median: float
    high: float
    """99th percentile."""
    labels: dict[int, float] | None
    """Label value -> mL; None without labels."""
    notes: tuple[str, ...]
    digest: str
    tile: NDArray[np.uint8] | None = None
    """(H, W) grey values of the middle slice, for the picture."""

    def shown(self) -> dict[str, Any]:
        """For JSON; the picture is no part of it."""
        return {key: value for key, value in asdict(self).items() if key != "tile"}


def inspect_scans(
    path: Path, *, workers: int = 0, headers_only: bool = False, progress: ProgressCallback | None = None
) -> Report:
    """Find, read and check the scans below a path.

    Raises:
        InputError: if there is none.
    """
    found = discover(path, "auto", workers=workers)
    report = Report(path, "scans")
    patients, rule = case_patients(found.cases)
    domains = Counter(case.domain for case in found.cases)
    report.facts |= {
        "scans": len(found.cases),
        "patients": len(set(patients.values())),
        "patient rule": rule,
        "domain": ", ".join(f"{count} {domain.upper()}" for domain, count in sorted(domains.items())),
        "form": ", ".join(f"{count} {kind}" for kind, count in Counter(case.kind for case in found.cases).items()),
        "with labels": sum(case.label_file is not None for case in found.cases),
    }
    _about_finding(report, found, domains)
    if not headers_only:
        _read_all(report, found.cases, workers, progress)
    report.steps = _steps(path, domains, report.facts["with labels"])
    return report


def _about_finding(report: Report, found: Discovery, domains: Counter[str]) -> None:
    """What is known before any voxel is read."""
    report.problems += [f"cannot be read: {item}" for item in found.rejected if item.broken]
    report.remarks += _left_out([item for item in found.rejected if not item.broken])
    report.remarks += found.about_ignored()
    unsure = [case.case_id for case in found.cases if case.is_guess]
    if unsure:
        report.problems.append(
            f"{counted(len(unsure), 'scan')} may be MR or CT: neither name nor voxels tell "
            f"({first_of(unsure, 3)}); give --domain"
        )
    elif len(domains) > 1:
        report.remarks.append("MR and CT together: preprocess them one at a time, with --domain")
    report.problems += _some_unlabelled(found.cases)


def _left_out(rejected: Sequence[Rejected]) -> list[str]:
    """What is no scan: one line for each reason, with the first path."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for item in rejected:
        paths[item.reason].append(item.path_or_series)
    return [one_line(f"left out: {first_of(found)}: {reason}") for reason, found in paths.items()]


def _some_unlabelled(cases: Sequence[Case]) -> list[str]:
    mr = [case for case in cases if case.domain == "mr"]
    without = [case.case_id for case in mr if case.label_file is None]
    if not without or len(without) == len(mr):
        return []
    return [f"{counted(len(without), 'MR scan')} without labels, others have some: {first_of(without, 3)}"]


def _read_all(report: Report, cases: Sequence[Case], workers: int, progress: ProgressCallback | None) -> None:
    rows: list[ScanRow] = []
    work = partial(scan_row, picture_for=frozenset(case.case_id for case in cases[:TILES]))
    with closing(ordered_map(work, cases, workers=workers)) as outcomes:
        for number, (case, outcome) in enumerate(outcomes, start=1):
            if isinstance(outcome, Failure):
                error = without_paths(outcome.error, case)
                error = error if error.startswith(case.case_id) else f"{case.case_id}: {error}"
                report.problems.append(error)
            else:
                rows.append(outcome)
            if progress:
                progress(number, len(cases), case.case_id)
    report.rows = [row.shown() for row in rows]
    report.facts |= _ranges(rows)
    report.problems += cohort_problems(rows)
    report.remarks += _thick(rows) + _grouped_notes(rows)
    if rows:
        report.draw = partial(draw, rows)
        report.made_of = partial(_digests, rows)


def _digests(rows: Sequence[ScanRow]) -> dict[str, str]:
    """One digest of all scans, whatever their names and order."""
    return {"scans": text_digest(" ".join(sorted(row.digest for row in rows)))}


def scan_row(case: Case, picture_for: frozenset[str] = frozenset()) -> ScanRow:
    """Read one scan and check it as its domain's preprocessing does before it looks for the brain.

    Raises:
        CaseError: if it cannot be read, is no HU or no skull-stripped MR.
    """
    volume = read_case(case)
    if volume.domain == "ct":
        volume = check_hu(volume)
        inside = volume.voxels
    else:
        inside = volume.voxels[nonzero_brain(volume)]
    if not np.isfinite(inside).all():
        raise CaseError(f"{case.case_id}: holds values that are no numbers; leave it out")
    low, median, high = (float(value) for value in np.percentile(inside, (1, 50, 99)))
    step = float(np.median(np.abs(np.diff(volume.z_mm)))) if len(volume.z_mm) > 1 else None
    tile = _tile(volume, low, high) if case.case_id in picture_for else None
    slices, rows, columns = volume.voxels.shape
    return ScanRow(
        case.case_id, volume.domain, slices, rows, columns, volume.spacing_mm, step, low, median, high, _labels(volume),
        volume.notes, input_digest(case), tile,
    )  # fmt: skip


def _labels(volume: Volume) -> dict[int, float] | None:
    if volume.labels is None:
        return None
    values = [int(value) for value in np.unique(volume.labels) if value]
    counts = {value: (volume.labels == value).sum(axis=(1, 2)) for value in values}
    return {value: round(float(np.dot(count, volume.voxel_ml)), 3) for value, count in counts.items()}


def _ranges(rows: Sequence[ScanRow]) -> dict[str, Any]:
    """The span of each measure over the scans that could be read."""
    if not rows:
        return {}
    return {
        "read": len(rows),
        "slices": _span([row.slices for row in rows]),
        "matrix": ", ".join(sorted({f"{row.rows} x {row.columns}" for row in rows})[:4]),
        "pixel mm": _span([size for row in rows for size in row.spacing_mm]),
        "slice step mm": _span([row.step_mm for row in rows if row.step_mm is not None]),
        **_grey_ranges(rows),
        **_label_counts(rows),
    }


def _label_counts(rows: Sequence[ScanRow]) -> dict[str, Any]:
    values = Counter(value for row in rows for value in row.labels or {})
    return (
        {"label values": {str(value): f"in {counted(values[value], 'scan')}" for value in sorted(values)}}
        if values
        else {}
    )


def _grey_ranges(rows: Sequence[ScanRow]) -> dict[str, str]:
    names = {"ct": "HU of CT, 1st to 99th percentile", "mr": "brain of MR, 1st to 99th percentile"}
    found = {}
    for domain, name in names.items():
        of = [row for row in rows if row.domain == domain]
        if of:
            found[name] = f"{min(row.low for row in of):.0f} to {max(row.high for row in of):.0f}"
    return found


def _span(values: Sequence[float]) -> str:
    if not values:
        return "unknown"
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:.4g} to {high:.4g}"


def cohort_problems(rows: Sequence[ScanRow]) -> list[str]:
    """What is wrong with scans that can be read, seen beside the others."""
    lists = {
        f"fewer than {FEW_SLICES} slices": [row.case for row in rows if row.slices < FEW_SLICES],
        f"pixels more than {ODD_SPACING:g} times larger or smaller than the cohort's": _odd_spacing(rows),
        "labels without any lesion": [row.case for row in rows if row.labels == {}],
    }
    return _copies(rows) + [f"{text}: {first_of(names, 3)}" for text, names in lists.items() if names]


def _copies(rows: Sequence[ScanRow]) -> list[str]:
    return [
        f"{first_of(names, 3)} hold the same bytes ({digest}): copies fall into train and val"
        for digest, names in _by_digest(rows).items()
        if len(names) > 1
    ]


def _by_digest(rows: Sequence[ScanRow]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        found[row.digest].append(row.case)
    return found


def _odd_spacing(rows: Sequence[ScanRow]) -> list[str]:
    usual = {
        domain: float(np.median([max(row.spacing_mm) for row in rows if row.domain == domain]))
        for domain in {row.domain for row in rows}
    }
    return [row.case for row in rows if not 1 / ODD_SPACING < max(row.spacing_mm) / usual[row.domain] < ODD_SPACING]


def _thick(rows: Sequence[ScanRow]) -> list[str]:
    names = [row.case for row in rows if (row.step_mm or 0) > THICK_MM]
    return [f"slices more than {THICK_MM:g} mm apart: {first_of(names, 3)}"] if names else []


def _grouped_notes(rows: Sequence[ScanRow]) -> list[str]:
    """One line for each different note, with the scans that it is about."""
    cases: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for note in row.notes:
            cases[note].append(row.case)
    return [f"{first_of(names, 3)}: {note}" for note, names in cases.items()]


def _steps(path: Path, domains: Counter[str], labelled: int) -> list[str]:
    """What can be done with the scans."""
    here, steps = shlex.quote(str(path)), []
    if domains["mr"]:
        steps.append(f"ctseg preprocess {here} -o sets/mr --domain mr")
        if not labelled:
            steps.append(f"ctseg preprocess {here} -o sets/mr --domain mr --masks FOLDER   (masks CASE.nii.gz)")
    if domains["ct"]:
        steps += [f"ctseg preprocess {here} -o sets/ct --domain ct", f"ctseg segment {here} -o masks"]
    return steps


def _tile(volume: Volume, low: float, high: float) -> NDArray[np.uint8]:
    from ctseg.render.slices import WINDOW_HU, window_hu

    window = WINDOW_HU if volume.domain == "ct" else (low, max(high, low + 1e-6))
    return window_hu(volume.voxels[len(volume.voxels) // 2], window)


def draw(rows: Sequence[ScanRow], path: Path) -> Path:
    """The middle slice of the first scans on one sheet."""
    from ctseg.render.png import write_png
    from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet

    tiles = [Tile(row.tile, (), row.case, row.spacing_mm) for row in rows if row.tile is not None]
    lines = [tiles[start : start + 4] for start in range(0, len(tiles), 4)]
    return write_png(path, draw_sheet(lines, layout=Layout(DARK)))
