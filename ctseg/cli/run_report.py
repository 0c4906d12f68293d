"""`report.html` of a training run: curves, samples, how the checkpoint was chosen, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctseg.render.page import Page, Picture, format_cell

TITLES = {"synth-train": "Stage 1: image synthesis", "das-train": "Stage 2: domain-adversarial segmentation"}
SHOWN_SAMPLES = 4
CURVES_CAPTION = "each the mean over an epoch; the axes name the smallest and largest value, the first and last epoch"


def write_run_report(run: Path) -> Path:
    """Write `RUN/report.html` from what a finished training left in its folder."""
    from ctseg.runs import read_header, read_metrics

    run = Path(run)
    header, metrics = read_header(run), read_metrics(run)
    command = str(header.training.get("command", ""))
    page = Page(
        TITLES.get(command, command), f"{header.kind} {header.name!r} of {header.package} {header.package_version}"
    )
    _outcome(page, header.training, metrics)
    page.add_heading("Losses and scores by epoch")
    if (run / "curves.png").exists():
        page.add_figure(run / "curves.png", CURVES_CAPTION)
    if metrics:
        columns = [name for name in metrics[-1] if _is_number(metrics[-1][name])]
        rows = [[_cell(row.get(name)) for name in columns] for row in metrics]
        page.add_table(columns, rows, "metrics.jsonl", folded=True)
    _add_samples(page, run / "samples")
    page.add_heading("Settings").add_preformatted((run / "config.toml").read_text(encoding="utf-8"), "config.toml")
    return page.write(run / "report.html")


def _outcome(page: Page, training: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> None:
    page.add_heading("Outcome")
    if "selection" in training:
        epoch = training.get("selected_epoch", training.get("epochs"))
        labels = "CT labels were learnt from" if training.get("ct_labels") else "no CT label was seen"
        page.add_text(f"The weights are those of epoch {epoch}, chosen by {training['selection']!r}; {labels}.")
    if training.get("ct_labels"):
        page.add_warning("It learnt from CT labels, here or in the weights it started from: it is not unsupervised.")
    warnings = [f"epoch {row['epoch'] + 1}: {text}" for row in metrics for text in row.get("warnings", [])]
    if warnings:
        page.add_warning("The training warned; look at the samples before using this model.", *warnings[-8:])
    facts = [
        [key.replace("_", " "), format_cell(value)]
        for key, value in training.items()
        if isinstance(value, (str, int, float))
    ]
    page.add_table(["", "value"], facts)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> float | int | None:
    return value if _is_number(value) else None


def _add_samples(page: Page, folder: Path) -> None:
    """The first sample and the last ones, `epoch_0002.png` and so on."""
    found = sorted(folder.glob("*.png"))
    chosen = found if len(found) <= SHOWN_SAMPLES else [found[0], *found[1 - SHOWN_SAMPLES :]]
    page.add_heading("Samples")
    if len(chosen) < len(found):
        page.add_text(f"The first and the last {len(chosen) - 1} of {len(found)}; all are in samples/.")
    page.add_gallery(
        [Picture(path.read_bytes(), _epoch(path), f"Samples of {_epoch(path)}") for path in chosen], width=480
    )


def _epoch(path: Path) -> str:
    """`epoch_0002.png` -> `epoch 2`."""
    word, _, number = path.stem.partition("_")
    return f"{word} {int(number)}" if number.isdecimal() else path.stem
