"""A picture of one case: the slices with the most lesion, its outline over the brain window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ctseg.files import write_with
from ctseg.inference.predict import Prediction
from ctseg.io.volume import Volume

WINDOW_HU = (0.0, 80.0)
"""The usual brain window: level 40, width 80."""
PANELS, COLUMNS = 6, 3
BAR_MM = 50.0
MARGIN_MM = 25.0
"""Around the brain: room for skull and letters, but not for the head holder."""
OUTLINE = "#ff3b30"
Box = tuple[tuple[float, float], tuple[float, float]]
SIDES = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters of the patient's +x, -x, +y, -y, +z, -z in DICOM's LPS axes."""


def write_preview(path: Path, prediction: Prediction) -> None:
    """Write a PNG: the six slices with the largest lesion area, or six through the brain where there is no lesion."""
    chosen = slices_to_show(prediction.mask, prediction.brain)
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    box = _head_box(prediction)
    figure = Figure(figsize=(max(3.2 * columns, 5.0), 3.2 * rows + 0.5), facecolor="black")
    FigureCanvasAgg(figure)
    for panel, index in enumerate(chosen, start=1):
        _draw(figure.add_subplot(rows, columns, panel), prediction, index, box)
    figure.suptitle(_title(prediction), color="white", fontsize=9, y=0.995, va="top")
    top = 1 - 0.35 / figure.get_figheight()
    figure.subplots_adjust(left=0, right=1, bottom=0, top=top, wspace=0.02, hspace=0.02)
    write_with(path, lambda temporary: figure.savefig(temporary, dpi=100, format="png", facecolor="black"))


def slices_to_show(mask: NDArray[np.bool_], brain: NDArray[np.bool_], count: int = PANELS) -> list[int]:
    """Slice numbers from feet to head: up to `count` with the largest lesion area, else spread over the brain.

    A lesion on one or two slices is shown with its neighbours.
    """
    areas = np.count_nonzero(mask, axis=(1, 2))
    if areas.any():
        largest = [int(index) for index in np.argsort(-areas, kind="stable")[:count] if areas[index]]
        nearest = sorted(range(len(mask)), key=lambda index: abs(index - largest[0]))
        spare = [index for index in nearest if index not in largest]
        return sorted([*largest, *spare[: max(0, COLUMNS - len(largest))]])
    where = np.flatnonzero(brain.any(axis=(1, 2)))
    where = where if len(where) else np.arange(len(mask))
    places = np.linspace(0.2, 0.8, count) * (len(where) - 1)
    return sorted({int(where[round(place)]) for place in places})


def _head_box(prediction: Prediction) -> Box:
    """First and last row and column to show: the brain of all slices and a margin for the skull."""
    projection = prediction.brain.any(axis=0)
    spans = []
    for axis, spacing in enumerate(prediction.volume.spacing_mm):
        inside = np.flatnonzero(np.any(projection, axis=1 - axis))
        ends = (inside[0], inside[-1]) if len(inside) else (0, projection.shape[axis] - 1)
        spans.append((ends[0] - MARGIN_MM / spacing, ends[1] + MARGIN_MM / spacing))
    return spans[0], spans[1]


def _draw(axes: Axes, prediction: Prediction, index: int, box: Box) -> None:
    volume = prediction.volume
    row_mm, col_mm = volume.spacing_mm
    axes.imshow(volume.voxels[index], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=row_mm / col_mm)
    if prediction.mask[index].any():
        axes.contour(prediction.mask[index], levels=[0.5], colors=OUTLINE, linewidths=0.9)
    (first_row, last_row), (first_col, last_col) = box
    axes.set_xlim(first_col, last_col)
    axes.set_ylim(last_row, first_row)
    axes.set_axis_off()
    _annotate(axes, volume, index)


def _annotate(axes: Axes, volume: Volume, index: int) -> None:
    """Side letters at the picture's left and right, slice number below, scale bar at the right."""
    left, right = side_letters(volume)
    edge = [withStroke(linewidth=4, foreground="black")]  # white bone or head holder may lie behind
    style: dict[str, Any] = {"color": "white", "fontsize": 9, "transform": axes.transAxes, "path_effects": edge}
    axes.text(0.02, 0.5, left, va="center", ha="left", **style)
    axes.text(0.98, 0.5, right, va="center", ha="right", **style)
    axes.text(0.02, 0.02, f"slice {index + 1} of {len(volume.voxels)}", va="bottom", **{**style, "fontsize": 7})
    start, end = axes.get_xlim()
    bottom, top = axes.get_ylim()
    length = BAR_MM / volume.spacing_mm[1]
    x, y = end - 0.04 * (end - start) - length, bottom + 0.05 * (top - bottom)
    axes.plot([x, x + length], [y, y], color="white", linewidth=2, path_effects=edge)
    middle, above = x + length / 2, y + 0.01 * (top - bottom)
    small: dict[str, Any] = {"color": "white", "fontsize": 7, "ha": "center", "va": "bottom", "path_effects": edge}
    axes.text(middle, above, f"{BAR_MM:.0f} mm", **small)


def side_letters(volume: Volume) -> tuple[str, str]:
    """What lies at the left and right of the picture, by the header's column direction; with "?" where it has none."""
    axis = int(np.abs(volume.col_step_mm).argmax())
    plus, minus = SIDES[axis]
    letters = (minus, plus) if volume.col_step_mm[axis] > 0 else (plus, minus)
    unsure = "?" if any("no orientation" in note for note in volume.notes) else ""
    return letters[0] + unsure, letters[1] + unsure


def _title(prediction: Prediction) -> str:
    measures = prediction.measures
    lesions = "1 lesion" if measures.lesions == 1 else f"{measures.lesions} lesions"
    found = f"{measures.ml:.1f} mL in {lesions}" if measures.lesions else "nothing outlined"
    window = f"window {WINDOW_HU[0]:.0f} to {WINDOW_HU[1]:.0f} HU"
    return f"{prediction.volume.case_id}   {found}   {window}   research use only"
