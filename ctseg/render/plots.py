"""Plots in the style of the pages."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ctseg.harmless import one_line
from ctseg.render.style import INK


def new_figure(width: float = 4.6, height: float = 3.3) -> tuple[Figure, Axes]:
    """A figure with one plot in the page's style, in inches; made without pyplot, so nothing is global.

    Its letters can be read where a page shows it on the 390 pixels of a phone.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def lettering(text: str) -> str:
    """A name from outside as matplotlib draws it letter by letter: it takes what is between dollars for mathematics.

    Names that begin with an underscore, which legends leave out, get a blank in front.
    """
    shown = one_line(text).replace("$", "\\$")
    return f" {shown}" if shown.startswith("_") else shown


def add_legend(axes: Axes) -> None:
    """A legend in the page's style."""
    axes.legend(frameon=False, labelcolor=INK, fontsize="small")
