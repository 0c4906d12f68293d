"""The demo's report page: a picture of every stage and the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctseg.cli.demo_study import interval
from ctseg.render.page import Page, Picture
from ctseg.study import read_study

LAST, LOSSES = "slices after the last epoch", "losses and scores, epoch by epoch"
STAGES = (
    (
        "Preprocess",
        {"sets/mr/preview.png": "MR slices with glioma masks", "sets/ct/preview.png": "CT slices, unlabelled"},
    ),
    ("Match", {"pairs.png": "MR slices with glioma and the most similar CT slices of each, up to three"}),
    ("Stage 1: synthesis", {"runs/synthesis/samples": LAST, "runs/synthesis/curves.png": LOSSES}),
    ("Stage 2: segmentation", {"runs/amd-das/samples": LAST, "runs/amd-das/curves.png": LOSSES}),
)
"""Title -> picture, or folder of pictures of which the last is shown -> its caption."""
FURTHER = (
    ("evaluation/report.html", "The full evaluation: every metric and case, and the masks on their scans"),
    ("sets/mr/report.html", "The MR slices: examples, counts, what was left out and why"),
    ("sets/ct/report.html", "The CT slices, in the same way"),
    ("match.html", "The pairs: MR slices beside their nearest CT slices, distances, how often each CT slice serves"),
    ("runs/synthesis/report.html", "Stage 1: losses, samples over time, settings"),
    ("runs/amd-das/report.html", "Stage 2: losses, samples over time, how the epoch was chosen, settings"),
)
"""Pages of the demo's folder that its own page leads to."""


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
    _draw_pairs(folder)
    page.add_links([(name, words) for name, words in FURTHER if (folder / name).is_file()])
    if (folder / "first/masks/volumes.csv").exists():  # not in a study that was begun without it
        page.add_heading("A first scan, by the default model").add_gallery(_previews(folder / "first/masks"), width=480)
    for title, names in STAGES:
        found = {caption: _picture(folder / name) for name, caption in names.items()}
        pictures = [Picture(path.read_bytes(), caption, caption) for caption, path in found.items() if path is not None]
        page.add_heading(title).add_gallery(pictures, width=480)
    page.add_heading("Segment: the held-out scans").add_gallery(_previews(folder / "masks" / "amd-das"), width=480)
    page.add_heading("By hand").add_preformatted(
        "\n".join(step.line for step in read_study(folder / "study.toml").steps)
    )
    return page.write(folder / "report.html")


def _draw_pairs(folder: Path, shown: int = 4) -> None:
    """Write `pairs.png`, the largest lesion of some MR patients beside its nearest CT slices, and `match.html`."""
    import pandas as pd

    from ctseg.io.slices import open_slices
    from ctseg.matching.pictures import Paired, match_page
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
    match_page(Paired.of(pairs, mr, ct, "source", "train")).write(folder / "match.html")


def _picture(path: Path) -> Path | None:
    """A PNG, or the last PNG of a folder."""
    if path.is_dir():
        return max(path.glob("*.png"), default=None)
    return path if path.exists() else None


def _previews(folder: Path, count: int = 6) -> list[Picture]:
    """The scans with the largest volumes found."""
    import csv

    from ctseg.inference.millilitres import ml_text

    with (folder / "volumes.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    rows.sort(key=lambda row: -float(row["ml"] or 0))
    names = [(row, name) for row in rows[:count] for name in (f"{row['case']}.png", f"3d/{row['case']}.png")]
    shown = [(row, folder / name) for row, name in names]
    return [
        Picture(path.read_bytes(), f"{row['case']}: {ml_text(float(row['ml'] or 0))}")
        for row, path in shown
        if path.exists()
    ]
