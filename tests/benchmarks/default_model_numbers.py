"""The numbers of the default model's card and page, from the outputs of the commands that measured it.

    ctseg reproduce default-model --precision bf16-mixed -o remade
    ctseg segment COHORT/rsna/stage_2_test -o cohorts/3000/masks          # and so for every cohort
    ctseg evaluate --pred cohorts/3000/masks --ref COHORT/truth/iph/test -o cohorts/3000/evaluation
    ctseg segment ct-ge-tilted -o ge; ctseg segment ct-ge-tilted --no-tta -o ge-no-tta
    ctseg implant ct-ge-tilted -o implants
    python tests/benchmarks/default_model_numbers.py ctseg/models/default.json --own remade/default-model/evaluation \\
        --cohorts cohorts/*/evaluation --ge ge ge-no-tta --implants implants -o results

The card's `measured` and `volumes` are replaced, and all else in it stays. `results` gets the tables of cases.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.evaluation.intervals import AMOUNT, SHARE, cohorts_interval
from ctseg.evaluation.volume_bins import volume_bins
from ctseg.files import read_json, write_csv, write_json

OWN = "36 held-out phantom patients, cohort seed 1000 (24 with IPH)"
COHORTS = (
    "120 phantom patients of five cohorts, seeds 3000 to 3004 (80 with IPH); of the settings only grow_mm was chosen "
    "with them, and without seed 3004"
)
HEAD = "a real GE head CT without a bleed (dcm_qa_ct), haematomas implanted at 7 places, with and without oedema"
SAME = "the same GE scan, as it is"
COLUMNS = ["cohort", "case", "pred_ml", "ref_ml", "dice", "tp", "fp", "fn"]
Row = dict[str, Any]


def own_rows(evaluation: Path) -> list[Row]:
    """The patients of the study's own test: intervals over patients, as `ctseg evaluate` gives them."""
    (model,) = read_json(evaluation / "summary.json")["models"]
    parts = {
        "pooled Dice": model["pooled"]["dice"],
        "Dice per volume, mean": model["by_volume"]["dice"]["mean"],
        "Dice per volume, median": model["by_volume"]["dice"]["median"],
        "pooled sensitivity": model["pooled"]["sensitivity"],
        "pooled precision": model["pooled"]["precision"],
        "false mL in a scan without IPH": model["negative_cases"]["fp_ml"]["mean"],
        "volume error, mean mL": model["volume"]["error_ml"]["mean"],
    }
    return [
        {"data": OWN, "metric": name, **{key: round(part[key], 4) for key in ("value", "low", "high")},
         "cases": part["cases"]}
        for name, part in parts.items()
    ]  # fmt: skip


def cohort_cases(evaluations: list[Path]) -> pd.DataFrame:
    """One row a patient of all cohorts; a cohort is named by the folder that holds its evaluation."""
    tables = [pd.read_csv(path / "cases.csv").assign(cohort=path.parent.name.lstrip("c")) for path in evaluations]
    return pd.concat(tables)[COLUMNS].reset_index(drop=True)


def by_cohort(cases: pd.DataFrame) -> pd.DataFrame:
    """One row a cohort: the means that the page states."""
    sums = cases.groupby("cohort")[["tp", "fp", "fn"]].sum()
    lesion, none = cases[cases["ref_ml"] > 0].groupby("cohort"), cases[cases["ref_ml"] == 0].groupby("cohort")
    return pd.DataFrame({
        "pooled Dice": 2 * sums["tp"] / (2 * sums["tp"] + sums["fp"] + sums["fn"]),
        "Dice per volume, mean": lesion["dice"].mean(),
        "pooled sensitivity": sums["tp"] / (sums["tp"] + sums["fn"]),
        "volume of the truth": (sums["tp"] + sums["fp"]) / (sums["tp"] + sums["fn"]),
        "false mL in a scan without IPH": none["pred_ml"].mean(),
    })  # fmt: skip


def cohort_rows(cases: pd.DataFrame) -> list[Row]:
    """Means of the cohorts with t intervals over them."""
    table, lesions = by_cohort(cases), int((cases["ref_ml"] > 0).sum())
    counts = {"Dice per volume, mean": lesions, "false mL in a scan without IPH": len(cases) - lesions}
    rows = []
    for metric, values in table.items():
        bounds = SHARE if "Dice" in str(metric) or "sensitivity" in str(metric) else AMOUNT
        low, high = cohorts_interval(values.to_numpy(), bounds=bounds)
        note = "mean of cohorts, t interval over cohorts" + ("; the low end is cut at 0" if low == 0 else "")
        rows.append({"data": COHORTS, "metric": metric, "value": round(float(values.mean()), 4),
                     "low": round(low, 4), "high": round(high, 4),
                     "cases": counts.get(str(metric), len(cases)), "note": note})  # fmt: skip
    return rows


def head_rows(outputs: list[Path]) -> list[Row]:
    """False mL of the real head, as the card says, and of the image alone."""
    totals = [float(pd.read_csv(path / "volumes.csv")["ml"].iloc[0]) for path in outputs]
    return [
        {"data": SAME + ending, "metric": "false mL", "value": round(total, 3), "cases": 1}
        for ending, total in zip(("", ", with --no-tta"), totals, strict=True)
    ]


def implant_rows(implants: pd.DataFrame) -> list[Row]:
    """Mean Dice of each volume and HU from 2 mL on, with the volume found beside it."""
    rows = []
    for (hu, ml), part in implants[implants["ml"] > 1].groupby(["hu", "ml"]):
        share = part["found_ml"].sum() / part["true_ml"].sum()
        note = f"volume {share:.2f} of the truth; implants come from the code that made the training's"
        rows.append({"data": HEAD, "metric": f"mean Dice at {ml:g} mL and {hu:g} HU",
                     "value": round(float(part["dice"].mean()), 3), "cases": len(part), "note": note})  # fmt: skip
    return rows


def page(cases: pd.DataFrame, implants: pd.DataFrame) -> str:
    """What the page's tables say beyond the card, as lines of text."""
    table, none = by_cohort(cases), cases[cases["ref_ml"] == 0]
    lines = [f"{name}: {', '.join(f'{value:.3f}' for value in values)}" for name, values in table.items()]
    lines += [
        f"scans without IPH that stay empty: {(none['pred_ml'] == 0).sum()} of {len(none)}; median "
        f"{none['pred_ml'].median():.3f} mL, largest {none['pred_ml'].max():.2f} mL",
        f"Dice under 0.5: {((cases['ref_ml'] > 0) & (cases['dice'] < 0.5)).sum()}",
        f"implants found: {implants['found'].sum()} of {len(implants)}",
    ]
    shares = implants.groupby(["hu", "ml"])[["dice", "found_ml", "true_ml"]].sum()
    counts = implants.groupby(["hu", "ml"]).size()
    lines += [
        f"{hu:g} HU, {ml:g} mL: Dice {row['dice'] / counts[hu, ml]:.2f}, volume {row['found_ml'] / row['true_ml']:.2f}"
        for (hu, ml), row in shares.iterrows()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path)
    parser.add_argument("--own", type=Path, required=True, help="`ctseg evaluate` of the study's test patients")
    parser.add_argument("--cohorts", type=Path, nargs="+", required=True, help="the same of other cohorts")
    parser.add_argument("--ge", type=Path, nargs=2, required=True, help="masks of the real head, and with --no-tta")
    parser.add_argument("--implants", type=Path, required=True, help="`ctseg implant` of the real head")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the tables")
    asked = parser.parse_args()
    cases, implants = cohort_cases(asked.cohorts), pd.read_csv(asked.implants / "implants.csv")
    card = read_json(asked.card)
    measured = [*own_rows(asked.own), *head_rows(asked.ge), *implant_rows(implants), *cohort_rows(cases)]
    volumes = {"data": COHORTS, "level": 0.9,
               "bins": [item.model_dump(exclude_none=True) for item in volume_bins(cases, level=0.9)]}  # fmt: skip
    write_json(asked.card, {**card, "measured": measured, "volumes": volumes})
    write_csv(asked.output / "cohorts.csv", cases)
    write_csv(asked.output / "phantom-cases.csv", pd.read_csv(asked.own / "cases.csv"))
    write_csv(asked.output / "implants-ge.csv", implants)
    print(page(cases, implants), json.dumps(volumes["bins"]), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
