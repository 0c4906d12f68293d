"""The demo's report page: a picture of every stage and the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctseg.cli.demo_study import interval
from ctseg.render.page import Page, Picture
from ctseg.study import read_study

STAGES = (
    (
        "Preprocess",
        ("sets/mr/preview.png", "sets/ct/preview.png"),
        "MR slices with glioma masks; CT slices, unlabelled",
    ),
    ("Match", ("pairs.png",), "MR slices with glioma and the most similar CT slices of each, up to three"),
    (
        "Stage 1: synthesis",
        ("runs/synthesis/samples", "runs/synthesis/curves.png"),
        "last sample grid; losses by epoch",
    ),
    ("Stage 2: segmentation", ("runs/amd-das/samples", "runs/amd-das/curves.png"), "last sample grid; losses by epoch"),
)


def write_demo_report(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write `FOLDER/report.html` from what the demo's steps left behind.

    Args:
        folder: the demo's folder, finished.
        rows: `ctseg.cli.demo_study.result_rows`.
    """
    page = Page("ctseg demo", "From labelled MR and unlabelled CT to haemorrhage segmented on CT, on a phantom cohort")
    page.add_heading("Result on the held-out CT patients")
    page.add_table(
        ["network", "pooled Dice %", "Dice per volume %", "false mL in a negative", "checkpoint chosen by"],
        [
            [
                row["what"], interval(row["pooled_dice"]), interval(row["volume_dice"]), interval(row["fp_ml"], 1.0, 2),
                f"{row['selection']} (no CT label)",
            ]
            for row in rows
        ],
        "95 % intervals over patients (jackknife). A phantom is no patient: the numbers show that the pipeline works.",
    )  # fmt: skip
    page.add_text("The full evaluation, with every metric and case, is in evaluation/report.html.")
    if (folder / "first/masks/volumes.csv").exists():  # not in a study that was begun without it
        page.add_heading("A first scan, by the default model").add_gallery(_previews(folder / "first/masks"), width=480)
    _draw_pairs(folder)
    for title, names, caption in STAGES:
        pictures = [path for name in names if (path := _picture(folder / name)) is not None]
        page.add_heading(title).add_gallery([Picture(path.read_bytes(), caption) for path in pictures], width=480)
    page.add_heading("Segment: the held-out scans").add_gallery(_previews(folder / "masks" / "amd-das"), width=480)
    page.add_heading("By hand").add_preformatted(
        "\n".join(step.line for step in read_study(folder / "study.toml").steps)
    )
    return page.write(folder / "report.html")


def _draw_pairs(folder: Path, shown: int = 4) -> None:
    """Draw `pairs.png`: the largest lesion of some MR patients, each beside its three nearest CT slices."""
    import pandas as pd

    from ctseg.io.slices import open_slices
    from ctseg.render.sheet import grid_png

    mr, ct = open_slices(folder / "sets/mr"), open_slices(folder / "sets/ct")
    pairs = pd.read_csv(folder / "pairs.csv", dtype={"source_id": str, "target_id": str})
    near = pairs[pairs["rank"] <= 3].groupby("source_id", sort=False)["target_id"].apply(list)
    chosen = mr.table[mr.table["slice_id"].isin(near.index)].sort_values("lesion_px", ascending=False)
    rows, outlines = [], []
    for row in chosen.drop_duplicates("patient_id").index[:shown]:
        targets = ct.ids_to_rows(near[mr.slice_ids[row]], "pairs.csv")
        rows.append([mr.images[row], *(ct.images[target] for target in targets)])
        outlines.append([mr.require_masks("it is the source")[row], *([None] * len(targets))])
    grid_png(folder / "pairs.png", rows, ["MR", "CT 1", "CT 2", "CT 3"], outlines)


def _picture(path: Path) -> Path | None:
    """A PNG, or the last PNG of a folder."""
    if path.is_dir():
        return max(path.glob("*.png"), default=None)
    return path if path.exists() else None


def _previews(folder: Path, count: int = 6) -> list[Picture]:
    """The scans with the largest volumes found."""
    import csv

    with (folder / "volumes.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    rows.sort(key=lambda row: -float(row["ml"] or 0))
    shown = [(row, folder / f"{row['case']}.png") for row in rows[:count]]
    return [Picture(path.read_bytes(), f"{row['case']}: {row['ml']} mL") for row, path in shown if path.exists()]
