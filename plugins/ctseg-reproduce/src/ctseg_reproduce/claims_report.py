"""The claims as CSV, Markdown and a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ctseg.files import write_csv, write_text
from ctseg.harmless import markdown_row
from ctseg.render.page import Page
from ctseg_reproduce.claims import Claim, Decision, verdict_of
from ctseg_reproduce.outcomes import write_outcomes
from ctseg_reproduce.results import Difference
from ctseg_reproduce.scales import Scale
from ctseg_reproduce.systems import CLAIMS
from ctseg_reproduce.table import Result, TableFigure, figure_links

TITLE = "The paper's claims"
COLUMNS = (
    "claim", "rows", "the paper's difference", "difference of pooled Dice (95 % interval)", "verdict",
    "difference of Dice per slice, as released", "verdict per slice", "seeds",
)  # fmt: skip
NOTES = (
    "Differences are in Dice points, paired by seed and patient. A claim is reproduced or contradicted where the whole "
    "95 % interval says so, each claim by itself. Everything else is undecided, and so is a claim with one seed.",
    "The pooled Dice is over all voxels of the test scans. Dice per slice with smooth 1 is the released code's: a "
    "slice that is empty in both masks counts 1, so false positives weigh more.",
    "Claims are listed in the order in which they are run: points at stake in the paper per estimated minute.",
)


def claim_lines(claims: Sequence[Claim]) -> list[str]:
    """Claims for a terminal, in order."""
    return [
        f"{place:2d}. {claim.text} ({claim.better.name} over {claim.worse.name}"
        + (f", the paper: {claim.points:+.2f})" if claim.points is not None else ", control)")
        for place, claim in enumerate(claims, 1)
    ]


def claim_cells(decisions: Sequence[Decision]) -> list[list[str]]:
    """Decisions as a person reads them, one row each."""
    return [
        [
            item.claim.text,
            f"{item.claim.better.name} over {item.claim.worse.name}",
            "control" if item.claim.points is None else f"{item.claim.points:+.2f}",
            _interval(item.found),
            item.verdict,
            _interval(item.per_slice),
            verdict_of(item.per_slice),
            " ".join(map(str, item.found.seeds)) if item.found else "none",
        ]
        for item in decisions
    ]


def _interval(found: Difference | None) -> str:
    if found is None or math.isnan(found.value):
        return "not run"
    value = f"{100 * found.value:+.2f}"
    return value if math.isnan(found.low) else f"{value} ({100 * found.low:+.2f} to {100 * found.high:+.2f})"


def write_claims(
    folder: Path, scale: Scale, decisions: Sequence[Decision], command: str, failed: Sequence[str] = (),
    figures: Sequence[TableFigure] = (), results: Sequence[Result] = (),
) -> list[Path]:  # fmt: skip
    """Write `claims.csv`, `claims-outcomes.csv`, `claims.md` and `claims.html`.

    The preset is in their names where it is not the scale's own.

    Args:
        folder: the reproduction's folder.
        scale: what the rows were made at.
        decisions: in order.
        command: that makes them.
        failed: stages that did not come through.
        figures: shown below the claims, and linked in the Markdown.
        results: rows whose outcomes are written, for `--import` on another machine.
    """
    name = scale.file_name(CLAIMS)
    flat = pd.DataFrame([item.flat() for item in decisions])
    cells = claim_cells(decisions)
    notes = [f"Scale {scale.name!r}: {scale.summary}. Preset {scale.preset!r}.{scale.window_note}", *NOTES]
    notes += [f"FAILED: {text}" for text in failed]
    lines = [f"# {TITLE}", "", f"    {command}", "", markdown_row(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines += [*map(markdown_row, cells), "", *(f"- {text}" for text in notes), "", *figure_links(folder, figures)]
    page = Page(TITLE, f"{len(decisions)} claims").add_table(list(COLUMNS), cells).add_list(notes)
    for item in figures:
        page.add_figure(item.path, item.caption, item.title)
    return [
        write_csv(folder / f"{name}.csv", flat),
        write_outcomes(folder / f"{name}-outcomes.csv", [item for result in results for item in result.records]),
        write_text(folder / f"{name}.md", "\n".join(lines)),
        page.add_preformatted(command).write(folder / f"{name}.html"),
    ]
