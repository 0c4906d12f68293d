"""The evaluation as a page: numbers with intervals first, then plots, pictures, cases, and how it was computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.evaluation.cases import Matching
from ctseg.evaluation.figures import bland_altman, dice_by_size, dice_distribution
from ctseg.evaluation.numbers import interval, known, number, percent, with_interval
from ctseg.evaluation.pictures import case_picture, case_viewer, example_cases, load_example
from ctseg.evaluation.scans import Scans
from ctseg.evaluation.settings import EvaluationSettings
from ctseg.metrics.lesions import SIZES
from ctseg.render.page import Page, Picture
from ctseg.render.png import png_bytes
from ctseg.render.style import MODELS, REFERENCE
from ctseg.wording import counted

SIZE_NAMES = {"all": "all", "small": "< 1 mL", "medium": "1–10 mL", "large": "> 10 mL"}
NOT_KNOWN = "–"
MOST_ROWS = 1000
"""A page with more rows than this is slow to open; all rows are in cases.csv."""

FEW_PATIENTS = 15
"""Below about this many clusters percentile intervals cover too rarely (Cameron, Gelbach and Miller 2008); those of
medians and correlations are still such."""

SET_ROWS = (
    ("Volume concordance (CCC)", ("volume", "concordance")),
    ("Lesion F1", ("lesions", "all", "f1")),
    ("Case sensitivity", ("detection", "sensitivity")),
    ("Case specificity", ("detection", "specificity")),
)
"""Lines of the first table that are no summary of one metric."""
COMPARED = {
    "dice_pooled": "Dice, pooled over voxels",
    "dice_mean": "Dice by volume, mean",
    "nsd_mean": "NSD by volume, mean",
    "hd95_mm_mean": "HD95 (mm) by volume, mean",
    "abs_error_ml_mean": "Absolute volume error (mL), mean",
}
"""Titles of what `ctseg.evaluation.comparison` compares."""
UNCERTAINTY_ROWS = (
    ("Cases with a range", "with_range"),
    ("Reference volume within the range", "in_range"),
    ("Agreement and Dice, correlation", "agreement_dice"),
    ("Cases with recovery", "with_recovery"),
    ("Recovery and Dice, correlation", "recovery_dice"),
    ("Recovery and Dice, mean absolute difference", "recovery_error"),
    ("Width of the range and absolute error, correlation", "range_error"),
    ("Factor for calibrated ranges", "range_factor"),
    ("Cases flagged as out of distribution", "ood_cases"),
    ("Dice of the flagged cases, mean", "dice_ood"),
    ("Dice of the other cases, mean", "dice_in_distribution"),
)


def write_report(
    path: Path,
    table: pd.DataFrame,
    summary: dict[str, Any],
    matching: Matching,
    settings: EvaluationSettings,
    *,
    scans: Scans,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write report.html.

    Args:
        path: of the page.
        table: one row a model and case.
        summary: what summary.json holds.
        matching: the masks' files, for pictures.
        settings: of the evaluation.
        scans: where the pictures' scans are.
        notes: what to report to a person.
    """
    page = Page("Evaluation of " + ", ".join(matching.models), f"{len(matching.jobs)} reference masks")
    done = table[table["status"] == "ok"]
    _add_summary(page, summary, settings)
    _add_failures(page, table, notes)
    if not done.empty:
        _add_comparisons(page, summary["comparisons"])
        _add_plots(page, done, matching.models)
        _add_lesions(page, summary["models"])
        _add_subtypes(page, summary["models"])
        _add_uncertainty(page, summary["models"])
        _add_pictures(page, done, matching, settings, scans)
        _add_cases(page, table, summary["metrics"])
    _add_method(page, summary)
    return page.write(path)


def _lookup(model: dict[str, Any], keys: Sequence[str]) -> Any:
    for key in keys:
        model = model[key]
    return model


def summary_table(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of every number with its interval: for the page and for a terminal."""
    models = [model for model in summary["models"] if model["cases"]]
    lines = [(title, keys) for metric in summary["metrics"] for title, keys in metric["report_rows"]]
    rows = [
        [title, *[with_interval(_lookup(model, tuple(keys))) for model in models]]
        for title, keys in (*lines, *SET_ROWS)
    ]
    return ["", *[model["name"] for model in models]], [*_count_rows(models), *rows]


def _count_rows(models: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        ["Cases (patients)", *[f"{model['cases']} ({model['patients']})" for model in models]],
        ["Cases with a lesion", *[str(model["with_lesion"]) for model in models]],
        ["Lesion cases with an empty prediction", *[str(model["missed_cases"]) for model in models]],
        ["Cases failed", *[str(len(model["failed"])) for model in models]],
    ]


def _add_summary(page: Page, summary: dict[str, Any], settings: EvaluationSettings) -> None:
    models = [model for model in summary["models"] if model["cases"]]
    page.add_heading("Summary")
    if not models:
        page.add_warning("No case could be measured.")
        return
    intervals = (
        f"{percent(settings.level)} intervals over patients: jackknife with t quantiles for means and pooled numbers, "
        f"exact binomial for shares, percentile bootstrap ({settings.resamples} resamples) for medians and concordance."
    )
    caption = f"{intervals} NSD within {settings.nsd_tolerance_mm:g} mm."
    page.add_table(*summary_table(summary), caption)
    if min(model["patients"] for model in models) < FEW_PATIENTS:
        page.add_text(
            f"Fewer than {FEW_PATIENTS} patients: the bootstrap intervals of medians and concordance are too narrow."
        )
    undefined = {model["name"]: model["by_volume"]["hd95_mm"]["undefined"] for model in models}
    if any(undefined.values()):
        cases = ", ".join(f"{counted(count, 'lesion case')} of {name}" for name, count in undefined.items() if count)
        page.add_text(
            f"HD95 is undefined in {cases} (empty predictions); its mean flatters a model that misses lesions."
        )


def _add_failures(page: Page, table: pd.DataFrame, notes: tuple[str, ...]) -> None:
    lost = table[table["status"] == "failed"]
    if len(lost):
        lines = [f"{row.model}: {row.message}" for row in lost.head(20).itertuples()]
        more = [f"and {len(lost) - 20} more, see cases.csv"] if len(lost) > 20 else []
        page.add_warning(f"{counted(len(lost), 'case')} failed and in no number:", *lines, *more)
    page.add_list(notes)


def _add_comparisons(page: Page, comparisons: list[dict[str, Any]]) -> None:
    if not comparisons:
        return
    page.add_heading("Models compared")
    comparisons = [{**row, "metric": COMPARED.get(row["metric"], row["metric"])} for row in comparisons]
    rows = [
        [
            f"{row['second']} − {row['first']}",
            row["metric"],
            with_interval({**row, "value": row["difference"]}),
            _p(row["p_value"]),
            _p(row["p_holm"]),
            row["cases"],
            number(row["difference_of_means"]) if known(row["difference_of_means"]) else "–",
        ]
        for row in comparisons
    ]
    columns = ["Difference", "Metric", "Paired (interval)", "p", "p, Holm", "Cases", "Difference of the values above"]
    page.add_table(columns, rows, "Paired by case, permutation test within patients, two-sided.")
    page.add_list([note for row in comparisons for note in comparison_notes(row)])


def comparison_notes(row: dict[str, Any]) -> list[str]:
    """Why a paired difference is not the difference of the two models' published values, where it is not."""
    notes = []
    for place in ("first", "second"):
        undefined, lacking, model = row[f"undefined_{place}"], row[f"lacking_{place}"], row[place]
        if undefined:
            notes.append(
                f"{row['metric']}: undefined for {model} alone in {counted(undefined, 'case')}; the paired difference "
                "leaves these out, the other model's mean holds them."
            )
        if lacking:
            notes.append(
                f"{row['metric']}: {model} lacks {counted(lacking, 'case')} that the other model has; the paired "
                "difference is over the cases that both have."
            )
    return notes


def _p(value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _add_plots(page: Page, done: pd.DataFrame, models: tuple[str, ...]) -> None:
    page.add_heading("Dice and volume")
    pictures = []
    if (done["ref_ml"] > 0).any():
        pictures += [
            Picture(png_bytes(dice_by_size(done, models)), "Dice against lesion size; one point a case with a lesion."),
            Picture(png_bytes(dice_distribution(done, models)), "Share of the lesion cases at or above a Dice."),
        ]
    else:
        page.add_text("No reference shows a lesion, so there is no Dice to plot.")
    for place, model in enumerate(models):
        rows = done[done["model"] == model]
        if not ((rows["ref_ml"] + rows["pred_ml"]) > 0).any():
            page.add_text(f"{model}: no case has any volume, in the reference or predicted.")
            continue
        figure = bland_altman(rows, MODELS[place % len(MODELS)])
        pictures.append(
            Picture(png_bytes(figure), f"{model}: Bland–Altman plot of the volumes, 95 % limits of agreement.")
        )
    if pictures:
        page.add_gallery([Picture(item.png, item.caption, item.caption) for item in pictures], width=440)


def _add_lesions(page: Page, models: list[dict[str, Any]]) -> None:
    page.add_heading("Lesions by size")
    rows = []
    for model in (model for model in models if model["cases"]):
        for size in ("all", *SIZES):
            row = model["lesions"][size]
            scores = [with_interval(row[name]) for name in ("f1", "sensitivity", "precision")]
            rows.append([model["name"], SIZE_NAMES[size], row["tp"], row["fn"], row["fp"], *scores])
    page.add_table(
        ["Model", "Size", "True positive", "False negative", "False positive", "F1", "Sensitivity", "Precision"], rows
    )


def _add_subtypes(page: Page, models: list[dict[str, Any]]) -> None:
    if not any("subtypes" in model for model in models):
        return
    rows = [
        [
            model["name"],
            row["by"],
            row["subtype"],
            row["count"],
            with_interval(row["specificity"]),
            with_interval(row["fp_ml_mean"]),
        ]
        for model in models
        for row in model.get("subtypes", ())
        if row["count"]
    ]
    page.add_heading("Negatives by subtype")
    if not rows:
        page.add_text("No case or slice without a lesion in the reference has a label.")
        return
    page.add_text(
        "Cases and slices without a lesion in the reference, by their labels. One with several subtypes counts in each "
        "of its rows; intraparenchymal means labelled so, but not segmented in the reference."
    )
    page.add_table(["Model", "By", "Subtype", "Count", "Specificity", "False-positive volume (mL), mean"], rows)


def _add_uncertainty(page: Page, models: list[dict[str, Any]]) -> None:
    known = [model for model in models if model.get("uncertainty", {}).get("cases")]
    if not known:
        return
    page.add_heading("Uncertainty")
    page.add_text(
        "From each segmentation's volumes.csv: the range of volumes and the agreement of its members (mirror images, "
        "models), recovery by known haematomas (segment --recovery), and scans flagged as out of distribution. "
        "Correlations are Spearman's. Factor: by how much ranges must be widened to hold the volumes of new patients "
        "of the same kind (segment --set range_factor)."
    )
    found = [model["uncertainty"] for model in known]
    rows = [[title, *[_uncertainty_cell(one, name) for one in found]] for title, name in UNCERTAINTY_ROWS]
    page.add_table(["", *[model["name"] for model in known]], [row for row in rows if set(row[1:]) != {NOT_KNOWN}])


def _uncertainty_cell(found: dict[str, Any], name: str) -> str:
    value = found[name]
    if name == "range_factor":
        return NOT_KNOWN if value["factor"] is None else number(value["factor"])
    return with_interval(value) if isinstance(value, dict) else str(value)


def _add_pictures(
    page: Page, done: pd.DataFrame, matching: Matching, settings: EvaluationSettings, scans: Scans
) -> None:
    """The worst and best cases and false positives of the last model, the one that the others are compared with."""
    model = matching.models[-1]
    kinds = example_cases(done, model, settings.pictured_cases)
    jobs = {job.case: job for job in matching.jobs}
    rows = done[done["model"] == model].set_index("case").to_dict("index")
    examples = {
        case: load_example(jobs[case], matching.models, scans, settings) for cases in kinds.values() for case in cases
    }
    places = {case: f"viewer-{number}" for number, case in enumerate(examples, 1)}
    for title, cases in kinds.items():
        page.add_heading(f"{title} of {model}")
        page.add_legend([(REFERENCE, "reference"), *zip(MODELS, matching.models, strict=False)])
        page.add_gallery([case_picture(examples[case], model, rows[case], places[case]) for case in cases], width=460)
    if examples:
        page.add_heading("Slice viewer")
        page.add_text("Move the slider, or click a picture and turn the wheel. The patient's right (R) is at the left.")
        page.add_viewers([case_viewer(example, places[case]) for case, example in examples.items()])


def _add_cases(page: Page, table: pd.DataFrame, metrics: list[dict[str, Any]]) -> None:
    columns = ["case", "model", "status", *[metric["name"] for metric in metrics if metric["report_column"]]]
    shown = table[columns].head(MOST_ROWS)
    rows = [[None if pd.isna(cell) else cell for cell in row] for row in shown.itertuples(index=False, name=None)]
    more = f" (the first {MOST_ROWS}; all in cases.csv)" if len(table) > MOST_ROWS else ""
    page.add_heading("All cases")
    page.add_table(columns, rows, f"{len(table)} rows{more}", folded=True)


def _add_method(page: Page, summary: dict[str, Any]) -> None:
    page.add_heading("How this was computed")
    rows = [
        [metric["name"], metric["unit"] or "–", interval(metric["range"]), metric["better"],
         metric["definition"].replace("`", ""),
         metric["reference"] or "–"]
        for metric in summary["metrics"]
    ]  # fmt: skip
    page.add_list(summary["rules"])
    columns = ["Metric", "Unit", "Range", "Better", "Definition", "Reference"]
    page.add_table(columns, rows, "Definitions of the metrics", folded=True)
    _add_makers(page, summary["models"])
    made = {name: summary[name] for name in ("tool", "versions", "settings")}
    page.add_preformatted(json.dumps(made, indent=2), "Settings and versions")


def _add_makers(page: Page, models: list[dict[str, Any]]) -> None:
    """What made the masks, without the columns in which nothing is known."""
    rows = [[model["name"], *made.values()] for model in models for made in model["made_by"]]
    titles = ["Masks", "Model", "Of", "Network", "Package", "Weights (SHA-256)", "Trained by"]
    columns = [(title, cells) for title, cells in zip(titles, zip(*rows, strict=True), strict=False) if any(cells)]
    if columns:
        page.add_table(
            [title for title, _ in columns],
            list(zip(*(cells for _, cells in columns), strict=True)),
            "What made the masks, by the volumes.json beside them",
        )
