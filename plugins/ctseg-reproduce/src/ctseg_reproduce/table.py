"""One table of the paper beside what was measured here, as CSV, Markdown and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ctseg.evaluation.intervals import UNKNOWN
from ctseg.evaluation.statistics import Estimate
from ctseg.evaluation.verdict import verdict
from ctseg.files import write_csv, write_text
from ctseg.harmless import markdown_row
from ctseg.progress import span
from ctseg.render.page import Page
from ctseg_reproduce.outcomes import OutcomeRecord, write_outcomes
from ctseg_reproduce.results import METRICS, Difference, Outcome, difference, estimate
from ctseg_reproduce.scales import Scale
from ctseg_reproduce.systems import REFERENCE, ROWS, TABLES, TITLES, AnyRow, LocationPrior, is_control

NOTHING = 0.005
"""A network whose pooled Dice is below this has learnt to leave everything out."""


@dataclass(frozen=True)
class Result:
    """What is known of one row."""

    row: AnyRow
    outcomes: tuple[Outcome, ...]
    seconds: float
    """Sum over the seeds, with all that each rests on."""
    command: str
    failed: tuple[str, ...] = ()
    """Seeds that did not come through, and why."""
    records: tuple[OutcomeRecord, ...] = ()
    """The outcomes with what tells where they were made."""

    def numbers(self) -> dict[str, Estimate]:
        """Every metric with its interval; none without an outcome."""
        return {metric: estimate(self.outcomes, metric) for metric in METRICS} if self.outcomes else {}


@dataclass(frozen=True)
class TableFigure:
    """A figure beside a table."""

    path: Path
    title: str
    caption: str


def control_verdict(results: Sequence[Result]) -> tuple[bool | None, str]:
    """Whether the shuffled control is shown to score below every other row; None where it or they are missing.

    A row scores above the control where the whole interval of their paired difference does.
    """
    control = next((item for item in results if item.outcomes and item.row.shuffled), None)
    return _below_all(control, results, "The control with shuffled labels", "than what its labels teach")


def prior_verdict(results: Sequence[Result]) -> tuple[bool | None, str]:
    """The same of the location prior; it speaks of the rows without labels shuffled alone."""
    control = next((item for item in results if item.outcomes and isinstance(item.row, LocationPrior)), None)
    return _below_all(control, results, "The location prior at the true volume", "than where lesions tend to lie")


def control_lines(results: Sequence[Result]) -> list[str]:
    """What the controls say, each in one line; the location prior where it was run."""
    prior = prior_verdict(results)
    return [control_verdict(results)[1], *([prior[1]] if prior[0] is not None else [])]


def _below_all(control: Result | None, results: Sequence[Result], name: str, knowledge: str) -> tuple[bool | None, str]:
    others = [item for item in results if item.outcomes and not is_control(item.row)]
    if control is None or not others:
        return None, "The control was not run, or nothing to compare it with."
    found = {item.row.name: difference(item.outcomes, control.outcomes, "pooled") for item in others}
    unshown = [name for name, one in found.items() if verdict((one.low, one.high), 1) != "reproduces"]
    seeds = min(len(one.seeds) for one in found.values())
    return not unshown, _below_words(
        f"{name} ({100 * control.numbers()['pooled'].value:.2f})", unshown, knowledge, seeds
    )


def _below_words(score: str, unshown: Sequence[str], knowledge: str, seeds: int) -> str:
    if unshown:
        return (
            f"{score} is not shown to score worse than {', '.join(unshown)}: the 95 % interval of the difference does "
            f"not exclude 0, so nothing shows that these rows know more {knowledge}."
        )
    alone = "" if seeds > 1 else " (with one seed, over patients alone)"
    return f"{score} scores worse than every row: each 95 % interval of the difference lies above 0{alone}."


def claim_verdict(name: str, row: str, found: Difference | None) -> str:
    """What the interval of a row's difference says of the paper's order of it and the table's reference row.

    Returns:
        "reproduces", "contradicts" or "undecided"; empty where the paper has no number for one of the two, or the row
        was not compared. With one seed it is always undecided: the interval is over patients alone and speaks of two
        trained networks, not of two systems.
    """
    paper, reference = TABLES[name][row], TABLES[name][REFERENCE[name]]
    if found is None or paper is None or reference is None or paper == reference:
        return ""
    interval = (found.low, found.high) if len(found.seeds) > 1 else UNKNOWN
    return verdict(interval, paper - reference)


def table_of(name: str, results: Sequence[Result]) -> pd.DataFrame:
    """One line a row; Dice in %."""
    reference = next((item.outcomes for item in results if item.row.name == REFERENCE[name]), ())
    return pd.DataFrame([_line(item, name, reference) for item in results])


def _line(item: Result, name: str, reference: Sequence[Outcome]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "row": item.row.name,
        "system": item.row.title,
        "paper_dice": TABLES[name][item.row.name],
    }
    compared = item.outcomes and reference and item.row.name != REFERENCE[name]
    paired = difference(item.outcomes, reference, "pooled") if compared else None
    return {
        **line,
        **_estimates(item, paired),
        "difference_to": REFERENCE[name] if compared else "",
        **_paired_notes(paired),
        "paper_order": claim_verdict(name, item.row.name, paired),
        **_measured_on(item),
        "selection": "; ".join(dict.fromkeys(one.selection for one in item.outcomes)),
        "seconds": round(item.seconds, 1),
        "machine": "; ".join(dict.fromkeys(one.machine for one in item.records)),
        "command": item.command,
        "failed": "; ".join(item.failed),
        "collapsed": _collapsed(item.outcomes),
    }


def _estimates(item: Result, paired: Difference | None) -> dict[str, float]:
    """Value, low and high of each measure and of the difference; nan where there is none."""
    numbers, line = item.numbers(), dict[str, float]()
    found: dict[str, Estimate | None] = {**{metric: numbers.get(metric) for metric in METRICS}, "difference": paired}
    for metric, one in found.items():
        scale = 1.0 if metric == "fp_ml" else 100.0
        for part in ("value", "low", "high"):
            value = getattr(one, part) * scale if one else math.nan
            line[metric if part == "value" else f"{metric}_{part}"] = round(value, 4)
    return line


def _measured_on(item: Result) -> dict[str, Any]:
    """The seeds, cohorts, patients and slices behind a line."""
    tested = {(one.cohort, patient) for one in item.outcomes for patient in one.cases["patient"].astype(str)}
    return {
        "seeds": " ".join(str(one.seed) for one in item.outcomes),
        "cohorts": " ".join(str(one.cohort) for one in item.outcomes if one.cohort is not None),
        "pooled_by_seed": " ".join(f"{100 * estimate([one], 'pooled').value:.2f}" for one in item.outcomes),
        "patients": len(tested),
        "slices": item.outcomes[0].slices if item.outcomes else 0,
    }


def _paired_notes(paired: Difference | None) -> dict[str, Any]:
    """Which seeds a difference is over, and the difference of the two published values beside it."""
    if paired is None:
        return {"difference_seeds": "", "difference_of_values": math.nan}
    return {
        "difference_seeds": " ".join(map(str, paired.seeds)),
        "difference_of_values": round(100 * paired.difference_of_values, 4),
    }


def columns(name: str) -> list[str]:
    """The heads of a table for people."""
    return [
        "system", "paper, Dice %", "pooled Dice %", "Dice % a volume", "Dice % a slice, as released",
        "Dice % a haemorrhage-positive slice", "false-positive mL in a negative scan",
        "false-positive mL in 100 negative slices",
        "pooled Dice % on haemorrhage-positive slices", f"pooled, minus {REFERENCE[name]}",
        f"the paper's order to {REFERENCE[name]}", "by seed", "checkpoint", "wall time",
    ]  # fmt: skip


def text_cells(table: pd.DataFrame) -> list[list[str]]:
    """The table's cells as a person reads them."""
    return [
        [
            str(line["system"]) + _marks(line),
            "–" if pd.isna(line["paper_dice"]) else f"{line['paper_dice']:.2f}",
            *(_interval(line, metric) for metric in METRICS),
            _difference(line),
            str(line["paper_order"]) or "–",
            str(line["pooled_by_seed"]) or "–",
            str(line["selection"]) or "–",
            span(float(line["seconds"])) if line["seeds"] else "not run",
        ]
        for line in table.to_dict("records")
    ]


def _marks(line: Mapping[Any, Any]) -> str:
    """What of a row is lacking or says nothing; the lines below the table say why."""
    failed = [" (FAILED)" if not line["seeds"] else " (a seed FAILED)"] if line["failed"] else []
    return "".join([*failed, *([f" (found nothing: seed {line['collapsed']})"] if line["collapsed"] else [])])


def _collapsed(outcomes: Sequence[Outcome]) -> str:
    """The seeds whose network finds next to nothing of any haemorrhage."""
    return " ".join(str(one.seed) for one in outcomes if estimate([one], "pooled").value < NOTHING)


def failure_lines(table: pd.DataFrame) -> list[str]:
    """A line for each row with a seed that did not come through, or that came through and finds nothing.

    A control with shuffled labels that finds nothing is no failure: there was nothing to learn.
    """
    lines = [f"FAILED {line['row']}: {line['failed']}" for line in table.to_dict("records") if line["failed"]]
    return lines + [
        f"{line['row']} found next to nothing with seed {line['collapsed']}: that training collapsed. Its "
        "run/curves.png shows when; see docs/decisions/0004-default-preset.md, or try a lower lr_discriminator, lr or "
        "lambda_adv."
        for line in table.to_dict("records")
        if line["collapsed"] and not is_control(ROWS[line["row"]])
    ]


def _interval(line: Mapping[Any, Any], metric: str) -> str:
    value, low, high = (line[key] for key in (metric, f"{metric}_low", f"{metric}_high"))
    if pd.isna(value):
        return "–"
    return f"{value:.2f}" if pd.isna(low) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def _difference(line: Mapping[Any, Any]) -> str:
    """The paired difference; where it is not that of the two values in the table, its seeds and that one, too."""
    text = _interval(line, "difference")
    same = pd.isna(line["difference"]) or math.isclose(line["difference"], line["difference_of_values"], abs_tol=1e-3)
    if same:
        return text
    return f"{text}, seeds {line['difference_seeds']}; of the values {line['difference_of_values']:.2f}"


def notes(scale: Scale, table: pd.DataFrame, own_data: bool, controls: Sequence[str]) -> list[str]:
    """What one must know to read the table."""
    data = (
        "Data: the user's own."
        if own_data
        else "Data: the phantom cohort. Its order of systems may be compared with the paper's, its numbers may not: no "
        "phantom is a patient."
    )
    return [
        data,
        f"Scale {scale.name!r}: {scale.summary}.{scale.window_note}",
        _preset_note(scale),
        f"Means over seeds with 95 % intervals {_over(table, own_data)}; {int(table['patients'].max())} test "
        "patients. Checkpoints are chosen without any CT label but in Table 5, which is supervised and takes the last.",
        "Differences are paired by seed and patient, and keep every patient. The paper's order of a row and the "
        "reference reproduces or is contradicted where the whole interval of the difference says so, each claim at "
        "95 % by itself; else, and with one seed, it is undecided.",
        "The paper does not say which Dice it reports. Wall time is that of all seeds with everything a row rests on, "
        "so shared stages count in each row.",
        f"Machine: {'; '.join(sorted({name for name in table['machine'] if name})) or 'not known'}.",
        *(text + (" At this scale that is to be expected." if scale.name == "smoke" else "") for text in controls),
    ]


def _preset_note(scale: Scale) -> str:
    """What the preset and the scale have to do with the paper."""
    text = f"Preset {scale.preset!r} with this scale's schedule and sizes"
    if scale.preset in ("paper", "released"):
        return f"{text}; the schedule of the paper and its released code is longer."
    return (
        f"{text}, not 'paper': two of the paper's values did not train on the phantom "
        "(docs/decisions/0004-default-preset.md), and its schedule is longer."
    )


def _over(table: pd.DataFrame, own_data: bool) -> str:
    """What the intervals are over."""
    if max((len(str(seeds).split()) for seeds in table["seeds"]), default=0) < 2:
        return "over patients alone, since one seed says nothing of others"
    if own_data or not any(table["cohorts"]):
        return "over patients and seeds (two variance components, t quantiles)"
    return "over cohorts, one a seed (t over their values)"


def write_table(
    folder: Path,
    name: str,
    results: Sequence[Result],
    scale: Scale,
    *,
    own_data: bool,
    command: str,
    figures: Sequence[TableFigure] = (),
) -> list[Path]:
    """Write `NAME.csv`, `NAME.md`, `NAME.html` and `NAME-outcomes.csv` below `folder`.

    Args:
        folder: the reproduction's folder.
        name: 'table2' to 'table5'.
        results: its rows, in order.
        scale: what they were made at.
        own_data: whether the data are the user's.
        command: that makes the whole table.
        figures: shown below it in the page, and linked in the Markdown.
    """
    table, stem = table_of(name, results), scale.file_name(name)
    remarks = notes(scale, table, own_data, control_lines(results))
    remarks += failure_lines(table)
    csv = write_csv(folder / f"{stem}.csv", table)
    outcomes = write_outcomes(folder / f"{stem}-outcomes.csv", [item for result in results for item in result.records])
    links = figure_links(folder, figures)
    text = write_text(folder / f"{stem}.md", _markdown(name, table, remarks, command, links))
    return [csv, outcomes, text, _page(name, table, remarks, command, figures).write(folder / f"{stem}.html")]


def figure_links(folder: Path, figures: Sequence[TableFigure]) -> list[str]:
    """Figures below `folder` as lines of a Markdown file in it."""
    links = ((f"![{item.title}]({item.path.relative_to(folder).as_posix()})", "", item.caption, "") for item in figures)
    return [line for link in links for line in link]


def _markdown(name: str, table: pd.DataFrame, remarks: Sequence[str], command: str, links: Sequence[str]) -> str:
    lines = [f"# {TITLES[name]}", "", f"    {command}", "", markdown_row(columns(name))]
    lines += ["|" + "---|" * len(columns(name)), *map(markdown_row, text_cells(table))]
    rows = [f"    {line}" for line in table["command"]]
    return "\n".join([*lines, "", *(f"- {text}" for text in remarks), "", *links, "One row alone:", "", *rows, ""])


def _page(name: str, table: pd.DataFrame, remarks: Sequence[str], command: str, figures: Sequence[TableFigure]) -> Page:
    page = Page(TITLES[name], "the paper's number and ours")
    page.add_table(columns(name), text_cells(table)).add_list(list(remarks))
    for item in figures:
        page.add_heading(item.title).add_figure(item.path, item.caption, item.title)
    page.add_heading("Commands").add_preformatted("\n".join([command, "", *table["command"]]))
    return page
