"""The page of a slice set: example slices, counts, and what was left out and why, for a look before a training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctseg.io.private import without_names
from ctseg.render.page import Cell, Page

if TYPE_CHECKING:
    from ctseg.preprocess.pipeline import PreprocessReport
    from ctseg.preprocess.settings import PreprocessSettings

MOST_ROWS = 500
"""Of a table of the page; all are in dataset.json."""
MOST_NAMES = 3
"""Scans that a row about many of them names."""


def set_page(report: PreprocessReport, preview: Path, splits: Mapping[str, int], settings: PreprocessSettings) -> Page:
    """The page of a finished set.

    Args:
        report: what became of the cohort.
        preview: its PNG of example slices.
        splits: split -> its patients.
        settings: which slices were asked for.
    """
    page = Page(f"{report.domain.upper()} slices", f"{report.slices} slices of {report.cases} scans")
    facts: list[list[Cell]] = [
        ["Scans that gave slices", report.cases],
        ["Slices", report.slices],
        ["Patients by split", ", ".join(f"{name} {count}" for name, count in sorted(splits.items()))],
        ["Scans that failed", len(report.failed)],
        ["Scans without a slice that was kept", len(report.empty)],
        ["Files that are no scan to read", len(report.rejected)],
    ]
    page.add_heading("Counts").add_table(["", "value"], facts)
    page.add_list([report.patient_rule, *report.label_notes])
    page.add_heading("Example slices").add_figure(preview, "Below each slice its name", "Example slices of the set")
    _add_left_out(page, report, settings)
    notes = [[_listed(cases), note] for note, cases in by_note(report.notes).items()]
    if notes:
        page.add_heading("What was noticed and corrected")
        _add_table(page, ["Scan", "Note"], notes)
    return page


def by_note(notes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Each different note -> the scans that it is about."""
    cases_of: dict[str, list[str]] = {}
    for case, texts in notes.items():
        for text in texts:
            cases_of.setdefault(text, []).append(case)
    return cases_of


def _listed(cases: Sequence[str]) -> str:
    """`a, b`, and `24 scans: a, b, c, …`."""
    if len(cases) <= MOST_NAMES:
        return ", ".join(cases)
    return f"{len(cases)} scans: {', '.join(cases[:MOST_NAMES])}, …"


def _no_slice(settings: PreprocessSettings) -> str:
    """Which slices were asked for, of a scan that has none."""
    label = "" if settings.select is None else f" labelled {settings.select}"
    levels = "" if settings.slices is None else f" from {settings.slices[0]} to {settings.slices[1] - 1}"
    return f"no slice{label}{levels} with at least {settings.min_brain_mm2:g} mm² of brain"


def _add_left_out(page: Page, report: PreprocessReport, settings: PreprocessSettings) -> None:
    """Failed and empty scans by their names, files by their reasons alone: their names may be a patient's."""
    rows = [[case, "failed", reason.removeprefix(f"{case}: ")] for case, reason in report.failed]
    rows += [[case, "no slice kept", _no_slice(settings)] for case in report.empty]
    page.add_heading("What was left out and why")
    if rows:
        _add_table(page, ["Scan", "What", "Why"], rows)
    reasons = _reasons(report.rejected)
    if reasons:
        _add_table(page, ["Files that are no scan to read", "Count"], [[why, count] for why, count in reasons])
    if not rows and not reasons:
        page.add_text("Nothing.")


def _reasons(rejected: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """Reason -> how many files have it, the most common first."""
    return Counter(without_names(reason, Path(path)) for path, reason in rejected).most_common()


def _add_table(page: Page, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    more = f"the first {MOST_ROWS} of {len(rows)}; all are in dataset.json" if len(rows) > MOST_ROWS else ""
    page.add_table(columns, rows[:MOST_ROWS], more)
