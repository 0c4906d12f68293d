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

MOST_ROWS = 500
"""Of a table of the page; all are in dataset.json."""


def set_page(report: PreprocessReport, preview: Path, splits: Mapping[str, int]) -> Page:
    """The page of a finished set.

    Args:
        report: what became of the cohort.
        preview: its PNG of example slices.
        splits: split -> its patients.
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
    _add_left_out(page, report)
    notes = [[case, "; ".join(found)] for case, found in report.notes.items()]
    if notes:
        page.add_heading("What was noticed and corrected")
        _add_table(page, ["Scan", "Note"], notes)
    return page


def _add_left_out(page: Page, report: PreprocessReport) -> None:
    """Failed and empty scans by their names, files by their reasons alone: their names may be a patient's."""
    rows = [[case, "failed", reason.removeprefix(f"{case}: ")] for case, reason in report.failed]
    rows += [[case, "empty", "every slice was left out by slices, select or min_brain_mm2"] for case in report.empty]
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
