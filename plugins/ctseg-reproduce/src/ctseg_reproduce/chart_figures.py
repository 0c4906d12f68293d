"""The paper's Figures 9 and 10: how the source sets of Table 4 relate, and one stage beside two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ctseg.io.slices import open_slices
from ctseg.render.plots import add_legend, new_figure
from ctseg.render.png import write_png
from ctseg.render.style import INK, MODELS
from ctseg_reproduce.results import estimate
from ctseg_reproduce.run import Request, collect
from ctseg_reproduce.source_subsets import SUBSETS as SUBSET_NAMES
from ctseg_reproduce.systems import paper_dice
from ctseg_reproduce.table import Result, TableFigure

STAGES, SUBSETS = "one-and-two-stages", "source-subsets"
PAIRS_OF_ROWS: Mapping[str, tuple[str, str]] = {
    "MR": ("mr", "das"),
    "CycleGAN": ("cyclegan", "cyclegan-das"),
    "Mask CycleGAN": ("mask-cyclegan", "mask-cyclegan-das"),
    "Matched mask\nCycleGAN": ("matched-mask-cyclegan", "matched-mask-cyclegan-das"),
    "Proposed": ("proposed", "amd-das"),
}
"""Source of the segmenter -> its rows without and with DAS."""
WIDTH = 0.36
"""Of a bar, as a share of the distance of two groups."""


def stages_figure(request: Request, results: Sequence[Result]) -> TableFigure:
    """`TABLE-one-and-two-stages.png`: pooled Dice of each source of the segmenter, without DAS and with it.

    The rows without DAS are Table 2's: they are shown as far as they have been run in this folder.
    """
    others = collect(replace(request, table="table2"), {})
    known = {item.row.name: item for item in (*others, *results)}
    figure, axes = new_figure(7.2, 3.8)
    for place, (name, shift) in enumerate((("without DAS", -WIDTH / 2), ("with DAS", WIDTH / 2))):
        rows = [pair[place] for pair in PAIRS_OF_ROWS.values()]
        _bars(axes, [known.get(row) for row in rows], shift, MODELS[place], name)
        places = np.arange(len(rows)) + shift
        label = "the paper" if place else None
        axes.plot(places, [paper_dice(row) or np.nan for row in rows], "_", color=INK, markersize=16, label=label)
    axes.set_xticks(range(len(PAIRS_OF_ROWS)), list(PAIRS_OF_ROWS))
    axes.set(ylabel="pooled Dice %", ylim=(0, 100))
    add_legend(axes)
    path = write_png(request.root / f"{request.stem}-{STAGES}.png", figure)
    return TableFigure(
        path,
        "One stage and two",
        "As the paper's Figure 10. Bars: means over seeds with 95 % intervals; no bar where a row has not been run.",
    )


def _bars(axes: Axes, results: Sequence[Result | None], shift: float, colour: str, name: str) -> None:
    """A bar for each result that is there, with its interval where it has one."""
    found = [estimate(item.outcomes, "pooled") if item and item.outcomes else None for item in results]
    values = [100 * one.value if one else 0.0 for one in found]
    places = np.arange(len(found)) + shift
    axes.bar(places, values, WIDTH, color=colour, label=name)
    for place, one in zip(places, found, strict=True):
        if one is not None and np.isfinite(one.low):
            axes.plot([place, place], [100 * one.low, 100 * one.high], color=INK, linewidth=1.5)


def subsets_figure(request: Request, seed: int) -> TableFigure:
    """`TABLE-source-subsets.png`: which slices of the source each of Table 4's sets holds, as parts of all.

    Raises:
        InputError: if the source set is not there.
    """
    source = open_slices(request.root / request.plan.inputs.of_seed(seed).source)
    folder = request.root / request.plan.source_subsets(seed).folder / "subsets"
    names = {name: (folder / f"{name}.txt").read_text(encoding="utf-8").split() for name in SUBSET_NAMES}
    rows = {name: np.sort(source.ids_to_rows(ids, name)) for name, ids in names.items()}
    matched, unmatched = rows["matched"], rows["unmatched-1"]
    order = np.concatenate([matched, unmatched])
    figure, axes = new_figure(7.2, 2.6)
    for place, name in enumerate(reversed(SUBSET_NAMES)):
        for part, colour in ((matched, MODELS[0]), (unmatched, MODELS[1])):
            spans = _runs(np.flatnonzero(np.isin(order, np.intersect1d(rows[name], part))))
            axes.broken_barh(spans, (place - 0.35, 0.7), facecolors=colour, linewidth=0)
    axes.set_yticks(range(len(SUBSET_NAMES)), [f"{name} ({len(rows[name])})" for name in reversed(SUBSET_NAMES)])
    axes.set(xlabel="slices of the source's training split, the matched first", xlim=(0, len(order)))
    path = write_png(request.root / f"{request.stem}-{SUBSETS}.png", figure)
    return TableFigure(
        path,
        "The source sets of Table 4",
        f"As the paper's Figure 9, seed {seed}. Blue: matched; orange: not.",
    )


def _runs(places: NDArray[np.int64]) -> list[tuple[float, float]]:
    """(start, length) of each run of neighbouring places."""
    if not len(places):
        return []
    parts = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    return [(float(part[0]), float(len(part))) for part in parts]
