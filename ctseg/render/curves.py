"""Curves of what a training logs, under names that a reader of the method knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctseg.render.plots import lettering
from ctseg.render.png import write_png

COLUMNS, PLOT = 4, (2.7, 1.5)
"""Plots side by side, and the inches of one."""
MANY = 40
"""A curve with more points than this has no dots."""
LINE = "#1f77b4"
FRAME_INCHES = {"left": 0.6, "right": 0.15, "bottom": 0.25, "top": 0.27}
"""Room around a plot for its numbers and its name."""
DPI = 100
BELOW: dict[str, Any] = {"xytext": (0, -4), "textcoords": "offset points"}
"""From the axis to the line of its numbers."""
TITLES = {
    "lr": "learning rate",
    "lr_factor": "learning rate, share of the first",
    "generator": "generator, weighted sum",
    "cycle": "cycle consistency (L1)",
    "gan_ct": "adversarial, pseudo-CT",
    "gan_mr": "adversarial, pseudo-MR",
    "identity": "identity (L1)",
    "lesion": "lesion consistency",
    "features": "feature alignment",
    "d_ct": "discriminator of CT",
    "d_mr": "discriminator of MR",
    "d_fusion": "discriminator of features",
    "s_ori": "S_ori, lesions on pseudo-CT",
    "s_rec": "S_rec, lesions on MR again",
    "audit_dice_s_ori": "Dice of S_ori on pseudo-CT",
    "audit_dice_threshold": "Dice of bright pseudo-CT (≥ 120)",
    "audit_contrast": "lesion contrast (grey values)",
    "audit_brighter": "share of lesions that are brighter",
    "audit_brain": "brain − background (grey values)",
    "audit_correlation": "correlation, pseudo-CT and MR",
    "audit_spread": "brain contrast, share of CT's",
    "audit_diversity": "slice diversity, share of CT's",
    "segmentation": "segmentation of the source",
    "adversarial": "adversarial, hidden maps",
    "adversarial_output": "adversarial, output",
    "consistency": "consistency (mean teacher)",
    "discriminator": "discriminator D_seg",
    "discriminator_accuracy": "accuracy of D_seg",
    "output_discriminator": "discriminator of the output",
    "output_discriminator_accuracy": "accuracy, output discriminator",
    "val_source_val": "Dice on labelled source, val",
    "val_entropy": "entropy on CT (bits)",
    "val_snd": "neighbourhood density on CT",
    "val_domain_confusion": "domain confusion",
    "val_tta_consistency": "Dice of CT and its mirror image",
    "val_target_lesion_share": "share of CT brain segmented",
}
"""Column of `metrics.jsonl` -> title of its plot; a plugin's own columns have their names."""


def curves_png(path: Path, metrics: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write one small plot for each number that `metrics.jsonl` has in more than one row; None where there is none."""
    names = [name for name in _numbers(metrics) if name not in ("epoch", "seconds")]
    return write_png(path, curves(names, metrics), dpi=DPI, transparent=False, bbox_inches=None) if names else None


def curves(names: Sequence[str], metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """A plot of each name over the epochs, counted from 1; rows without the name are left out."""
    lines, columns = math.ceil(len(names) / COLUMNS), min(COLUMNS, len(names))
    width, height = columns * PLOT[0], lines * PLOT[1]
    figure = Figure(figsize=(width, height))
    for place, name in enumerate(names):
        points = [(row["epoch"] + 1, row[name]) for row in metrics if _is_number(row.get(name))]
        left, bottom = place % COLUMNS * PLOT[0], height - (place // COLUMNS + 1) * PLOT[1]
        room = FRAME_INCHES
        size = (PLOT[0] - room["left"] - room["right"], PLOT[1] - room["bottom"] - room["top"])
        box = ((left + room["left"]) / width, (bottom + room["bottom"]) / height, size[0] / width, size[1] / height)
        _draw(figure.add_axes(box), name, points)
    return figure


def _draw(axes: Axes, name: str, points: Sequence[tuple[int, float]]) -> None:
    """A line with dots, its lowest and highest value, its first and last epoch."""
    epochs, values = zip(*points, strict=True)
    axes.plot(epochs, values, color=LINE, linewidth=1.5, marker="o" if len(points) <= MANY else "", markersize=3.5)
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    for axis, ends, text in (
        (axes.xaxis, (epochs[0], epochs[-1]), "{:.0f}"),
        (axes.yaxis, (min(finite), max(finite)), "{:.3g}"),
    ):
        ticks = sorted(set(ends))
        axis.set_ticks(ticks, [text.format(tick) for tick in ticks], fontsize=7)
    axes.tick_params(length=2, pad=2)
    axes.annotate("epoch", (0.5, 0), xycoords="axes fraction", fontsize=7, ha="center", va="top", **BELOW)
    axes.set_title(TITLES.get(name) or lettering(name), fontsize=9, pad=4)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, int] = {}
    for row in metrics:
        for name in (name for name, value in row.items() if _is_number(value)):
            names[name] = names.get(name, 0) + 1
    return [name for name, count in names.items() if count > 1]
