"""Pairs to look at: slices beside their nearest as in the paper's Figure 5, distances, how often each serves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ctseg.io.slices import SliceSet
from ctseg.matching.pairs import Direction
from ctseg.render.page import Page, Picture
from ctseg.render.plots import add_legend, new_figure
from ctseg.render.png import png_bytes
from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet, outlined
from ctseg.render.style import INK, MODELS, OUTLINE

NEAREST = 3
"""Slices beside each, as in the paper."""
SHOWN = 6
"""Patients of whom a slice is shown."""
LAYOUT = Layout(DARK, side=240, gap=2)
BINS = 40


@dataclass(frozen=True)
class Paired:
    """Pairs with the slices that they name; `asked` are those that neighbours were looked for, `found` the others."""

    pairs: pd.DataFrame
    asked: SliceSet
    found: SliceSet
    sides: tuple[str, str]
    """Columns of `pairs` with the names of both."""
    names: tuple[str, str]
    """What a reader calls them."""
    available: int
    """Slices that were searched."""

    @classmethod
    def of(
        cls, pairs: pd.DataFrame, source: SliceSet, target: SliceSet, direction: Direction, split: str | None
    ) -> Paired:
        """The pairs of `ctseg.matching.pairs.match`."""
        sets, sides = (source, target), ("source_id", "target_id")
        names = "MR" if source.domain == "mr" else "pseudo-CT", "CT"
        order = (0, 1) if direction == "source" else (1, 0)
        asked, found = (sets[place] for place in order)
        return cls(
            pairs, asked, found, (sides[order[0]], sides[order[1]]), (names[order[0]], names[order[1]]),
            len(found.rows(split)),
        )  # fmt: skip

    @property
    def has_more_than_nearest(self) -> bool:
        """Whether a slice has more pairs than its nearest one."""
        return bool((self.pairs["rank"] > 1).any())

    def uses(self) -> NDArray[np.int64]:
        """(available,) how often each slice that was searched serves, the most used first."""
        counts = self.pairs[self.sides[1]].value_counts().to_numpy(np.int64)
        return np.pad(counts, (0, max(0, self.available - len(counts))))


def match_page(paired: Paired) -> Page:
    """A page with examples, distances and uses of pairs."""
    asked, found = paired.names
    uses = paired.uses()
    serving = int(np.count_nonzero(uses))
    page = Page(f"{asked} slices and their nearest {found} slices", f"{len(paired.pairs)} pairs")
    page.add_heading("Examples").add_text(
        f"One {asked} slice a patient at the left, beside its nearest {found} slices, nearest first. Masks of CT are "
        "never looked at."
    )
    if "MR" in paired.names:
        page.add_legend([(OUTLINE, "mask of the MR")])
    page.add_gallery(example_pictures(paired), width=420)
    every = " and of all its pairs" if paired.has_more_than_nearest else ""
    page.add_heading("Distances").add_figure(
        distance_figure(paired), f"Distances of each {asked} slice from its nearest {found} slice{every}."
    )
    page.add_heading(f"How often each {found} slice serves").add_figure(
        uses_figure(paired), f"{found} slices that were searched, the most used first."
    )
    most = int(uses[0]) if len(uses) else 0
    half = int(np.searchsorted(np.cumsum(uses), uses.sum() / 2)) + 1
    page.add_text(
        f"{serving} of {paired.available} {found} slices serve ({100 * serving / max(1, paired.available):.0f} %), the "
        f"most used one {most} times. Half of the pairs are of {half} slice{'s' if half != 1 else ''}."
    )
    return page


def example_pictures(paired: Paired) -> list[Picture]:
    """A row of slices for each of some patients: the one with the largest lesion, or else with the most brain."""
    table = paired.asked.table
    column = "lesion_px" if paired.asked.domain == "mr" and paired.asked.masks is not None else "brain_px"
    named = table[table["slice_id"].isin(paired.pairs[paired.sides[0]])].sort_values(column, ascending=False)
    chosen = named.drop_duplicates("patient_id")
    chosen = chosen.iloc[np.linspace(0, len(chosen) - 1, min(SHOWN, len(chosen))).round().astype(int)]
    return [_row(paired, str(name), row) for row, name in zip(chosen.index.tolist(), chosen["slice_id"], strict=True)]


def _row(paired: Paired, name: str, row: int) -> Picture:
    near = paired.pairs[paired.pairs[paired.sides[0]] == name].sort_values("rank").head(NEAREST)
    rows = paired.found.ids_to_rows([str(item) for item in near[paired.sides[1]]], "pairs")
    tiles = [_tile(paired.asked, row), *(_tile(paired.found, int(place)) for place in rows)]
    distances = ", ".join(f"{distance:.4g}" for distance in near["distance"])
    nearest = str(near[paired.sides[1]].iloc[0])
    caption = f"{name}: {paired.names[1]} at distance{'s' if len(near) > 1 else ''} {distances}; nearest {nearest}"
    return Picture(png_bytes(draw_sheet([tiles], layout=LAYOUT)), caption, f"{name} and its nearest slices")


def _tile(slices: SliceSet, row: int) -> Tile:
    """A slice; masks of CT are not drawn."""
    mask = slices.masks[row] if slices.masks is not None and slices.domain == "mr" else None
    return Tile(np.asarray(slices.images[row]), outlined(mask))


def distance_figure(paired: Paired) -> Figure:
    """Histograms of the distance of each slice's nearest one and of all its pairs."""
    figure, axes = new_figure()
    every = paired.pairs["distance"].to_numpy(float)
    nearest = every[paired.pairs["rank"].to_numpy() == 1]
    edges = np.histogram_bin_edges(every, BINS).tolist()
    if paired.has_more_than_nearest:
        axes.hist(every, edges, color=INK, alpha=0.5, label="all pairs")
    axes.hist(nearest, edges, color=MODELS[0], alpha=0.8, label="nearest")
    axes.set(xlabel="Distance (smaller: more alike)", ylabel="Pairs")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if paired.has_more_than_nearest:
        add_legend(axes)
    return figure


def uses_figure(paired: Paired) -> Figure:
    """How often each slice that was searched serves, the most used first."""
    figure, axes = new_figure()
    uses = paired.uses()
    axes.fill_between(np.arange(len(uses) + 1), np.append(uses, uses[-1:]), step="post", color=MODELS[0], linewidth=0)
    axes.set(xlabel=f"{paired.names[1]} slices, most used first", ylabel="Pairs", xlim=(0, len(uses)), ylim=(0, None))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
