"""Rows or claims below each other, each with its interval: what a table says, at a glance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ctseg.render.plots import new_figure
from ctseg.render.png import write_png
from ctseg.render.style import INK, MODELS
from ctseg_reproduce.claims import Decision
from ctseg_reproduce.results import estimate
from ctseg_reproduce.systems import paper_dice
from ctseg_reproduce.table import Result, TableFigure

INTERVALS = "intervals"
CAPTION = "Each value with its 95 % interval, each seed as a small ring, and the paper's number as a short stroke."


@dataclass(frozen=True)
class IntervalLine:
    """One line of such a figure; what is not known is nan."""

    name: str
    value: float
    low: float
    high: float
    paper: float = float("nan")
    seeds: tuple[float, ...] = ()
    """The value of each seed by itself."""


def table_lines(results: Sequence[Result]) -> list[IntervalLine]:
    """Pooled Dice % of each row that has an outcome, in the table's order."""
    lines = []
    for item in results:
        if not item.outcomes:
            continue
        found, paper = estimate(item.outcomes, "pooled"), paper_dice(item.row.name)
        seeds = tuple(100 * estimate([one], "pooled").value for one in item.outcomes)
        low, high = (float(np.clip(100 * edge, 0, 100)) for edge in (found.low, found.high))
        paper = float("nan") if paper is None else paper
        lines.append(IntervalLine(item.row.name, 100 * found.value, low, high, paper, seeds))
    return lines


def draw_intervals(lines: Sequence[IntervalLine], xlabel: str, limits: tuple[float, float] | None = None) -> Figure:
    """The lines from top to bottom; nan is left out, and an interval without limits is a point."""
    longest = max(len(line.name) for line in lines)
    figure, axes = new_figure(5.0 + 0.085 * longest, 1.1 + 0.3 * len(lines))
    places = np.arange(len(lines))[::-1]
    for place, line in zip(places, lines, strict=True):
        axes.plot(line.seeds, [place] * len(line.seeds), "o", markerfacecolor="none", color=INK, markersize=4, zorder=4)
        if np.isfinite([line.low, line.high]).all():
            axes.plot([line.low, line.high], [place, place], color=MODELS[0], linewidth=3, solid_capstyle="butt")
    axes.plot([line.value for line in lines], places, "o", color=MODELS[4], markersize=7, label="here, with 95 %")
    axes.plot([line.paper for line in lines], places, "|", color=MODELS[1], markersize=15, mew=2, label="the paper")
    axes.set_yticks(places, [line.name for line in lines])
    axes.set(xlabel=xlabel, ylim=(-0.7, len(lines) - 0.3))
    if limits is None:
        axes.axvline(0, color=INK, linewidth=1)
    else:
        axes.set_xlim(*limits)
    above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2}
    axes.legend(frameon=False, labelcolor=INK, fontsize="small", **above)
    return figure


def intervals_figure(
    root: Path, stem: str, results: Sequence[Result], say: Callable[[str], object] = str
) -> list[TableFigure]:
    """`intervals-TABLE.png`: the rows' pooled Dice; outcomes that were made elsewhere are in it, too.

    Returns:
        The figure; none where no row has an outcome, or where it could not be drawn, which `say` reports.
    """
    lines = table_lines(results)
    return _drawn(root, stem, lines, "pooled Dice %", (0, 100), say) if lines else []


def claims_figure(
    root: Path, stem: str, decisions: Sequence[Decision], say: Callable[[str], object] = str
) -> list[TableFigure]:
    """`intervals-claims.png`: the differences that the paper's claims are about."""
    lines = []
    for item in decisions:
        if item.found is None or not np.isfinite(item.found.value):
            continue
        value, low, high = (100 * edge for edge in (item.found.value, item.found.low, item.found.high))
        points = float("nan") if item.claim.points is None else item.claim.points
        lines.append(IntervalLine(f"{item.claim.text}: {item.verdict}", value, low, high, points))
    return _drawn(root, stem, lines, "difference of pooled Dice, points", None, say) if lines else []


def _drawn(
    root: Path,
    stem: str,
    lines: Sequence[IntervalLine],
    xlabel: str,
    limits: tuple[float, float] | None,
    say: Callable[[str], object],
) -> list[TableFigure]:
    path = root / f"{INTERVALS}-{stem}.png"
    try:
        write_png(path, draw_intervals(lines, xlabel, limits))
    except Exception as error:  # hours of results must not be lost for a picture
        say(f"{path.name} could not be drawn: {error}")
        return []
    return [TableFigure(path, "Values with their intervals", CAPTION)]
