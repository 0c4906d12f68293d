"""The study of the label-free rules as CSV, Markdown and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ctseg.files import write_csv, write_text
from ctseg.harmless import markdown_row, markdown_text
from ctseg.render.page import Page
from ctseg.render.plots import lettering, new_figure
from ctseg.render.style import INK, MODELS
from ctseg.selection.rules import RULES
from ctseg_reproduce.selection_study import Regret, regrets

Tables = Mapping[tuple[str, int], pd.DataFrame]
COLUMNS = ("rule", "looks at", "runs", "Dice points behind the oracle", "worst run", "Spearman with Dice")
TITLE = "Label-free rules: how well they choose the epoch"
NOTES = (
    "Each run's epochs are scored by every rule without a label and, apart from that, by pooled Dice on labelled CT "
    "slices (at most 256 a set, evenly spaced) at the model's size. Behind the oracle: Dice points between the best "
    "epoch and the one the rule keeps.",
    "train: the patients whose unlabelled slices were trained on; test: held-out patients. A rule is to be chosen by "
    "train and confirmed by test. No run read either.",
    "Where a run's settings keep early epochs from being chosen (`select_from`), a rule chooses among the others and "
    "is ranked on them; the oracle has them all.",
    "95 % intervals over seeds (cluster jackknife with t quantiles), since runs of one seed share data; none with one "
    "seed. The rules' order is not tested.",
    "Spearman: between score and Dice over the epochs of a run, mean of the runs; 1 is a rule that ranks as labels do.",
)


def write_study(folder: Path, tables: Tables, labels: Sequence[str], command: str, study: str) -> list[Path]:
    """Write `STUDY.csv`, `STUDY-epochs.csv`, `STUDY.md` and `STUDY.html`.

    Args:
        folder: the reproduction's folder.
        tables: (row, seed) -> `ctseg_reproduce.selection_study.run_epochs_table`.
        labels: the labelled sets, most telling first.
        command: that makes the study.
        study: its name.
    """
    found = {name: regrets(list(tables.values()), name, [seed for _, seed in tables]) for name in labels}
    flat = pd.DataFrame([asdict(item) for name in labels for item in found[name]])
    epochs = pd.concat([table.assign(row=row, seed=seed) for (row, seed), table in tables.items()], ignore_index=True)
    return [
        write_csv(folder / f"{study}.csv", flat.round(4)),
        write_csv(folder / f"{study}-epochs.csv", epochs),
        write_text(folder / f"{study}.md", _markdown(found, command)),
        _page(found, tables, command).write(folder / f"{study}.html"),
    ]


def lines_of(found: Sequence[Regret]) -> list[list[str]]:
    """Regrets as a person reads them."""
    return [
        [
            item.rule, RULES[item.rule].summary, str(item.runs), _with_interval(item),
            f"{item.worst:.2f}", "–" if math.isnan(item.correlation) else f"{item.correlation:.2f}",
        ]
        for item in found
    ]  # fmt: skip


def _with_interval(item: Regret) -> str:
    return f"{item.mean:.2f}" + ("" if math.isnan(item.low) else f" ({item.low:.2f} to {item.high:.2f})")


def _markdown(found: Mapping[str, Sequence[Regret]], command: str) -> str:
    lines = [f"# {TITLE}", "", f"    {command}", ""]
    for name, rows in found.items():
        lines += [f"## Measured on: {markdown_text(name)}", "", markdown_row(COLUMNS), "|" + "---|" * len(COLUMNS)]
        lines += [*map(markdown_row, lines_of(rows)), ""]
    return "\n".join([*lines, *(f"- {text}" for text in NOTES), ""])


def _page(found: Mapping[str, Sequence[Regret]], tables: Tables, command: str) -> Page:
    page = Page(TITLE, f"{len(tables)} runs")
    for name, rows in found.items():
        page.add_heading(f"Measured on: {name}").add_table(list(COLUMNS), lines_of(rows))
        page.add_figure(_epochs_figure(tables, name), f"Pooled Dice of every epoch on {name}; one line a run.")
    return page.add_list(list(NOTES)).add_preformatted(command)


def _epochs_figure(tables: Tables, name: str) -> Figure:
    figure, axes = new_figure(7.2, 3.8)
    names = list(dict.fromkeys(row for row, _ in tables))
    for (row, _), table in tables.items():
        colour = MODELS[names.index(row) % len(MODELS)]
        style = "-" if names.index(row) < len(MODELS) else "--"
        axes.plot(table["epoch"], 100 * table[f"dice_{name}"], style, color=colour, linewidth=1.0)
    for place, row in enumerate(names):
        axes.plot([], [], "-" if place < len(MODELS) else "--", color=MODELS[place % len(MODELS)], label=lettering(row))
    axes.set(xlabel="epoch", ylabel="pooled Dice %")
    axes.legend(fontsize=7, frameon=False, labelcolor=INK)
    return figure
