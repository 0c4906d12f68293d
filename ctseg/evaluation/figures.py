"""The report's plots."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ctseg.evaluation.numbers import number
from ctseg.evaluation.statistics import limits_of_agreement
from ctseg.render.plots import add_legend, lettering, new_figure
from ctseg.render.style import INK, MODELS


def dice_by_size(done: pd.DataFrame, models: tuple[str, ...]) -> Figure:
    """Dice against the reference volume, one point a case with a lesion."""
    figure, axes = new_figure()
    for model, colour in zip(models, _colours(models), strict=True):
        rows = done[(done["model"] == model) & (done["ref_ml"] > 0)]
        axes.scatter(rows["ref_ml"], rows["dice"], s=26, color=colour, alpha=0.75, linewidths=0, label=lettering(model))
    axes.set(xlabel="Lesion in the reference (mL)", ylabel="Dice", ylim=(-0.03, 1.03))
    if (done["ref_ml"] > 0).any():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(models) > 1:
        add_legend(axes)
    return figure


def bland_altman(rows: pd.DataFrame, colour: str) -> Figure:
    """Volume difference against mean volume, with bias and 95 % limits of agreement; cases with any volume.

    Zero is always in the picture: without it a large bias looks like none.
    """
    rows = rows[(rows["pred_ml"] + rows["ref_ml"]) > 0]
    figure, axes = new_figure()
    axes.scatter((rows["pred_ml"] + rows["ref_ml"]) / 2, rows["error_ml"], s=26, color=colour, alpha=0.75, linewidths=0)
    axes.axhline(0, color=INK, linestyle=":", linewidth=1)
    bias, low, high = limits_of_agreement(rows["error_ml"])
    for value, style, name in ((bias, "-", "bias"), (low, "--", "lower\nlimit"), (high, "--", "upper\nlimit")):
        if np.isfinite(value):
            axes.axhline(value, color=INK, linestyle=style, linewidth=1)
            axes.annotate(  # beside the plot, where no point lies
                f"{name}\n{number(value)} mL", (1, value), xycoords=("axes fraction", "data"), ha="left", va="center",
                color=INK, fontsize="small", xytext=(4, 0), textcoords="offset points",
            )  # fmt: skip
    axes.set(xlabel="Mean of prediction and reference (mL)", ylabel="Prediction − reference (mL)")
    return figure


def dice_distribution(done: pd.DataFrame, models: tuple[str, ...]) -> Figure:
    """Share of the cases with a lesion whose Dice is at least so high: one curve a model."""
    figure, axes = new_figure()
    for model, colour in zip(models, _colours(models), strict=True):
        values = np.sort(done[(done["model"] == model) & (done["ref_ml"] > 0)]["dice"].to_numpy(float))
        if len(values):
            share = 1 - np.arange(len(values)) / len(values)
            axes.step(np.append(values, 1), np.append(share, 0), where="pre", color=colour, label=lettering(model))
    axes.set(xlabel="Dice", ylabel="Share of cases at or above", xlim=(0, 1), ylim=(0, 1.03))
    if len(models) > 1:
        add_legend(axes)
    return figure


def _colours(models: tuple[str, ...]) -> list[str]:
    return [MODELS[place % len(MODELS)] for place in range(len(models))]
