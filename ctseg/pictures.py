"""Pictures that a training leaves in its run: slices side by side, and curves of what it logged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctseg.files import write_with


def grid_png(
    path: Path,
    rows: Sequence[Sequence[NDArray[Any]]],
    captions: Sequence[str],
    outlines: Sequence[Sequence[NDArray[Any] | None]] | None = None,
) -> Path:
    """Rows of (H, W) uint8 slices side by side, a caption over each column, mask outlines in colour where given.

    Args:
        path: the PNG to write, atomically.
        rows: as many arrays in each row as there are captions.
        captions: of the columns.
        outlines: 0/1 masks parallel to `rows`; None for no outline.
    """
    from matplotlib.figure import Figure

    height, width = rows[0][0].shape
    figure = Figure(figsize=(1.6 * len(captions), 1.6 * len(rows) * height / width + 0.3), layout="constrained")
    axes: Any = figure.subplots(len(rows), len(captions), squeeze=False)
    for row, column in np.ndindex(axes.shape):
        mask = outlines[row][column] if outlines else None
        _show(axes[row, column], rows[row][column], mask)
        if row == 0:
            axes[row, column].set_title(captions[column], fontsize=8)
    return write_with(path, lambda temporary: figure.savefig(temporary, dpi=110, format="png"))


def _show(axis: Any, image: NDArray[Any], mask: NDArray[Any] | None) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    if mask is not None and mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors="tab:orange", linewidths=0.8)
    axis.set_axis_off()


def curves_png(path: Path, metrics: Sequence[Mapping[str, Any]]) -> Path | None:
    """One small plot for each number that `metrics.jsonl` has in more than one row; None where there is none."""
    from matplotlib.figure import Figure

    names = [name for name in _numbers(metrics) if name not in ("epoch", "seconds")]
    if not names:
        return None
    columns = min(4, len(names))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.0 * columns, 2.0 * lines), layout="constrained")
    axes: Any = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        points = [(row["epoch"] + 1, row[name]) for row in metrics if isinstance(row.get(name), int | float)]
        axis.plot(*zip(*points, strict=True), marker=".", linewidth=1)
        axis.set_title(name, fontsize=8)
        axis.tick_params(labelsize=6)
    return write_with(path, lambda temporary: figure.savefig(temporary, dpi=110, format="png"))


def _numbers(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, int] = {}
    for row in metrics:
        for name, value in row.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                names[name] = names.get(name, 0) + 1
    return [name for name, count in names.items() if count > 1]
