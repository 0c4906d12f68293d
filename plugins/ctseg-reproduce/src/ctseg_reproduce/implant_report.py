"""Tables and pictures of haematomas in a real head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctseg.files import write_csv, write_text
from ctseg.harmless import markdown_row
from ctseg.implant.head import Head
from ctseg.implant.lay import add, implant_at
from ctseg.implant.wanted import Wanted
from ctseg.inference.models import ModelGroup
from ctseg.inference.prepare import ReadyCase
from ctseg.inference.recovery import changed_slices, segment_changed
from ctseg.inference.settings import SegmentSettings
from ctseg.io.stack import Grid
from ctseg.render.png import write_png
from ctseg.render.sheet import DARK, Layout, Tile, draw_sheet
from ctseg.render.slices import Outline, side_letters, window_hu
from ctseg.render.style import OUTLINE, REFERENCE
from ctseg_reproduce.implant_grid import Cells, Results, draw_places

LAYOUT = Layout(DARK, side=230)
SHOWN_HU = 52.0
"""The HU of the pictures: the median of large bleeds of patients; else the first of the grid."""


def summarise(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Number, sensitivity, Dice and volume ratio of groups of haematomas.

    Sensitivity is the share that any segmented voxel touches; the volume ratio that of all segmented to all true mL.
    """
    if not rows:
        return []
    table = pd.DataFrame(rows)
    return [
        {
            **dict(zip(by, key, strict=True)),
            "haematomas": len(group),
            "sensitivity": round(float(group["found"].mean()), 4),
            "dice": round(float(group["dice"].mean()), 4),
            "volume_ratio": round(float(group["found_ml"].sum() / group["true_ml"].sum()), 4),
        }
        for key, group in table.groupby(list(by), sort=True)
    ]


def write_tables(folder: Path, results: Results) -> tuple[list[Path], list[str]]:
    """Write implants.csv and implants.md.

    Returns:
        Their paths, and the lines of the first table for a terminal.
    """
    rows = results.rows()
    table = markdown(summarise(rows, ("ml", "hu")))
    parts = [
        "# Haematomas in heads without a bleed\n",
        _false_text(results),
        "By volume and HU:\n\n" + table,
        "By volume:\n\n" + markdown(summarise(rows, ("ml",))),
        "By place:\n\n" + markdown(summarise(rows, ("kind",))),
        "With and without oedema:\n\n" + markdown(summarise(rows, ("oedema_mm",))),
    ]
    paths = [
        write_csv(folder / "implants.csv", pd.DataFrame(rows)),
        write_text(folder / "implants.md", "\n".join(parts) + "\n"),
    ]
    return paths, [*table.splitlines(), "", *_false_text(results).splitlines()]


def _false_text(results: Results) -> str:
    """What is segmented on the scans as they are, and what was left out."""
    lines = []
    for name, scan in results.scans.items():
        cells = scan["cells"].values()
        stray = sum(cell["stray_ml"] for cell in cells) / max(sum(cell["passes"] for cell in cells), 1)
        no_room = sum(len(cell["no_room"]) for cell in cells)
        lines.append(
            f"- {name}: {scan['false_ml']:.2f} mL segmented without any haematoma; {stray:.2f} mL more, apart from the "
            f"haematomas, in each run with some; brain of {scan['brain_hu']:.0f} HU; {no_room} haematomas had no room."
        )
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table of rows with the same keys."""
    if not rows:
        return "nothing measured\n"
    cells = [[_cell(value) for value in row.values()] for row in rows]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "\n".join(map(markdown_row, lines)) + "\n"


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:g}" if value == int(value) else f"{value:.2f}"


def write_picture(
    path: Path, ready: ReadyCase, groups: Sequence[ModelGroup], settings: SegmentSettings, cells: Cells
) -> Path:
    """Write a PNG: at each place the middle slice of one haematoma, before, after, and with both outlines."""
    head = Head.of(ready.volume.voxels, Grid.of(ready.volume), ready.brain)
    hu = SHOWN_HU if SHOWN_HU in cells.hu else cells.hu[0]
    rows = []
    for number, (kind, place) in enumerate(draw_places(head, cells)):
        ml = cells.ml[number % len(cells.ml)]
        wanted = Wanted(kind, ml, hu, oedema_mm=cells.oedema_mm[number % len(cells.oedema_mm)])
        implant = implant_at(head, np.random.default_rng((cells.seed, number, 1)), wanted, place)
        if implant is None:
            continue
        slices = changed_slices([implant], len(ready.brain))
        mask, _ = segment_changed(ready, groups, settings, [implant], slices)
        truth = implant.whole_mask(ready.brain.shape)
        k = int(truth.sum(axis=(1, 2)).argmax())
        found = mask[int(np.searchsorted(slices, k))]
        new = add(ready.volume.voxels, [implant])
        outlines = (Outline(truth[k], REFERENCE), Outline(found, OUTLINE))
        note = f"{kind}, {implant.ml:.1f} mL, {implant.hu:.0f} HU, oedema {wanted.oedema_mm:g} mm"
        rows.append([_tile(ready, ready.volume.voxels[k], f"slice {k + 1}"), _tile(ready, new[k], note),
                     _tile(ready, new[k], "", outlines)])  # fmt: skip
    sheet = draw_sheet(
        rows,
        ("before", "after", "outlines"),
        head=f"{ready.volume.case_id} · synthetic haematomas · research use only",
        legend=[(REFERENCE, "truth"), (OUTLINE, "segmentation")],
        layout=LAYOUT,
    )
    write_png(path, sheet)
    return path


def _tile(ready: ReadyCase, hu: Any, note: str, outlines: tuple[Outline, ...] = ()) -> Tile:
    inside = np.asarray(np.any(ready.brain, axis=0))
    spans = []
    for axis, spacing in enumerate(ready.volume.spacing_mm):
        used = np.flatnonzero(np.any(inside, axis=1 - axis))
        margin = round(15 / spacing)
        spans.append(slice(max(0, int(used[0]) - margin), int(used[-1]) + 1 + margin))
    part = spans[0], spans[1]
    cut = tuple(Outline(item.mask[part], item.colour) for item in outlines)
    return Tile(window_hu(hu[part]), cut, note, ready.volume.spacing_mm, side_letters(ready.volume))
